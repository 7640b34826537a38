"""Handlers: functions registered under event names, checked when they are registered."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from brokerkit import events
from brokerkit._errors import ConfigError
from brokerkit._message import Message
from brokerkit._retry import RetryPolicy
from brokerkit.dedupe._dedupe import Dedupe
from brokerkit.events import Found
from brokerkit.events._shapes import fits

if TYPE_CHECKING:
    from brokerkit._on import On

ANY_EVENT: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Handler:
    """One function and what it was registered for.

    Attributes:
        name: module and qualified name of the function; it stands in logs, dead letters and the list of what is done.
        events: the event names and model classes; ``"*"`` alone for every name.
        is_async: whether the function is a coroutine function; others run in a worker thread.
        takes_message: whether it takes the message beside the event.
        retry: its own retry policy, or None for the source's.
        timeout: seconds it may take, or None for the source's.
        source: the only source it listens to, or None for all.
        dedupe: how it runs once for each message; None for the source's way, False for not at all.
        raw: whether it takes the `Delivery` as it came instead of an event: what only hands messages on reads no model.
    """

    function: Callable[..., Any]
    name: str
    events: tuple[str | type[Any], ...]
    is_async: bool
    takes_message: bool
    retry: RetryPolicy | None
    timeout: float | None
    source: str | None
    dedupe: Dedupe | Literal[False] | None = None
    raw: bool = False

    @property
    def handles_any(self) -> bool:
        """Whether it was registered for every name."""
        return ANY_EVENT in self.events

    def meanings(self) -> Iterator[Found]:
        """What its event names mean: family, name and model of each.

        Raises:
            ConfigError: a name is not known, or is known to several families and was not written qualified.
        """
        for event in () if self.raw else self.events:
            if event == ANY_EVENT:
                continue
            found = events.find(event)
            if len(found) == 1:
                yield found[0]
            elif isinstance(event, str):
                raise ConfigError(f"handler {self.name}: {_no_single_meaning(event, found)}")
            elif not found:
                raise ConfigError(
                    f"handler {self.name}: {event.__name__} is no registered event; "
                    "make it one with brokerkit.events.register(Family(...))"
                )
            else:
                yield from found


class Handlers:
    """A set of handlers, to be included in a bus.

    Example::

        handlers = Handlers()

        @handlers.on("OnGameDone")
        async def settle(event: OnGameDone, message: Message) -> None: ...
    """

    def __init__(self) -> None:
        self._registered: list[Handler] = []

    @property
    def on(self) -> On:
        """Register a function for event names, model classes, or ``"*"`` for every name.

        Args:
            *events: one or several names (``"OnGameDone"``, or qualified: ``"evenbet:OnGameDone"``) or model classes.
            retry: a policy for this handler, instead of the source's.
            timeout: seconds that a call may take, instead of the source's; a longer one counts as a failure.
            source: the only source whose messages it gets.
            dedupe: run it once for each message, however often the message comes; False: not even where the source
                does so.

        The function takes the event, or the event and the `Message`. A plain function runs in a worker thread. Several
        handlers of one message run in the order of registration, those for ``"*"`` last.

        Raises:
            ConfigError: the function's signature does not fit, or its event parameter is annotated with another model.
        """
        return cast("On", self._on)

    def _on(
        self,
        *events: str | type[Any],
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        if not events:
            raise ConfigError("on() needs an event name, a model class or '*'")
        if ANY_EVENT in events and len(events) > 1:
            raise ConfigError("on('*') is every name already: it takes no other")
        if dedupe and not isinstance(dedupe, Dedupe):  # pyright: ignore[reportUnnecessaryIsInstance] (users without a checker)
            raise ConfigError(f"dedupe must be Dedupe(store, ...) or False, not a {type(dedupe).__name__}")
        if timeout is not None and timeout <= 0:
            raise ConfigError(f"timeout must be more than 0 seconds, got {timeout}")

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self._add(
                Handler(
                    function=function,
                    name=_name(function),
                    events=events,
                    is_async=_is_async(function),
                    takes_message=_takes_message(function, events),
                    retry=retry,
                    timeout=timeout,
                    source=source,
                    dedupe=dedupe,
                )
            )
            return function

        return register

    def hand_on(
        self,
        function: Callable[..., Any],
        *,
        source: str,
        events: tuple[str, ...] = (ANY_EVENT,),
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
    ) -> None:
        """Have a coroutine function get each `Delivery` of a source as it came, behind all other handlers.

        Args:
            function: takes the delivery, or the delivery and its `Message`.
            source: whose.
            events: names, which no family need know; ``"*"`` for every name, and ``""`` for messages without one.
            retry: as for `on`.
            timeout: as for `on`.
        """
        self._add(
            Handler(
                function=function,
                name=_name(function),
                events=events,
                is_async=True,
                takes_message=_takes_message(function, (ANY_EVENT,)),
                retry=retry,
                timeout=timeout,
                source=source,
                dedupe=False,
                raw=True,
            )
        )

    def include(self, other: Handlers) -> None:
        """Add all handlers of another set, behind those that are here.

        Raises:
            ConfigError: an event name is unknown or ambiguous; the message suggests one.
        """
        for handler in other:
            for _ in handler.meanings():
                pass
        for handler in other:
            self._add(handler)

    def _add(self, handler: Handler) -> None:
        """Add a handler under a name of its own: what is done with a message is remembered by name."""
        taken = {known.name for known in self._registered}
        name, number = handler.name, 1
        while name in taken:
            number += 1
            name = f"{handler.name}#{number}"
        self._registered.append(replace(handler, name=name))

    def __iter__(self) -> Iterator[Handler]:
        return iter(tuple(self._registered))

    def __len__(self) -> int:
        return len(self._registered)

    def __repr__(self) -> str:
        return f"<Handlers: {', '.join(handler.name for handler in self._registered) or 'none'}>"


def _no_single_meaning(event: str, found: tuple[Found, ...]) -> str:
    if not found:
        return f"no registered family knows the event name {event!r}{events.suggest(event)}"
    choices = ", ".join(f"{meaning.family.name}:{meaning.name}" for meaning in found)
    return f"{event!r} is an event of several families: write {choices}, or name the model class"


def _name(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    qualified = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '?')}.{qualified}"


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _takes_message(function: Callable[..., Any], wanted: tuple[str | type[Any], ...]) -> bool:
    name = _name(function)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(f"handler {name} is a generator: calling it would run nothing; leave 'yield' out")
    parameters = inspect.signature(function).parameters.values()
    if needed := [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty]:
        raise ConfigError(f"handler {name} takes (event) or (event, message); nobody would give it {needed[0]}=")
    positional = [
        parameter
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and (parameter.default is parameter.empty or parameter.name == "message")
    ]
    if len(positional) not in (1, 2):
        raise ConfigError(f"handler {name} takes (event) or (event, message), not {len(positional)} parameters")
    hints = _hints(function)
    if len(positional) == 2 and not {Message, Any} & _alternatives(hints.get(positional[1].name, Any)):
        raise ConfigError(f"handler {name}: its second parameter is the Message, not {hints[positional[1].name]!r}")
    annotated = hints.get(positional[0].name)
    if isinstance(annotated, type) and annotated is not Any:  # which is a class from 3.11 on
        for event in wanted:
            for meaning in () if event == ANY_EVENT else events.find(event):
                if not fits(meaning.model, annotated):
                    raise ConfigError(
                        f"handler {name} takes {annotated.__name__}, but {meaning.name!r} arrives as "
                        f"{meaning.model.__name__}"
                    )
    return len(positional) == 2


def _alternatives(annotation: Any) -> set[Any]:
    return {annotation, *typing.get_args(annotation)}


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations that can be evaluated; names imported for type checkers alone cannot."""
    if isinstance(function, functools.partial):
        return _hints(function.func)
    try:
        return typing.get_type_hints(function if inspect.isroutine(function) else type(function).__call__)
    except (NameError, TypeError, AttributeError):
        return {}
