"""A bus under test: its brokers are in this process, and a test sees all that is published and handled."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from brokerkit import adapters
from brokerkit._bus import Bus
from brokerkit._config._settings import ConnectionSettings, SourceSettings, TargetSettings, event_names
from brokerkit._consuming._routes import route_of
from brokerkit._errors import BrokerkitError, ConfigError
from brokerkit._messages._copies import next_copy_id
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._message import Message
from brokerkit._messages._outgoing import Outgoing
from brokerkit._publishing._arguments import MessageOptions
from brokerkit._publishing._encoding import Encoding
from brokerkit._publishing._target import Target
from brokerkit._runtime import Runtime
from brokerkit._status._figures import Figures
from brokerkit._status._hooks import Hooks, Notice
from brokerkit._url import Url
from brokerkit.adapters import memory
from brokerkit.adapters.api import Adapter, Connection
from brokerkit.events._shapes import EventObject
from brokerkit.testing._records import DeadLettered, Handled, Published, check, read_outgoing
from brokerkit.testing._stand_in import StandIn, StandInSource
from brokerkit.testing._virtual_time import virtual_time

if TYPE_CHECKING:
    from typing import Unpack

_LONGEST = 86_400.0


class TestBus:
    """Takes over a bus for a test: an embedded broker replaces each of its brokers, for this test only.

    Handlers and settings stay: formats, name rules, groups, retries, names of dead-letter queues, and the promises of the
    brokers. Nothing connects. Code that publishes through the bus publishes into the test::

        async with TestBus(bus) as test:
            await test.deliver("OnGameDone", {"gameId": 77})
            await test.settled()
            test.assert_handled("OnGameDone", game_id=77)

    These things differ: the size limit is 1 MiB, topics are created on first use, and connections are never lost.

    Args:
        bus: a closed bus. After the test it is closed again, and as before.
        virtual: whether time is virtual, see `virtual_time`.

    Attributes:
        bus: the bus that was taken over, open and consuming.
        published: what the bus has published, in order, without dead letters and without messages of `deliver`.
        handled: messages that all their handlers have handled, in order.
        dead_letters: messages that became dead letters, in order.
    """

    __test__ = False  # otherwise pytest would collect the class as tests

    def __init__(self, bus: Bus, /, *, virtual: bool = True) -> None:
        self.bus = bus
        self.published: list[Published] = []
        self.handled: list[Handled] = []
        self.dead_letters: list[DeadLettered] = []
        self._virtual = virtual
        self._prefix = f"test-{uuid.uuid4().hex}"
        self._brokers: list[Connection] = []
        self._sources: list[StandInSource] = []
        self._dead_ids: set[str] = set()
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
        """Take over the bus, open it, and consume if it has sources and handlers.

        Raises:
            ConfigError: the bus is open already, or a handler cannot be routed.
            UnsupportedFeature: the real broker does not support what is asked for.
            MissingExtra: the client library of the real broker is not installed.
        """
        if self.bus.runtime.is_open or self.bus.runtime.consumers:
            raise ConfigError("a test can take over only a closed bus, and this one is open")
        async with contextlib.AsyncExitStack() as stack:
            if self._virtual:
                stack.enter_context(virtual_time())
            real = self.bus.runtime
            stack.callback(self._give_back, real)
            sources = {name: _without_file(source) for name, source in real.settings.sources.items()}
            self.bus.runtime = Runtime(replace(real.settings, sources=sources), real.hooks, make=self._stand_in)
            self.bus.add_hook(self._note)
            stack.push_async_callback(self._stop)
            await self._start()
            self._all = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, and restore the bus."""
        await self._all.aclose()

    async def _start(self) -> None:
        self._sources.clear()
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.bus)
            if self.bus.runtime.settings.sources and len(self.bus.handlers):
                await stack.enter_async_context(self.bus.serving(on_source_failure="log"))
            self._serving = stack.pop_all()

    async def _stop(self) -> None:
        await self._serving.aclose()

    def _give_back(self, real: Runtime) -> None:
        real.hooks.remove(self._note)
        self.bus.runtime = real
        for number in range(len(self._brokers)):
            memory.forget(f"{self._prefix}-{number}")

    def _stand_in(self, connection: Connection) -> Adapter:
        if connection not in self._brokers:
            self._brokers.append(connection)
        url = Url.parse(f"memory://{self._prefix}-{self._brokers.index(connection)}")
        return StandIn.of(Connection(url=url), real=adapters.make(connection), watch=self)

    # ---- reports of the stand-ins ----------------------------------------------------------------------------

    def opened(self, source: StandInSource) -> None:
        """A source was made."""
        self._sources.append(source)

    def sent(self, outgoing: Outgoing, adapter: StandIn) -> None:
        """A message has reached a broker."""
        if (letter := DeadLettered.of(outgoing)) is not None:
            self._dead_ids.add(outgoing.id)
            self.dead_letters.append(letter)
            return
        for name, target in self.bus.runtime.settings.targets.items():
            if self.bus.runtime.adapter_for(target) is adapter and target.topic in (None, outgoing.topic):
                event_name = event_names(target).of(outgoing.name)
                event = read_outgoing(outgoing, event_name, target.wire)
                self.published.append(Published.of(outgoing, event_name, event, target=name))
                return

    def ended(self, delivery: Delivery) -> None:
        """A delivery was acknowledged."""
        if delivery.retry_state is not None and next_copy_id(delivery) in self._dead_ids:
            return
        if delivery.route is None or not (calls := route_of(delivery).calls):
            self._skipped += 1
            return
        self.handled.append(Handled.of(delivery, calls[0].read(delivery)))

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
        source: str | None = None,
        times: int = 1,
        **options: Unpack[MessageOptions],
    ) -> None:
        """Let the broker deliver a message to a source, in the format and with the rules of its settings. Returns at once.

        Args:
            what: an event, an event name with ``payload``, or a `Message`, whose body is delivered unchanged.
            payload: the payload of an event name, checked against the event's model.
            source: name of the source; needed only if there are several.
            times: 2 imitates a broker that delivers again because an acknowledgement was lost.
            **options: ``key``, ``headers`` and ``id``; see `brokerkit.types.MessageOptions`.

        Raises:
            ConfigError: there is no such source.
            InvalidMessage: the message cannot be written.
            MessageTooLarge: the message is larger than the embedded broker accepts.
            ConnectionLost: the format needs a schema registry, and it does not answer.
        """
        settings = self._source_settings(source)
        adapter = self.bus.runtime.adapter_for(settings)
        assert isinstance(adapter, StandIn)
        shared = {name: getattr(settings, name) for name in ConnectionSettings.model_fields}
        writable = TargetSettings.model_construct(**shared, topic=(settings.topic or settings.queue)[0])
        target = Target("deliver", adapter, writable, Hooks(), Figures().target("deliver"))
        outgoing = target.prepare(what, payload, **options)
        outgoing.is_queue = bool(settings.queue)
        if (encoding := Encoding.of(writable)) is not None:
            try:
                await encoding.encode(outgoing)
            finally:
                await encoding.close()
        for _ in range(times):
            answer = adapter.bring(outgoing)
            if isinstance(answer, BrokerkitError):
                raise answer

    def _source_settings(self, name: str | None) -> SourceSettings:
        sources = self.bus.runtime.settings.sources
        if name is None and len(sources) == 1:
            return next(iter(sources.values()))
        if name is None or name not in sources:
            wanted = "source= must name a source" if name is None else f"there is no source {name!r}"
            raise ConfigError(f"{wanted}; there are {', '.join(sources) or 'none'}")
        return sources[name]

    async def settled(self, *, timeout: float = _LONGEST) -> None:
        """Wait until every message is handled, skipped, or a dead letter, after all its retries.

        Args:
            timeout: most seconds to wait; virtual seconds if time is virtual.

        Raises:
            BrokerkitError: an error has ended a source; `Bus.serve` would raise the same error.
            AssertionError: messages were left at the end of ``timeout``; it lists what happened.
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
        return sum(adapter.unfinished() for adapter in self.bus.runtime.adapters if isinstance(adapter, StandIn))

    async def crash(self) -> None:
        """Imitate a process that is killed and started again.

        Running handlers are cancelled, and nothing more is acknowledged. Unsettled messages are delivered again to a new
        consumer, which knows only what the broker keeps. A plain function cannot be stopped: its thread continues, and
        its result is ignored.
        """
        for source in self._sources:
            source.drop()
        for consumer in self.bus.runtime.consumers.values():
            consumer.abort()
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
        """Assert that an event was published; return the first that fits.

        Args:
            name: the event name.
            key: its key, if it matters.
            to: name of the target, if it matters.
            times: exactly how many must fit; by default at least one.
            **fields: attributes of the event and their values.

        Raises:
            AssertionError: none fits, or not exactly ``times``; it lists what was published.
        """
        wanted: dict[str, object] = {}
        if key is not None:
            wanted["key"] = key
        if to is not None:
            wanted["target"] = to
        return check("published", self.published, name, wanted, fields, times, self.describe)

    def assert_not_published(self, name: str, /, **fields: object) -> None:
        """Assert that no such event was published.

        Raises:
            AssertionError: such an event was published.
        """
        found = [one for one in self.published if one.name == name and one.has(fields)]
        assert not found, f"{name} was published, {len(found)} times:\n{_lines(found)}"

    def assert_handled(self, name: str, /, *, times: int | None = None, **fields: object) -> Handled:
        """Assert that an event was handled; return the first that fits. Arguments as for `assert_published`."""
        return check("handled", self.handled, name, {}, fields, times, self.describe)

    def assert_dead_lettered(
        self,
        name: str,
        /,
        *,
        error: type[BaseException] | str | None = None,
        times: int | None = None,
        **fields: object,
    ) -> DeadLettered:
        """Assert that a message became a dead letter; return the first that fits.

        Args:
            name: the event name, ``""`` if the message has none.
            error: class of the error, or a part of its text.
            times: exactly how many must fit; by default at least one.
            **fields: attributes of `DeadLettered` and their values, such as ``attempts=3``.

        Raises:
            AssertionError: none fits, or not exactly ``times``; it lists what happened.
        """
        letters = [one for one in self.dead_letters if one.is_for(error)]
        hint = "" if error is None else f" for {error if isinstance(error, str) else error.__name__!r}"
        return check(f"dead-lettered{hint}", letters, name, fields, {}, times, self.describe)

    def assert_no_dead_letters(self) -> None:
        """Assert that nothing became a dead letter.

        Raises:
            AssertionError: there are dead letters; it lists them.
        """
        assert not self.dead_letters, f"there are {len(self.dead_letters)} dead letters:\n{_lines(self.dead_letters)}"

    def describe(self) -> str:
        """Return all that happened, for the message of a failed test."""
        parts: list[tuple[str, Sequence[object]]] = [
            ("published", self.published),
            ("handled", self.handled),
            ("dead letters", self.dead_letters),
        ]
        paused = [name for name, consumer in self.bus.runtime.consumers.items() if consumer.pause.is_on]
        shown = [f"{title} ({len(found)}):\n{_lines(found)}" for title, found in parts]
        left = f"skipped: {self._skipped}, unsettled: {self._unfinished()}"
        return "\n".join([*shown, left, *(f"source {name} is paused" for name in paused)])


def _without_file(source: SourceSettings) -> SourceSettings:
    """Return a source whose dead letters do not go to a file: a test must not write into the file of a service."""
    if source.dead_letter is not None and source.dead_letter.get_secret_value().startswith("file:"):
        return source.model_copy(update={"dead_letter": None})
    return source


def _lines(found: Sequence[object]) -> str:
    return "\n".join(f"  {one}" for one in found) or "  nothing"
