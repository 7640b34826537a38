"""From an event name on the wire to the handlers that want it, resolved once for each name."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from brokerkit import events
from brokerkit._consuming._once import Once
from brokerkit._errors import ConfigError, DecodeError
from brokerkit._handlers import Handler
from brokerkit._message import Delivery, text
from brokerkit._retry import RetryPolicy
from brokerkit._settings import SourceSettings
from brokerkit.events import Found
from brokerkit.events._zones import in_zone

Read = Callable[[Delivery], Any]

_MOST_UNKNOWN: Final = 10_000
"""How many names that no handler was registered for are remembered: a producer's mistake must not eat the memory."""
_LONGEST_UNKNOWN: Final = 1024
"""Characters of the longest name that is remembered: some producers can write a megabyte there."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One handler as one event name reaches it.

    Attributes:
        read: makes the event of a delivery, or raises `DecodeError`.
        function: the handler's.
        takes_message: the handler's.
        once: runs the handler once for each message; None where it simply runs.
    """

    handler: Handler
    read: Read
    once: Once | None = None
    function: Callable[..., Any] = field(init=False)
    takes_message: bool = field(init=False)

    def __post_init__(self) -> None:
        # Asked for each message: one attribute less on the way.
        object.__setattr__(self, "function", self.handler.function)
        object.__setattr__(self, "takes_message", self.handler.takes_message)


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """What one event name leads to.

    Attributes:
        name: the event name; ``""`` for messages that have none.
        calls: the handlers in the order in which they run.
        known: whether a handler wants the name, or a family of this source has it.
        only: the handler, where there is one and it is a coroutine function that simply runs.
    """

    name: str
    calls: tuple[Call, ...]
    known: bool
    only: Call | None = field(init=False)

    def __post_init__(self) -> None:
        only = self.calls[0] if len(self.calls) == 1 else None
        if only is not None and (only.once is not None or not only.handler.is_async):
            only = None
        object.__setattr__(self, "only", only)


NAMELESS: Final = Route("", (), False)


class Routes:
    """All routes of one source.

    Raises:
        ConfigError: two families share a name that this source's format cannot tell apart.
    """

    def __init__(self, handlers: Iterable[Handler], settings: SourceSettings, *, source: str) -> None:
        self._settings = settings
        self._format = settings.wire
        self._handlers = [handler for handler in handlers if handler.source in (None, source)]
        self._any = [handler for handler in self._handlers if handler.handles_any]
        self._meanings: dict[str, Found] = {}
        wanted: dict[str, list[Handler]] = {}
        for handler in self._handlers:
            for meaning in handler.meanings():
                if self._format.family not in (None, meaning.family.name):
                    continue
                other = self._meanings.setdefault(meaning.name, meaning)
                if other.model is not meaning.model:
                    raise ConfigError(
                        f"source {source!r}: format {self._format.name!r} cannot tell {other.family.name}:{other.name} "
                        f"from {meaning.family.name}:{meaning.name}; give each a source with a format of its own"
                    )
                if handler not in wanted.setdefault(meaning.name, []):
                    wanted[meaning.name].append(handler)
            for name in handler.events if handler.raw and not handler.handles_any else ():
                wanted.setdefault(str(name), []).append(handler)
        self._wanted = wanted
        # To whom any name may come, none is a sign of a wrong rule.
        self._raw = any(handler.raw for handler in self._handlers)
        scope = settings.group or ",".join(settings.topic or settings.queue)
        self._onces = {
            handler.name: Once(handler, dedupe, scope=scope)
            for handler in self._handlers
            if handler in self and (dedupe := settings.dedupe if handler.dedupe is None else handler.dedupe)
        }
        raw = tuple(self._call(handler, _as_it_came) for handler in self._any if handler.raw and "" in handler.events)
        nameless = Route("", raw, True) if raw else NAMELESS
        self._routes: dict[str | bytes | None, Route] = {None: nameless, "": nameless, b"": nameless}

    def __getitem__(self, wire_name: str | bytes | None) -> Route:
        """The route of a name as it stands on the wire."""
        if (known := self._routes.get(wire_name)) is not None:
            return known
        assert wire_name is not None
        name = text(wire_name)
        if isinstance(name, bytes):
            name = name.decode(errors="backslashreplace")
        route = self._resolve(self._settings.names.get(name, name))
        if len(self._routes) < _MOST_UNKNOWN and len(wire_name) <= _LONGEST_UNKNOWN:
            self._routes[wire_name] = route
        return route

    def __contains__(self, handler: Handler) -> bool:
        """Whether messages of this source can reach a handler."""
        return handler in self._any or any(handler in handlers for handlers in self._wanted.values())

    @property
    def timeouts(self) -> list[float]:
        """The timeouts in seconds of the handlers that have one of their own."""
        return [handler.timeout for handler in self._handlers if handler.timeout is not None]

    @property
    def policies(self) -> list[RetryPolicy]:
        """The retry policies of the handlers that have one of their own."""
        return [handler.retry for handler in self._handlers if handler.retry is not None]

    @property
    def onces(self) -> Collection[Once]:
        """The handlers that run once for each message."""
        return self._onces.values()

    @property
    def meanings(self) -> Collection[Found]:
        """What the event names of the handlers mean, those for every name left out."""
        return self._meanings.values()

    @property
    def takes_any(self) -> bool:
        """Whether a handler takes every name."""
        return bool(self._any)

    @property
    def find(self) -> Callable[[str | bytes | None], Route | None]:
        """The fast half of the lookup: a route that was resolved before, or None."""
        return self._routes.get

    def _resolve(self, name: str) -> Route:
        meaning = self._meanings.get(name) or self._family_meaning(name)
        read = self._reader(meaning) if meaning else self._open_reader(name)
        calls = tuple(self._call(handler, read) for handler in (*self._wanted.get(name, ()), *self._any))
        return Route(name, calls, bool(calls) or meaning is not None or self._raw)

    def _call(self, handler: Handler, read: Read) -> Call:
        return Call(handler, _as_it_came if handler.raw else read, self._onces.get(handler.name))

    def _family_meaning(self, name: str) -> Found | None:
        found = [meaning for meaning in events.find(name) if self._format.family in (None, meaning.family.name)]
        return found[0] if len(found) == 1 else None

    def _reader(self, meaning: Found) -> Read:
        family, name, _ = meaning
        read_bytes = family.reader(name)
        payload, zone = self._format.payload, self._settings.tz

        def read(delivery: Delivery) -> Any:
            if payload is not None:
                body = payload(delivery)
            elif delivery.parsed.__class__ is dict:  # by a rule: it is not parsed again
                body = delivery.parsed
            else:
                body = delivery.body
            if isinstance(body, bytes):
                return read_bytes(body)
            if body is None:
                raise DecodeError("the message has no body", family=family.name, event=name)
            return family.read(name, body)

        if zone is None:
            return read
        return lambda delivery: in_zone(read(delivery), zone)

    def _open_reader(self, name: str) -> Read:
        """For names that no family knows: handlers of ``"*"`` get the family's open model, else the JSON as it is."""
        family = events.get_family(self._format.family) if self._format.family else None
        if family is not None and family.fallback is not None:
            return self._reader(Found(family, name, family.fallback))
        payload = self._format.payload

        def read(delivery: Delivery) -> Any:
            body = payload(delivery) if payload else delivery.body
            if not isinstance(body, (bytes, str)):
                return body
            try:
                return json.loads(body, parse_float=Decimal)
            except (ValueError, RecursionError) as error:
                raise DecodeError(f"not JSON: {error}", event=name, value=body) from error

        return read


def _as_it_came(delivery: Delivery) -> Delivery:
    return delivery
