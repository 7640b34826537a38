"""Handlers of batches: what they are registered with, what they get, and what they answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, cast, overload

from brokerkit._messages._headers import Headers
from brokerkit._messages._message import Message

if TYPE_CHECKING:
    from brokerkit._config._retry_policy import RetryPolicy
    from brokerkit.dedupe._dedupe import Dedupe


@dataclass(frozen=True, slots=True)
class FailedItems:
    """What a handler of batches returns if some of its messages have failed, and the others are done.

    Each failed message follows its retry policy, as if a handler of single messages had raised its error: `Reject` makes it
    a dead letter at once, and `Retry` says how long it waits.

    Example::

        return FailedItems({3: Reject("no such player")})

    Args:
        errors: the error of each failed message, by its position in the list that the handler got, from 0.

    Raises:
        TypeError: a position is not a number from 0, or what is said of it is not an exception.
    """

    errors: Mapping[int, Exception] = field(default_factory=dict[int, Exception])

    def __post_init__(self) -> None:
        given = cast("object", self.errors)
        if not isinstance(given, Mapping):
            raise TypeError(f"FailedItems takes errors by position, {{3: error}}, not a {type(given).__name__}")
        errors: dict[object, object] = {**cast("Mapping[object, object]", given)}
        for position, error in errors.items():
            if not isinstance(position, int) or isinstance(position, bool) or position < 0:
                raise TypeError(f"FailedItems: a position in the list is a number from 0, not {position!r}")
            if not isinstance(error, Exception):
                raise TypeError(f"FailedItems: position {position} needs an exception, not a {type(error).__name__}")
        object.__setattr__(self, "errors", MappingProxyType(errors))

    def __bool__(self) -> bool:
        return bool(self.errors)


@dataclass(frozen=True, slots=True)
class Batch:
    """How a handler takes batches.

    Attributes:
        size: the most messages of a batch.
        within: seconds after its first message at which a batch is handled, however few messages it has.
        reads: whether the handler takes events; False if it takes only messages, whose bodies nobody reads.
    """

    size: int
    within: float
    reads: bool


E = TypeVar("E")
M = TypeVar("M")
P = ParamSpec("P")
R = TypeVar("R", bound="Awaitable[FailedItems | None] | FailedItems | None")


class BatchRegistrar(Protocol[E]):
    """Registers a handler of batches, plain or async, and returns it.

    The handler gets the list of events, the list of messages too if it has a second parameter for it, and its
    dependencies. Or it gets only the list of messages.
    """

    @overload
    def __call__(self, handler: Callable[Concatenate[list[E], P], R], /) -> Callable[Concatenate[list[E], P], R]: ...
    @overload
    def __call__(
        self, handler: Callable[Concatenate[list[Message], P], R], /
    ) -> Callable[Concatenate[list[Message], P], R]: ...


class OnBatch(Protocol):
    """The signature of ``on_batch``."""

    @overload
    def __call__(
        self,
        event: type[M],
        /,
        *,
        size: int,
        within: float,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Headers], bool] | None = None,
        equals: str | None = None,
    ) -> BatchRegistrar[M]: ...
    @overload
    def __call__(
        self,
        event: str,
        model: type[M],
        /,
        *,
        size: int,
        within: float,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Headers], bool] | None = None,
        equals: str | None = None,
    ) -> BatchRegistrar[M]: ...
    @overload
    def __call__(
        self,
        event: str,
        /,
        *,
        size: int,
        within: float,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Headers], bool] | None = None,
        equals: str | None = None,
    ) -> BatchRegistrar[Any]: ...
