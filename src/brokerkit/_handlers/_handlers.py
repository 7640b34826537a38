"""Handlers: functions that are registered for event names, and checked at registration."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from brokerkit import events
from brokerkit._config._rate import Rate
from brokerkit._config._retry_policy import RetryPolicy
from brokerkit._errors import ConfigError
from brokerkit._handlers._batch import Batch, OnBatch
from brokerkit._handlers._batch_signatures import batch_form
from brokerkit._handlers._filters import make_filter
from brokerkit._handlers._middleware import HandlerMiddleware, only_for
from brokerkit._handlers._options import check_batch, check_options
from brokerkit._handlers._signatures import (
    check_events,
    injection,
    is_async,
    is_same,
    meant,
    name_of,
    takes_message,
    takes_null,
)
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import Headers
from brokerkit.dedupe._dedupe import Dedupe
from brokerkit.events import Found

if TYPE_CHECKING:
    from brokerkit._handlers._dependencies import Injection
    from brokerkit._vendors._on import On

ANY_EVENT: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Handler:
    """One function, and what it is registered for.

    Attributes:
        name: module and qualified name of the function, for logs, dead letters and the list of handlers that are done.
        events: the event names and model classes, or only ``"*"`` for every name.
        is_async: whether the function is a coroutine function; others run in a thread.
        takes_message: whether it also takes the message.
        takes_null: whether it also takes messages without a value; its event is then None (``event: X | None``).
        retry: its own retry policy, or None for the source's policy.
        timeout: seconds that a call may take, or None for the source's timeout.
        source: the only source whose messages it gets, or None for all sources.
        dedupe: how it runs once for each message; None for the source's setting, False to turn it off.
        raw: whether it takes the `Delivery` instead of an event, so that forwarding a message needs no model.
        injection: fills its parameters other than event and message; None if there are none.
        middleware: the middleware around each attempt, the first outermost.
        where: whether it wants a message of its events; None if it wants all.
        batch: how it takes batches; None if it takes single messages.
        rate: how many messages of each of its sources may begin in a second; None for no limit of its own.
    """

    function: Callable[..., Any]
    name: str
    events: tuple[str | type[Any] | Found, ...]
    is_async: bool
    takes_message: bool
    retry: RetryPolicy | None
    timeout: float | None
    source: str | None
    dedupe: Dedupe | Literal[False] | None = None
    raw: bool = False
    takes_null: bool = False
    injection: Injection | None = None
    middleware: tuple[HandlerMiddleware, ...] = ()
    where: Callable[[Delivery], bool] | None = None
    batch: Batch | None = None
    rate: Rate | None = None

    @property
    def handles_any(self) -> bool:
        """Whether it is registered for every name."""
        return ANY_EVENT in self.events

    def meanings(self) -> Iterator[Found]:
        """Yield family, name and model of each of its event names.

        Raises:
            ConfigError: a name is unknown, or belongs to several families and was written without its family.
        """
        for event in () if self.raw else self.events:
            if event == ANY_EVENT:
                continue
            if isinstance(event, Found):
                yield event
                continue
            found = events.find(event)
            if len(found) == 1:
                yield found[0]
            elif isinstance(event, str):
                raise ConfigError(f"handler {self.name}: {_no_single_meaning(event, found)}")
            else:
                yield from found


class Handlers:
    """A set of handlers that can be included in a bus.

    Example::

        handlers = Handlers()

        @handlers.on("OnGameDone")
        async def settle(event: OnGameDone, message: Message) -> None: ...
    """

    def __init__(self) -> None:
        self._registered: list[Handler] = []
        # Registration must not look at every other handler: there can be tens of thousands.
        self._of_event: defaultdict[str | type[Any] | Found, list[Handler]] = defaultdict(list)
        self._numbers: dict[str, int] = {}
        self._middleware: list[tuple[HandlerMiddleware, str | None]] = []
        self._late = ""

    @property
    def on(self) -> On:
        """Register a function for event names, model classes, or ``"*"`` for every name.

        Args:
            *events: one or several names (``"OnGameDone"``, or with the family: ``"evenbet:OnGameDone"``) or model classes.
                A class that no family has is an event under its own name. One name and one class after it: the events of
                that name, read as that class.
            retry: a policy for this handler, instead of the source's.
            timeout: seconds that a call may take, instead of the source's timeout; a longer call counts as a failure.
            source: the only source whose messages it gets.
            dedupe: run it once for each message, however often the message comes; False turns this off even if the
                source does it.
            where: only messages in which this rule (``"header:brand"``, ``"field:table.id"``) finds the text ``equals``, or
                for which this function of the headers returns true. Others are skipped before their event is read.
            equals: the text that ``where`` must find.
            rate: how many messages of a source may begin with it in a second; the others wait.

        The function takes the event, or the event and the `Message`. If its event may be None (``event: X | None``), it also
        gets messages without a value (tombstones), which only Kafka has. Other functions never get them. A plain function
        runs in a thread. Several handlers of one message run in the order of registration, those for ``"*"`` last.

        Further parameters are filled by dependencies: ``db: Annotated[Session, Depends(session)]``; see
        `brokerkit.dependencies`.

        Raises:
            ConfigError: the function's signature does not fit, its event parameter is annotated with another model, or
                nothing fills a parameter.
        """
        return cast("On", self._on)

    def _on(
        self,
        *events: str | type[Any],
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Headers], bool] | None = None,
        equals: str | None = None,
        rate: Rate | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        check_events(events, ANY_EVENT)
        wanted = meant(events)
        self._refuse_late()
        check_options(retry, timeout, source, dedupe, rate)
        wants = make_filter(where, equals)

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self._add(
                Handler(
                    function=function,
                    name=name_of(function),
                    events=wanted,
                    is_async=is_async(function),
                    takes_message=takes_message(function, wanted, ANY_EVENT),
                    takes_null=takes_null(function),
                    retry=retry,
                    timeout=timeout,
                    source=source,
                    dedupe=dedupe,
                    injection=injection(function),
                    where=wants,
                    rate=rate,
                )
            )
            return function

        return register

    @property
    def on_batch(self) -> OnBatch:
        """Register a function that takes many messages of one event at once, such as for a bulk insert.

        Args:
            *event: an event name, a model class, or a name and the class to read it as.
            size: the most messages of a batch.
            within: seconds after its first message at which a batch is handled, however few messages it has.
            **options: ``retry``, ``timeout`` (of the call, for the whole batch), ``source``, ``dedupe``, ``where`` and
                ``equals``, as for `on`.

        The function takes the list of events, the list of events and the list of their `Message`, or only
        ``list[Message]``, whose bodies nobody reads. If it returns, all messages are done. If it raises, all have failed,
        and each follows its retry policy. To fail single messages, it returns `FailedItems`. Messages of one key are in a
        batch in their order, and later ones wait until it is handled. Handlers of batches run after the other handlers of a
        message. Parameters that are dependencies are filled once for each batch; there, ``event`` and ``message`` are the
        lists.

        Raises:
            ConfigError: the function's signature does not fit, or an option is wrong.
        """
        return cast("OnBatch", self._on_batch)

    def _on_batch(
        self,
        *event: str | type[Any],
        size: int,
        within: float,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Headers], bool] | None = None,
        equals: str | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        check_events(event, ANY_EVENT, by="on_batch")
        wanted = meant(event)
        if len(wanted) > 1 or ANY_EVENT in wanted:
            raise ConfigError("on_batch takes one event: register the function for each event that it handles")
        self._refuse_late()
        check_options(retry, timeout, source, dedupe)
        check_batch(size, within)
        wants = make_filter(where, equals)

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            form = batch_form(function, wanted)
            self._add(
                Handler(
                    function=function,
                    name=name_of(function),
                    events=wanted,
                    is_async=is_async(function),
                    takes_message=form.takes_messages,
                    takes_null=form.takes_null,
                    retry=retry,
                    timeout=timeout,
                    source=source,
                    dedupe=dedupe,
                    injection=injection(function),
                    where=wants,
                    batch=Batch(size, within, reads=form.reads),
                )
            )
            return function

        return register

    def add_middleware(self, middleware: HandlerMiddleware, *, source: str | None = None) -> None:
        """Run a function around each attempt of these handlers, and of those that are registered later.

        It is called with an `Attempt` and with what runs it. What was added first is outermost. The middleware of a bus is
        outside that of sets of handlers that it includes.

        Args:
            middleware: a coroutine function.
            source: only around messages of this source.

        Raises:
            ConfigError: it is not a coroutine function, or the handlers are in use.
        """
        if not is_async(middleware):
            raise ConfigError(f"middleware {name_of(middleware)} must be an async function of (attempt, proceed)")
        self._refuse_late()
        self._middleware.append((middleware, source))

    def middleware(self, handler: Handler, source: str) -> tuple[HandlerMiddleware, ...]:
        """Return what runs around a handler for the messages of a source, the first outermost."""
        if handler.raw:
            return ()
        return (*(each for each, only in self._middleware if only in (None, source)), *handler.middleware)

    def forward(
        self,
        function: Callable[..., Any],
        *,
        source: str,
        events: tuple[str, ...] = (ANY_EVENT,),
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
    ) -> None:
        """Register a coroutine function that gets each `Delivery` of a source unchanged, after all other handlers.

        Args:
            function: takes the delivery, or the delivery and its `Message`.
            source: name of the source.
            events: event names, also unknown ones; ``"*"`` for every name, and ``""`` for messages without one.
            retry: as for `on`.
            timeout: as for `on`.
        """
        self._add(
            Handler(
                function=function,
                name=name_of(function),
                events=events,
                is_async=True,
                takes_message=takes_message(function, (ANY_EVENT,), ANY_EVENT),
                retry=retry,
                timeout=timeout,
                source=source,
                dedupe=False,
                raw=True,
            )
        )

    def include(self, other: Handlers) -> None:
        """Add all handlers of another set, after the existing ones. The other set takes no more handlers afterwards.

        Raises:
            ConfigError: an event name is unknown or ambiguous (the message suggests one), or a handler is already here.
        """
        if not isinstance(other, Handlers):  # pyright: ignore[reportUnnecessaryIsInstance] (users without a checker)
            raise ConfigError(f"include takes Handlers, not a {type(other).__name__}; register a function with on(...)")
        self._refuse_late()
        for handler in other:
            for _ in handler.meanings():
                pass
            self._refuse_again(handler)
        for handler in other:
            own = tuple(only_for(each, source) for each, source in other._middleware)
            self._add(replace(handler, middleware=(*own, *handler.middleware)))
        other._late = "they were included in a bus, which does not see later ones: register everything before include"

    @contextlib.contextmanager
    def settled(self, reason: str) -> Generator[None]:
        """Refuse registrations while the block runs, because they would do nothing."""
        before, self._late = self._late, reason
        try:
            yield
        finally:
            self._late = before

    def _refuse_late(self) -> None:
        if self._late:
            raise ConfigError(f"no more handlers can be registered here: {self._late}")

    def _refuse_again(self, handler: Handler) -> None:
        """Refuse a handler that would handle each message twice.

        Raises:
            ConfigError: the same function is already registered for one of these events.
        """
        for known in (known for event in handler.events if not handler.raw for known in self._of_event.get(event, ())):
            if (known.source is None or handler.source is None or known.source == handler.source) and is_same(
                known.function, handler.function
            ):
                shared = sorted(shown(one) for one in set(known.events) & set(handler.events))
                raise ConfigError(
                    f"handler {handler.name} is already registered for {', '.join(shared)}, and would handle each message "
                    "twice; if this code runs again (a notebook cell), make a new bus before it"
                )

    def _add(self, handler: Handler) -> None:
        """Add a handler under a unique name, because the list of handlers that are done holds names."""
        self._refuse_late()
        self._refuse_again(handler)
        name = handler.name
        while name in self._numbers:
            self._numbers[handler.name] += 1
            name = f"{handler.name}#{self._numbers[handler.name]}"
        self._numbers[name] = 1
        added = replace(handler, name=name)
        self._registered.append(added)
        for event in () if handler.raw else handler.events:
            self._of_event[event].append(added)

    def __iter__(self) -> Iterator[Handler]:
        return iter(tuple(self._registered))

    def __len__(self) -> int:
        return len(self._registered)

    def __repr__(self) -> str:
        return f"<Handlers: {', '.join(handler.name for handler in self._registered) or 'none'}>"


def shown(event: str | type[Any] | Found) -> str:
    """What a handler is registered for, as text."""
    return event.name if isinstance(event, Found) else str(getattr(event, "__name__", event))


def _no_single_meaning(event: str, found: tuple[Found, ...]) -> str:
    if not found:
        return f"no registered family knows the event name {event!r}{events.suggest(event)}"
    choices = ", ".join(f"{meaning.family.name}:{meaning.name}" for meaning in found)
    return f"{event!r} is an event of several families: write {choices}, or use the model class"
