"""Everything that exists from one opening of a bus to its closing: adapters, targets, dead-letter stores, consumers.

`Bus` is a front for it. It makes a new runtime for each opening, because connections can be opened only once. The bridge,
the outbox, the gateway, the command line and the test bus use it as `Bus.runtime`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Final, Self

from brokerkit import _clock, adapters
from brokerkit._config._loading import ONLY, BusSettings
from brokerkit._config._settings import PUBLISH_TIMEOUT, ConnectionSettings, SourceSettings
from brokerkit._consuming._consumer import Consumer
from brokerkit._consuming._idempotent import IdempotentHandler
from brokerkit._consuming._routes import Routes
from brokerkit._dead_letters._choice import store_of
from brokerkit._dead_letters._handle import DeadLetters
from brokerkit._dead_letters._store import DeadLetterQueue
from brokerkit._deadline import ADAPTER_GRACE, bounded
from brokerkit._errors import Closed, ConfigError, ConnectionLost, UnsupportedFeature
from brokerkit._handlers._handlers import Handlers
from brokerkit._handlers._scopes import Scope
from brokerkit._preflight import (
    refuse_impossible_dedupe,
    refuse_impossible_transactions,
    refuse_missing_group,
    refuse_unpromised,
    refuse_workers,
)
from brokerkit._publishing._target import Target
from brokerkit._status import _reports as _reports
from brokerkit._status._figures import Figures
from brokerkit._status._health import Health, SourceHealth, why_not_ready
from brokerkit._status._hooks import Hooks
from brokerkit._status._stats import Stats
from brokerkit._vendors import _sections as _sections
from brokerkit.adapters._tls_cause import Tls, explained, tls_of, warn_of_missing_check
from brokerkit.adapters.api import Adapter, Capabilities, Connection

_JUST_NOW: Final = 1.0
"""Seconds after the end of consuming in which a close still belongs to the same shutdown."""


class Runtime:
    """The parts of an open bus. It connects in `open`, not before.

    Args:
        settings: checked settings.
        hooks: called for rare events; they outlive the runtime.
        make: makes the adapter of a connection; by default, the scheme of the URL selects it.
        earlier: the runtime of the previous opening. Its figures are shown until consuming begins again.

    Attributes:
        settings: as given.
        hooks: as given.
        figures: for metrics; they outlive the runtime.
        is_open: whether it is between `open` and `close`.
        adapters: one for each distinct connection.
        targets: by name.
        dead_letters: the dead-letter store of each source.
        consumers: by source, while the bus consumes.
        stats: figures of each source since consuming last began.

    Raises:
        ConfigError: a URL or a client option is wrong.
        MissingExtra: a client library is not installed.
        UnsupportedFeature: a broker cannot do what a setting asks for.
    """

    def __init__(
        self,
        settings: BusSettings,
        hooks: Hooks,
        *,
        make: Callable[[Connection], Adapter] | None = None,
        earlier: Runtime | None = None,
    ) -> None:
        self.settings = settings
        self.hooks = hooks
        self.figures: Figures = earlier.figures if earlier else Figures()
        self.is_open = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self.adapters: list[Adapter] = []
        self._connections: list[Connection] = []
        self._make = make
        self._sources = {name: self.adapter_for(source) for name, source in settings.sources.items()}
        self.targets = {
            name: Target(
                *(name, self.adapter_for(target), target, hooks, self.figures.target(name)),
                tls=self._tls_of(target.connection()),
            )
            for name, target in settings.targets.items()
            # A bus with only a topic has a target for it too, unless the topic is a pattern, which cannot be published to.
            if name != ONLY or not self.adapter_for(target).capabilities(target.topic or "").pattern
        }
        self._only_target = next(iter(self.targets.values())) if len(self.targets) == 1 else None
        self.dead_letters = {
            name: store_of(source, self._sources[name], self.adapter_for) for name, source in settings.sources.items()
        }
        self._refuse_unpromised()
        self.consumers: dict[str, Consumer] = {}
        self.begins_paused: Mapping[str, str] = earlier.begins_paused if earlier else {}  # sources, and why
        self.stats: dict[str, Stats] = earlier.stats if earlier else {}
        self._served: dict[str, Consumer] = earlier._served if earlier else {}
        self._since = _clock.wall_time()
        # Begin and end of the last stop of consuming, in the loop's time.
        self._stopped: tuple[float, float] | None = None
        self._looking: list[asyncio.Task[None]] = []

    def renewed(self) -> Self:
        """Return a new runtime with the same settings, for the next opening."""
        return type(self)(self.settings, self.hooks, make=self._make, earlier=self)

    def _refuse_unpromised(self) -> None:
        for name, source in self.settings.sources.items():
            refuse_unpromised(name, source, self.capabilities(name), [source.retry])
            self._refuse_impossible_transactions(name, source)
            refuse_missing_group(name, source, self.capabilities(name), certain=name != ONLY)
        for name, target in self.settings.targets.items():
            promises = self.adapter_for(target).capabilities(target.topic or "")
            if name != ONLY and not promises.publishes:
                raise UnsupportedFeature(
                    broker=promises.broker, feature=f"targets (target {name!r})", alternative="name another broker"
                )

    def _refuse_impossible_transactions(
        self, name: str, source: SourceSettings, idempotent_handlers: Iterable[IdempotentHandler] = ()
    ) -> None:
        adapter, letters = self._sources[name], self.dead_letters[name]
        refuse_impossible_transactions(
            name,
            source,
            self.capabilities(name),
            letters_beside=isinstance(letters, DeadLetterQueue) and letters.adapter is adapter,
            targets={
                target: self.adapter_for(settings) is adapter for target, settings in self.settings.targets.items()
            },
            idempotent_handlers=idempotent_handlers,
        )

    # ---- parts -----------------------------------------------------------------------------------------------

    def adapter_for(self, settings: ConnectionSettings) -> Adapter:
        """Return the adapter of a connection. A source and a target on one broker share it."""
        connection = settings.connection()
        if connection not in self._connections:
            self.adapters.append((self._make or adapters.make)(connection))
            self._connections.append(connection)
        return self.adapters[self._connections.index(connection)]

    def source_name(self, name: str | None) -> str:
        """Return the name of a source; with None, the name of the only source.

        Raises:
            ConfigError: there is no such source, or there are several and none was named.
        """
        if name is None and len(self._sources) == 1:
            return next(iter(self._sources))
        if name is None or name not in self._sources:
            there = f"there are {', '.join(self._sources) or 'none'}"
            raise ConfigError(f"name a source; {there}" if name is None else f"there is no source {name!r}; {there}")
        return name

    def source_adapter(self, name: str) -> Adapter:
        """Return the adapter of a source."""
        return self._sources[name]

    def capabilities(self, source: str) -> Capabilities:
        """Return what the broker of a source promises for its topic."""
        settings = self.settings.sources[source]
        # Every name is checked. The first one stands for all.
        found = [self._sources[source].capabilities(topic) for topic in settings.topic or settings.queue]
        return found[0]

    def target(self, name: str | None) -> Target:
        """Return an open target; with None, the only target.

        Raises:
            Closed: the bus is not open.
            ConfigError: there is no such target, there are several and none was named, or this is another event loop.
        """
        self.must_be_open()
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigError(
                "this bus was opened in another event loop: publish from that one, or through bus.sync(), "
                "which any thread can use"
            )
        found = self._only_target if name is None else self.targets.get(name)
        if found is None:
            there = f"there are {', '.join(self.targets) or 'none'}"
            raise ConfigError(
                f"to= must name a target; {there}" if name is None else f"there is no target {name!r}; {there}"
            )
        return found

    def must_be_open(self) -> None:
        """Refuse anything that needs connections.

        Raises:
            Closed: the bus is not open.
        """
        if not self.is_open:
            raise Closed("the bus is not open: use it in 'async with bus:'")

    def dead_letters_of(self, source: str | None) -> DeadLetters:
        """Return the dead letters of a source; with None, of the only source.

        Raises:
            ConfigError: there is no such source, it has no dead-letter store, or it needs a group and has none.
            Closed: the bus is not open.
        """
        self.must_be_open()
        name = self.source_name(source)
        timeout = next((target.publish_timeout for target in self.settings.targets.values()), PUBLISH_TIMEOUT)
        settings, store = self.settings.sources[name], self.dead_letters[name]
        # The group decides which store is read, and which dead letters in it are the source's.
        refuse_missing_group(name, settings, self.capabilities(name), certain=True)
        return DeadLetters(name, self.source_adapter(name), settings, store, publish_timeout=timeout)

    # ---- lifecycle -------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, so that publishing works.

        Raises:
            ConnectionLost: a broker did not answer within its connect timeout.
            AccessDenied: a broker refused the credentials.
            NotFound: a target's topic must exist and does not exist.
        """
        _reports.say_where_settings_come_from(self.settings)
        self._loop = asyncio.get_running_loop()
        for adapter, connection in zip(self.adapters, self._connections, strict=True):
            await self._connect(adapter, connection)
        for target in self.targets.values():
            await target.open()
        self.is_open = True
        self._looking = _reports.begin_looking(self.health, self.figures)

    async def _connect(self, adapter: Adapter, connection: Connection) -> None:
        tls = self._tls_of(connection)
        warn_of_missing_check(connection.url, tls)
        try:
            await adapter.open()
        except ConnectionLost as error:
            raise await explained(error, tls) from error.__cause__

    def _tls_of(self, connection: Connection) -> Tls | None:
        return tls_of(connection) if self._make is None else None  # nothing is behind a stand-in

    async def close(self) -> None:
        """Send messages that are still being published, and close every connection."""
        self.is_open = False
        for task in self._looking:
            task.cancel()
        loop = asyncio.get_running_loop()
        left = self.settings.stop_timeout
        if self._stopped is not None and loop.time() - self._stopped[1] < _JUST_NOW:
            # Consuming has just ended, and has used some of the time.
            left = max(self._stopped[0] + left - loop.time(), 1.0)
        await asyncio.gather(*(target.close(left) for target in self.targets.values()))
        closing = (bounded(ADAPTER_GRACE, f"closing {adapter!r}", adapter.close()) for adapter in self.adapters)
        await asyncio.gather(*closing)

    # ---- consuming -------------------------------------------------------------------------------------------

    def routes(self, handlers: Handlers) -> dict[str, Routes]:
        """Return the routes of each source.

        Raises:
            ConfigError: there is no source or no handler, or no source delivers the events of a handler.
            UnsupportedFeature: a handler's retry policy needs more than a source's broker can do.
        """
        sources = self.settings.sources
        if not sources:
            raise ConfigError("this bus has no source: give it a topic (or queue) to read")
        if not len(handlers):
            raise ConfigError("this bus has no handlers: include some first")
        routes = {name: Routes(handlers, each, source=name, figures=self.figures) for name, each in sources.items()}
        for name, settings in sources.items():
            refuse_unpromised(name, settings, self.capabilities(name), routes[name].policies)
            refuse_missing_group(name, settings, self.capabilities(name), certain=True)
            refuse_impossible_dedupe(name, settings, self.capabilities(name), routes[name].idempotent_handlers)
            self._refuse_impossible_transactions(name, settings, routes[name].idempotent_handlers)
        for handler in handlers:
            if not any(handler in each for each in routes.values()):
                formats = ", ".join(f"{name} ({each.format})" for name, each in sources.items())
                wanted = f"source {handler.source!r}" if handler.source else "any source"
                raise ConfigError(
                    f"handler {handler.name} gets no events from {wanted}; sources and formats: {formats}"
                )
        return routes

    def refuse_workers(self, handlers: Handlers, count: int) -> None:
        """Refuse settings that do not work with several processes, and all that consuming refuses before it connects.

        Raises:
            ConfigError: a setting is wrong.
            UnsupportedFeature: a source's broker cannot be read by several processes like this.
        """
        routes = self.routes(handlers)
        for name, settings in self.settings.sources.items():
            refuse_workers(name, settings, self.capabilities(name), routes[name].idempotent_handlers, count)

    @contextlib.asynccontextmanager
    async def consuming(self, routes: dict[str, Routes]) -> AsyncGenerator[None]:
        """Consume while the block runs, then drain.

        Raises:
            BrokerkitError: as `Consumer.start` and a dedupe store's ``open`` do.
        """
        scope = Scope()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(scope.close)
            for store in {
                id(idempotent.dedupe.store): idempotent.dedupe.store
                for each in routes.values()
                for idempotent in each.idempotent_handlers
            }.values():
                await store.open()
                stack.push_async_callback(store.close)
            for name, settings in self.settings.sources.items():
                self.consumers[name] = Consumer(
                    name=name,
                    adapter=self._sources[name],
                    settings=settings,
                    routes=routes[name],
                    dead_letters=self.dead_letters[name],
                    stop_timeout=self.settings.stop_timeout,
                    hooks=self.hooks,
                    bus_scope=scope,
                    tls=self._tls_of(settings.connection()),
                    figures=self.figures.source(name),
                )
            self.stats = {name: consumer.stats for name, consumer in self.consumers.items()}
            self._served = dict(self.consumers)
            stack.push_async_callback(self._stop_consumers)
            for name, consumer in self.consumers.items():
                await consumer.start()
                if name in self.begins_paused:  # before it has received anything
                    await consumer.pause.begin(self.begins_paused[name])
            yield

    async def _stop_consumers(self) -> None:
        """Stop all consumers at once, even if the calling task is cancelled."""
        begun = asyncio.get_running_loop().time()
        stops = asyncio.gather(*(consumer.stop() for consumer in self.consumers.values()))
        try:
            await asyncio.shield(stops)
        except asyncio.CancelledError:
            await stops
            raise
        finally:
            self.consumers = {}
            _reports.say_what_became(self.stats)
            self._stopped = (begun, asyncio.get_running_loop().time())

    def consumers_of(self, source: str | None) -> list[Consumer]:
        """Return the consumer of a source; with None, all of them.

        Raises:
            ConfigError: there is no such source.
            Closed: the bus is not consuming.
        """
        names = self._sources if source is None else [self.source_name(source)]
        if not self.consumers:
            raise Closed("the bus is not consuming, so there is nothing to pause or to resume")
        return [self.consumers[name] for name in names]

    async def health(self, *, lag: bool = False) -> Health:
        """Return the state of each source and target. With ``lag``, ask the brokers how many messages wait."""
        looking = [consumer.health(lag=lag) for consumer in self._served.values()]
        # Concurrently only if brokers are asked: a task for each of a thousand sources costs more than the check itself.
        found = await asyncio.gather(*looking) if lag else [await browse for browse in looking]
        served = dict(zip(self._served, found, strict=True))
        idle = {
            name: SourceHealth(
                broker=self.capabilities(name).broker,
                order=settings.reach(self.capabilities(name)),
                state="stopped",
                since=self._since,
            )
            for name, settings in self.settings.sources.items()
            if name not in served
        }
        targets = {name: target.health() for name, target in self.targets.items()}
        reasons = why_not_ready(served, targets) if self.is_open else ["the bus is not open"]
        return Health(ready=not reasons, sources={**idle, **served}, targets=targets, reasons=tuple(reasons))
