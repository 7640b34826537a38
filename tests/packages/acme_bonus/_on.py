"""The typed ``on`` of family acme: which model a handler gets for which event name.

Made by ``brokerkit catalog on-types acme_bonus``; do not edit. A misspelt name is an error to the type checker, too.
"""

# The last overloads take what the others do not, and return something else.
# mypy: disable-error-code="overload-overlap"
# pyright: reportOverlappingOverload=false

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, cast, overload

if TYPE_CHECKING:
    import acme_bonus as models
    from brokerkit import Bus, Handlers, Rate, Registrar, RetryPolicy, UnknownEventName
    from brokerkit.dedupe import Dedupe

M = TypeVar("M")

Name: TypeAlias = Literal[
    "BonusExpired",
    "acme:BonusExpired",
    "BonusGranted",
    "acme:BonusGranted",
    "BonusPaid",
    "acme:BonusPaid",
]
"""Every event name of the family, plain and qualified."""


class On(Protocol):
    """Registers handlers by event name or model class."""

    @overload
    def __call__(
        self,
        name: Literal["BonusExpired", "acme:BonusExpired"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
        rate: Rate | None = None,
    ) -> Registrar[models.BonusExpired]: ...
    @overload
    def __call__(
        self,
        name: Literal["BonusGranted", "acme:BonusGranted"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
        rate: Rate | None = None,
    ) -> Registrar[models.BonusGranted]: ...
    @overload
    def __call__(
        self,
        name: Literal["BonusPaid", "acme:BonusPaid"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
        rate: Rate | None = None,
    ) -> Registrar[models.BonusPaid]: ...
    @overload
    def __call__(
        self,
        name: Literal["*"],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
        rate: Rate | None = None,
    ) -> Registrar[Any]: ...
    @overload
    def __call__(
        self,
        model: type[M],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
        rate: Rate | None = None,
    ) -> Registrar[M]: ...
    @overload
    def __call__(
        self,
        name: str,
        model: type[M],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
        rate: Rate | None = None,
    ) -> Registrar[M]: ...
    @overload
    def __call__(
        self,
        first: Name | type[Any],
        second: Name | type[Any],
        /,
        *more: Name | type[Any],
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
        rate: Rate | None = None,
    ) -> Registrar[Any]: ...
    @overload
    def __call__(
        self,
        name: str,
        /,
        *more: str | type[Any],
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
        rate: Rate | None = None,
    ) -> Coroutine[UnknownEventName, Any, Any]: ...
    @overload
    def __call__(
        self,
        model: type[Any],
        name: str,
        /,
        *more: str | type[Any],
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
        rate: Rate | None = None,
    ) -> Coroutine[UnknownEventName, Any, Any]: ...


def on(handlers: Handlers | Bus) -> On:
    """Give ``handlers.on``, typed for the events of this family."""
    return cast("On", handlers.on)
