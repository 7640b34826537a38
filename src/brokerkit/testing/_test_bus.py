"""A bus under test: its brokers are in this process, and everything that leaves it or ends in it can be looked at."""

# A test bus looks inside the bus that it takes over.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from brokerkit import adapters
from brokerkit._bus import Bus
from brokerkit._consuming._trouble import next_copy_id
from brokerkit._errors import BrokerkitError, ConfigError
from brokerkit._hooks import Hooks, Notice
from brokerkit._message import Delivery, Headers, Message, Outgoing, State
from brokerkit._settings import ConnectionSettings, SourceSettings, TargetSettings
from brokerkit._target import Target
from brokerkit._transport import Adapter, Connection
from brokerkit._url import Url
from brokerkit.adapters import memory
from brokerkit.events._shapes import EventObject
from brokerkit.testing._records import DeadLetter, Handled, Published, check, read_outgoing
from brokerkit.testing._stand_in import StandIn, StandInSource
from brokerkit.testing._virtual_time import virtual_time

_LONGEST = 86_400.0


class TestBus:
    """Takes over a bus for a test: each of its brokers is replaced by an embedded one of this test's own.

    The handlers and settings stay: formats, name rules, groups, retries, names of dead letters, and what the brokers
    promise. Nothing is connected to. Code that publishes through the bus publishes into the test::

        async with TestBus(bus) as test:
            await test.deliver("OnGameDone", {"gameId": 77})
            await test.settled()
            test.assert_handled("OnGameDone", game_id=77)

    What differs: a size limit of 1 MiB everywhere, topics that come into being by being used, no lost connections.

    Args:
        bus: it must be closed; it is closed again afterwards, and as it was.
        virtual: whether waits are jumped over, see `virtual_time`.

    Attributes:
        bus: the bus that was taken over, open and consuming.
        published: what the bus has published, in order; dead letters and what `deliver` feeds are not among it.
        handled: what was handled to its end, in order.
        dead_letters: what became a dead letter, in order.
    """

    __test__ = False  # pytest takes every class with such a name for a set of tests

    def __init__(self, bus: Bus, /, *, virtual: bool = True) -> None:
        self.bus = bus
        self.published: list[Published] = []
        self.handled: list[Handled] = []
        self.dead_letters: list[DeadLetter] = []
        self._virtual = virtual
        self._prefix = f"test-{uuid.uuid4().hex}"
        self._brokers: list[Connection] = []
        self._sources: list[StandInSource] = []
        self._buried: set[str] = set()
        self._skipped = 0
        self._failure: BaseException | None = None
        self._changed = asyncio.Event()
        self._all = contextlib.AsyncExitStack()
        self._serving = contextlib.AsyncExitStack()

    def __repr__(self) -> str:
        return (
            f"<TestBus: {len(self.published)} published, {len(self.handled)} handled, "
            f"{len(self.dead_letters)} dead letters>"
        )

    async def __aenter__(self) -> Self:
        """Take the bus over, open it, and consume where it has sources and handlers.

        Raises:
            ConfigError: the bus is open already, or a handler cannot be routed.
            UnsupportedFeature: the real broker could not do what is asked for.
            MissingExtra: the client library of the real broker is not installed.
        """
        if self.bus._open or self.bus._consumers:
            raise ConfigError("a test takes over a closed bus, and this one is open")
        async with contextlib.AsyncExitStack() as stack:
            if self._virtual:
                stack.enter_context(virtual_time())
            stack.callback(self._give_back, self.bus._settings)
            self.bus._make = self._stand_in
            self.bus._settings = replace(
                self.bus._settings,
                sources={name: _without_file(source) for name, source in self.bus._settings.sources.items()},
            )
            self.bus._set_up_again()
            self.bus.add_hook(self._note)
            stack.push_async_callback(self._stop)
            await self._start()
            self._all = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, and give the bus back as it was."""
        await self._all.aclose()

    async def _start(self) -> None:
        self._sources.clear()
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.bus)
            if self.bus._sources and len(self.bus.handlers):
                await stack.enter_async_context(self.bus.serving())
            self._serving = stack.pop_all()

    async def _stop(self) -> None:
        await self._serving.aclose()

    def _give_back(self, settings: Any) -> None:
        self.bus._make = None
        self.bus._settings = settings
        self.bus._hooks.remove(self._note)
        self.bus._set_up_again()
        for number in range(len(self._brokers)):
            memory.forget(f"{self._prefix}-{number}")

    def _stand_in(self, connection: Connection) -> Adapter:
        if connection not in self._brokers:
            self._brokers.append(connection)
        url = Url.parse(f"memory://{self._prefix}-{self._brokers.index(connection)}")
        return StandIn.of(Connection(url=url), real=adapters.make(connection), watch=self)

    # ---- what the stand-ins say ------------------------------------------------------------------------------

    def opened(self, source: StandInSource) -> None:
        """A source was made."""
        self._sources.append(source)

    def sent(self, outgoing: Outgoing, adapter: StandIn) -> None:
        """A message has reached a broker."""
        if (letter := DeadLetter.of(outgoing)) is not None:
            self._buried.add(outgoing.id)
            self.dead_letters.append(letter)
            return
        for name, target in self.bus._settings.targets.items():
            if self.bus._adapter(target) is adapter and target.topic in (None, outgoing.topic):
                event_name = target.names.get(outgoing.name, outgoing.name)
                event = read_outgoing(outgoing, event_name, target.wire)
                self.published.append(Published.of(outgoing, event_name, event, target=name))
                return

    def ended(self, delivery: Delivery) -> None:
        """A delivery was acknowledged."""
        if delivery.trouble is not None and next_copy_id(delivery) in self._buried:
            return
        if not delivery.route or not delivery.route.calls:
            self._skipped += 1
            return
        self.handled.append(Handled.of(delivery))

    def progressed(self) -> None:
        """Something was settled."""
        self._changed.set()

    def _note(self, notice: Notice) -> None:
        if notice.kind == "source_failed":
            self._failure = notice.error
            self._changed.set()

    # ---- what a test does ------------------------------------------------------------------------------------

    async def deliver(
        self,
        what: EventObject | Message | str,
        payload: Mapping[str, Any] | EventObject | None = None,
        /,
        *,
        key: str | bytes | None = None,
        headers: Headers | None = None,
        id: str | None = None,
        source: str | None = None,
        times: int = 1,
    ) -> None:
        """Have the broker bring a message to a source, written as the source's settings read it. Returns at once.

        Args:
            what: an event; an event name, with the payload beside it; or a `Message`, whose body goes out unchanged.
            payload: the payload of an event name, checked against the event's model.
            key: orders messages.
            headers: beside the body.
            id: the message's id; made if it is not given.
            source: name of the source; needed only where there are several.
            times: 2 imitates a broker that delivers again because an acknowledgement was lost.

        Raises:
            ConfigError: there is no such source.
            InvalidMessage: it cannot be written.
            MessageTooLarge: larger than the embedded broker takes.
        """
        settings = self._source_settings(source)
        adapter = self.bus._adapter(settings)
        assert isinstance(adapter, StandIn)
        shared = {name: getattr(settings, name) for name in ConnectionSettings.model_fields}
        writable = TargetSettings.model_construct(**shared, topic=(settings.topic or settings.queue)[0])
        target = Target("deliver", adapter, writable, Hooks())
        outgoing = target.prepare(what, payload, key=key, headers=headers, id=id)
        outgoing.stored = bool(settings.queue)
        for _ in range(times):
            answer = adapter.bring(outgoing)
            if isinstance(answer, BrokerkitError):
                raise answer

    def _source_settings(self, name: str | None) -> SourceSettings:
        sources = self.bus._settings.sources
        if name is None and len(sources) == 1:
            return next(iter(sources.values()))
        if name is None or name not in sources:
            wanted = "source= must name a source" if name is None else f"there is no source {name!r}"
            raise ConfigError(f"{wanted}; there are {', '.join(sources) or 'none'}")
        return sources[name]

    async def settled(self, *, timeout: float = _LONGEST) -> None:
        """Wait until every message is handled, skipped, or a dead letter; retries are waited for.

        Args:
            timeout: seconds to wait at most, virtual ones where time is virtual.

        Raises:
            BrokerkitError: an error has ended a source; it is the one that `Bus.serve` would raise.
            AssertionError: messages were left at the end of ``timeout``; it says what became of the others.
        """
        try:
            async with asyncio.timeout(timeout):
                while self._unfinished():
                    self._changed.clear()
                    if self._failure is not None:
                        raise self._failure
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"{self._unfinished()} messages are not settled after {timeout:g} s\n{self.describe()}"
            ) from None

    def _unfinished(self) -> int:
        return sum(adapter.unfinished() for _, adapter in self.bus._adapters if isinstance(adapter, StandIn))

    async def crash(self) -> None:
        """Imitate a process that is killed and started again.

        Handlers that run are cancelled where they stand, nothing is acknowledged any more, and what was unsettled is
        delivered again to a new consumer that knows of nothing but what the broker keeps. A plain function cannot be
        stopped: its thread runs on, and its result is ignored.
        """
        for source in self._sources:
            source.drop()
        for consumer in self.bus._consumers.values():
            for worker in consumer._workers._workers:
                if worker.delivery is not None and worker.delivery.state is State.RUNNING:
                    worker.task.cancel()
        await self._stop()
        await self._start()

    # ---- what a test asserts ---------------------------------------------------------------------------------

    def assert_published(
        self,
        name: str,
        /,
        *,
        key: str | bytes | None = None,
        to: str | None = None,
        times: int | None = None,
        **fields: object,
    ) -> Published:
        """See that an event was published; return the first that fits.

        Args:
            name: the event name.
            key: its key, where that matters.
            to: name of the target, where that matters.
            times: how many must fit exactly; by default at least one.
            **fields: attributes of the event and their values.

        Raises:
            AssertionError: none fits, or not so many; it lists what was published.
        """
        wanted: dict[str, object] = {}
        if key is not None:
            wanted["key"] = key
        if to is not None:
            wanted["target"] = to
        return check("published", self.published, name, wanted, fields, times, self.describe)

    def assert_not_published(self, name: str, /, **fields: object) -> None:
        """See that no such event was published.

        Raises:
            AssertionError: one was.
        """
        found = [one for one in self.published if one.name == name and one.has(fields)]
        assert not found, f"{name} was published, {len(found)} times:\n{_lines(found)}"

    def assert_handled(self, name: str, /, *, times: int | None = None, **fields: object) -> Handled:
        """See that an event was handled to its end; return the first that fits. Arguments as for `assert_published`."""
        return check("handled", self.handled, name, {}, fields, times, self.describe)

    def assert_dead_lettered(
        self,
        name: str,
        /,
        *,
        error: type[BaseException] | str | None = None,
        times: int | None = None,
        **fields: object,
    ) -> DeadLetter:
        """See that a message became a dead letter; return the first that fits.

        Args:
            name: the event name, ``""`` where the message has none.
            error: class of the error, or a piece of its text.
            times: how many must fit exactly; by default at least one.
            **fields: attributes of `DeadLetter` and their values, such as ``attempts=3``.

        Raises:
            AssertionError: none fits, or not so many; it lists what there is.
        """
        letters = [one for one in self.dead_letters if one.is_for(error)]
        hint = "" if error is None else f" for {error if isinstance(error, str) else error.__name__!r}"
        return check(f"dead-lettered{hint}", letters, name, fields, {}, times, self.describe)

    def assert_no_dead_letters(self) -> None:
        """See that nothing became a dead letter.

        Raises:
            AssertionError: something did; it says why.
        """
        assert not self.dead_letters, f"there are {len(self.dead_letters)} dead letters:\n{_lines(self.dead_letters)}"

    def describe(self) -> str:
        """All that has happened, for the message of a failed test."""
        parts: list[tuple[str, Sequence[object]]] = [
            ("published", self.published),
            ("handled", self.handled),
            ("dead letters", self.dead_letters),
        ]
        shown = [f"{title} ({len(found)}):\n{_lines(found)}" for title, found in parts]
        return "\n".join([*shown, f"skipped: {self._skipped}, unsettled: {self._unfinished()}"])


def _without_file(source: SourceSettings) -> SourceSettings:
    """A source whose dead letters go to a broker: a test must not write into the file of a service."""
    if source.dead_letter is not None and source.dead_letter.get_secret_value().startswith("file:"):
        return source.model_copy(update={"dead_letter": None})
    return source


def _lines(found: Sequence[object]) -> str:
    return "\n".join(f"  {one}" for one in found) or "  nothing"
