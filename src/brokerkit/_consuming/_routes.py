"""Finds the handlers for an event name on the wire, once for each name."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from brokerkit import events
from brokerkit._config._rate import Rate
from brokerkit._config._retry_policy import RetryPolicy
from brokerkit._config._settings import SourceSettings, event_names
from brokerkit._consuming._fit import Judge
from brokerkit._consuming._idempotent import IdempotentHandler
from brokerkit._errors import ConfigError, DecodeError
from brokerkit._handlers._handlers import Handler, Handlers
from brokerkit._handlers._middleware import HandlerMiddleware
from brokerkit._handlers._options import refuse_batches
from brokerkit._messages._codecs import from_json, json_text
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._encodings import undone
from brokerkit._messages._headers import as_text
from brokerkit._messages._name_rules import NOT_JSON, field_path, parsed
from brokerkit._status._figures import OTHER, Figures, Timing
from brokerkit.events import Found
from brokerkit.events._presence import Fit
from brokerkit.events._zones import in_zone

Read = Callable[[Delivery], Any]


class NoValue(Exception):
    """A message without a value reached a handler that does not take such messages: it is skipped."""


_MOST_UNKNOWN: Final = 10_000
"""How many names without a handler are remembered: a producer's mistake must not fill the memory."""
_LONGEST_UNKNOWN: Final = 1024
"""The most characters of a name that is remembered: some producers can write a megabyte there."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One handler for one event name.

    Attributes:
        read: makes the event of a delivery, or raises `DecodeError`.
        function: the handler's.
        takes_message: the handler's.
        idempotent: runs the handler once for each message; None if it runs each time.
        middleware: the middleware around the handler for this source, the first outermost.
        event: the event name as figures have it: `OTHER` for names that only handlers of every name take.
        timing: where the durations of the handler are counted.
    """

    handler: Handler
    read: Read
    idempotent: IdempotentHandler | None = None
    middleware: tuple[HandlerMiddleware, ...] = ()
    event: str = OTHER
    timing: Timing = field(default_factory=Timing)
    function: Callable[..., Any] = field(init=False)
    takes_message: bool = field(init=False)

    def __post_init__(self) -> None:
        # Asked for each message: one attribute less on the way.
        object.__setattr__(self, "function", self.handler.function)
        object.__setattr__(self, "takes_message", self.handler.takes_message)


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """The handlers of one event name.

    Attributes:
        name: the event name; ``""`` for messages that have none.
        calls: the handlers in the order in which they run; those of batches come last.
        known: whether a handler wants the name, or a family of this source has it.
        judge: tells whether a body sets any field of the event's model; None if no handler takes a model.
        only: the handler, if it is the only one, and is a coroutine function without anything around it.
        batch: the handler, if it is the only one, and takes batches.
        is_single: whether there are handlers, and none of them takes batches.
        filtered: whether a handler wants only some messages of this name.
        injects: whether a handler has dependencies.
    """

    name: str
    calls: tuple[Call, ...]
    known: bool
    judge: Judge | None = None
    only: Call | None = field(init=False)
    batch: Call | None = field(init=False)
    is_single: bool = field(init=False)
    filtered: bool = field(init=False)
    injects: bool = field(init=False)
    _narrowed: dict[tuple[Call, ...], Route] = field(default_factory=dict["tuple[Call, ...]", "Route"], init=False)

    def __post_init__(self) -> None:
        only = self.calls[0] if len(self.calls) == 1 else None
        batch = only if only is not None and only.handler.batch is not None else None
        if only is not None and (
            only.idempotent is not None
            or only.middleware
            or only.handler.injection
            or not only.handler.is_async
            or batch is not None
        ):
            only = None
        object.__setattr__(self, "only", only)
        object.__setattr__(self, "batch", batch)
        single = bool(self.calls) and all(call.handler.batch is None for call in self.calls)
        object.__setattr__(self, "is_single", single)
        object.__setattr__(self, "filtered", any(call.handler.where is not None for call in self.calls))
        object.__setattr__(self, "injects", any(call.handler.injection is not None for call in self.calls))

    def left(self, done: Collection[str]) -> tuple[Sequence[Call], Call | None]:
        """Return the handlers of single messages that are not among those that are done, and the first one of batches."""
        left = [call for call in self.calls if call.handler.name not in done] if done else self.calls
        if self.is_single:
            return left, None
        single = [call for call in left if call.handler.batch is None]
        return single, left[len(single)] if len(left) > len(single) else None

    def narrowed(self, delivery: Delivery) -> Route:
        """Return the route with only those handlers that want this message."""
        calls = tuple(call for call in self.calls if call.handler.where is None or call.handler.where(delivery))
        if len(calls) == len(self.calls):
            return self
        if (known := self._narrowed.get(calls)) is None:
            known = self._narrowed[calls] = Route(self.name, calls, self.known, self.judge)
        return known

    def fit(self, delivery: Delivery) -> Fit:
        """Return what a message of this name shows about the settings of its source."""
        if not self.known:
            return Fit.UNDECIDED if delivery.body is None else Fit.UNKNOWN
        return self.judge.fit(delivery) if self.judge is not None else Fit.UNDECIDED


NAMELESS: Final = Route("", (), False)


def route_of(delivery: Delivery) -> Route:
    """Return the route that the intake has given a delivery."""
    route = delivery.route
    assert isinstance(route, Route)
    return route


class Routes:
    """All routes of one source.

    Args:
        figures: the bus's; None where nothing is handled.

    Raises:
        ConfigError: two families share a name that this source's format cannot tell apart, or a handler of batches does not
            go together with the settings or with middleware.
    """

    def __init__(
        self, handlers: Handlers, settings: SourceSettings, *, source: str, figures: Figures | None = None
    ) -> None:
        self._settings = settings
        self._figures = None if figures is None else figures.source(source)
        self._format = settings.wire
        self._names = event_names(settings)
        self._handlers = [handler for handler in handlers if handler.source in (None, source)]
        self._any = [handler for handler in self._handlers if handler.handles_any]
        self._meanings: dict[str, Found] = {}
        wanted: dict[str, dict[Handler, Found | None]] = {}
        for handler in self._handlers:
            for meaning in handler.meanings():
                if self._format.family not in (None, meaning.family.name):
                    continue
                other = self._meanings.setdefault(meaning.name, _usual(meaning))
                if other.family is not meaning.family:
                    raise ConfigError(
                        f"source {source!r}: format {self._format.name!r} cannot tell {other.family.name}:{other.name} "
                        f"from {meaning.family.name}:{meaning.name}; give each a source with a format of its own"
                    )
                wanted.setdefault(meaning.name, {}).setdefault(handler, meaning)
            for name in handler.events if handler.raw and not handler.handles_any else ():
                wanted.setdefault(str(name), {})[handler] = None
        self._wanted = wanted
        self._reached = {*self._any, *(handler for handlers in wanted.values() for handler in handlers)}
        # If a handler takes deliveries of any name, an unknown name does not show that a rule is wrong.
        self._raw = any(handler.raw for handler in self._handlers)
        scope = settings.group or ",".join(settings.topic or settings.queue)
        self._middleware = {handler.name: handlers.middleware(handler, source) for handler in self._handlers}
        for handler in self._handlers:
            if handler.batch is not None:
                refuse_batches(handler.name, settings, self._middleware[handler.name], source=source)
        self._idempotent = {
            handler.name: IdempotentHandler(handler, dedupe, scope=scope, timeout=settings.timeout)
            for handler in self._handlers
            if handler in self and (dedupe := settings.dedupe if handler.dedupe is None else handler.dedupe)
        }
        raw = tuple(self._call(handler, _as_it_came) for handler in self._any if handler.raw and "" in handler.events)
        nameless = Route("", raw, True) if raw else NAMELESS
        nulls = tuple(self._made(each, _no_event) for each in self._any if each.takes_null)
        self.null: Route = Route("", nulls, True) if nulls else NAMELESS
        """That of messages that have neither a name nor a value."""
        self.foreign: Callable[[Judge, Delivery], None] = _nobody
        """Called with an event that may have been read without any of its fields."""
        stated = (*(settings.name_from or self._format.name_from), *(settings.id_from or self._format.id_from))
        self._looked_at = {path[0] for rule in stated if (path := field_path(rule))}
        self._routes: dict[str | bytes | None, Route] = {None: nameless, "": nameless, b"": nameless}
        self._kept = [0, 0]

    def __getitem__(self, wire_name: str | bytes | None) -> Route:
        """Return the route of a name on the wire."""
        if (known := self._routes.get(wire_name)) is not None:
            return known
        assert wire_name is not None
        name = as_text(wire_name)
        if isinstance(name, bytes):
            name = name.decode(errors="backslashreplace")
        route = self._resolve(name := self._names.of(name))
        # A rule can make one name of many, so handled names have a limit too. Invented ones leave them their room.
        wanted = name in self._wanted
        if self._kept[wanted] < _MOST_UNKNOWN + wanted * 2 * len(self._wanted) and len(wire_name) <= _LONGEST_UNKNOWN:
            self._kept[wanted] += 1
            self._routes[wire_name] = route
        return route

    def __contains__(self, handler: Handler) -> bool:
        """Whether messages of this source can reach a handler."""
        return handler in self._reached

    @property
    def timeouts(self) -> list[float]:
        """The timeouts in seconds of handlers with their own timeout."""
        return [handler.timeout for handler in self._handlers if handler.timeout is not None]

    @property
    def policies(self) -> list[RetryPolicy]:
        """The retry policies of handlers with their own policy."""
        return [handler.retry for handler in self._handlers if handler.retry is not None]

    @property
    def rates(self) -> dict[str, Rate]:
        """The rate limits of handlers that have one, by name of the handler."""
        return {handler.name: handler.rate for handler in self._handlers if handler.rate is not None}

    @property
    def idempotent_handlers(self) -> Collection[IdempotentHandler]:
        """The handlers that run once for each message."""
        return self._idempotent.values()

    @property
    def meanings(self) -> Collection[Found]:
        """The meanings of the handlers' event names, without handlers for every name."""
        return self._meanings.values()

    @property
    def reads_models(self) -> bool:
        """Whether a handler takes events, and not only unread messages."""
        return any(not handler.raw for handler in self._handlers)

    @property
    def takes_null(self) -> bool:
        """Whether a handler takes messages without a value."""
        return any(handler.takes_null for handler in self._handlers)

    @property
    def takes_any(self) -> bool:
        """Whether a handler takes every name."""
        return bool(self._any)

    @property
    def find(self) -> Callable[[str | bytes | None], Route | None]:
        """Return a route that was resolved before, or None. This is the fast part of the lookup."""
        return self._routes.get

    def _resolve(self, name: str) -> Route:
        meaning = self._meanings.get(name) or self._family_meaning(name)
        wanted = {**self._wanted.get(name, {}), **dict.fromkeys(self._any, meaning)}
        # Handlers of one model share its reader, and so the event.
        judges = {own.model: Judge(own, self._format, self._looked_at) for own in wanted.values() if own is not None}
        readers = {own.model: self._reader(own, judges[own.model]) for own in wanted.values() if own is not None}
        open_reader = self._open_reader(name)
        # Anybody can invent names, and figures must not grow with them.
        shown = name if meaning is not None or name in self._wanted else OTHER
        calls = tuple(
            self._call(handler, open_reader if own is None else readers[own.model], shown)
            for handler, own in sorted(wanted.items(), key=lambda one: one[0].batch is not None)
        )
        judge = next((judges[own.model] for each, own in wanted.items() if own is not None and not each.raw), None)
        return Route(name, calls, bool(calls) or meaning is not None or self._raw, judge)

    def _call(self, handler: Handler, read: Read, event: str = OTHER) -> Call:
        if handler.raw:
            read = _as_it_came
        elif handler.takes_null:
            read = _or_none(read)
        return self._made(handler, read, event)

    def _made(self, handler: Handler, read: Read, event: str = OTHER) -> Call:
        timing = Timing() if self._figures is None else self._figures.timing(handler.name, event)
        idempotent, middleware = self._idempotent.get(handler.name), self._middleware[handler.name]
        return Call(handler, read, idempotent, middleware, event, timing)

    def _family_meaning(self, name: str) -> Found | None:
        found = [meaning for meaning in events.find(name) if self._format.family in (None, meaning.family.name)]
        return found[0] if len(found) == 1 else None

    def _reader(self, meaning: Found, judge: Judge | None = None) -> Read:
        family, name, model = meaning
        read_bytes = family.reader(name, model)
        payload, zone = self._format.payload, self._settings.tz
        if name in family.versions:
            payload = _as_object(payload)
        suspects = judge.presence.suspects if judge is not None and judge.presence.judges else None

        def read(delivery: Delivery) -> Any:
            body: Any
            if payload is not None:
                body = payload(delivery)
            elif delivery.parsed.__class__ is dict:  # by a rule: it is not parsed again
                body = delivery.parsed
            else:
                body = delivery.body
            if isinstance(body, bytes):
                try:
                    event = read_bytes(body)
                except DecodeError:
                    if (plain := undone(delivery)) is None or payload is not None:
                        raise
                    event = read_bytes(plain)
            elif delivery.body is None:
                raise NoValue
            elif body is None:
                raise DecodeError("the message has no body", family=family.name, event=name)
            else:
                event = family.read(name, body, model=model, headers=delivery.headers)
            if suspects is not None and suspects(event) and judge is not None:
                self.foreign(judge, delivery)
            return event

        if zone is None:
            return read
        return lambda delivery: in_zone(read(delivery), zone)

    def _open_reader(self, name: str) -> Read:
        """Read names that no family knows: handlers of ``"*"`` get the family's open model, or else the parsed JSON."""
        family = events.get_family(self._format.family) if self._format.family else None
        if family is not None and family.fallback is not None:
            return self._reader(Found(family, name, family.fallback))
        payload = self._format.payload

        def read(delivery: Delivery) -> Any:
            body = payload(delivery) if payload else delivery.body
            if not isinstance(body, (bytes, str)):
                if delivery.body is None:
                    raise NoValue
                return body
            try:
                return json.loads(json_text(body) if isinstance(body, bytes) else body, parse_float=Decimal)
            except (ValueError, RecursionError) as error:
                raise DecodeError(f"not JSON: {error}", event=name, value=body) from error

        return read


def _usual(meaning: Found) -> Found:
    """Return the meaning of an event name for handlers that do not ask for another model."""
    return meaning._replace(model=meaning.family.models.get(meaning.name, meaning.model))


def _as_object(payload: Callable[[Delivery], Any] | None) -> Callable[[Delivery], Any]:
    """Return the payload as a parsed object, which upcasts need."""

    def find(delivery: Delivery) -> Any:
        body = payload(delivery) if payload is not None else parsed(delivery)
        if isinstance(body, (bytes, str)):
            with suppress(ValueError, RecursionError):
                body = from_json(body)
        return delivery.body if body is NOT_JSON else body

    return find


def _nobody(judge: Judge, delivery: Delivery) -> None:
    """Until a consumer listens."""


def _as_it_came(delivery: Delivery) -> Delivery:
    return delivery


def _no_event(delivery: Delivery) -> None:
    """The event of a message without a value."""


def _or_none(read: Read) -> Read:
    return lambda delivery: None if delivery.body is None else read(delivery)
