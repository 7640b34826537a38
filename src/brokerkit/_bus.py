"""The bus: what an integrator holds. It publishes, and serves the handlers that are included in it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict

from brokerkit import _clock, adapters
from brokerkit._config import ONLY, BusSettings, elsewhere, from_file, from_keywords
from brokerkit._consuming._consumer import Consumer
from brokerkit._consuming._deadletters import DeadLetters, NoDeadLetters, QueueOfDeadLetters
from brokerkit._consuming._letter import DeadLetter
from brokerkit._consuming._letter_file import FileOfDeadLetters
from brokerkit._consuming._letters import Letters, Selected
from brokerkit._consuming._routes import Routes
from brokerkit._consuming._stats import Stats
from brokerkit._deadline import ADAPTER_GRACE, within
from brokerkit._errors import BrokerkitError, Closed, ConfigError, UnsupportedFeature
from brokerkit._handlers import Handlers
from brokerkit._health import Health, SourceHealth
from brokerkit._hooks import Hook, Hooks
from brokerkit._message import Headers, Message, Receipt
from brokerkit._refusals import refuse_impossible_onces, refuse_unpromised, refuse_workers
from brokerkit._retry import RetryPolicy
from brokerkit._settings import PUBLISH_TIMEOUT, ConnectionSettings, SourceSettings, Unknown
from brokerkit._signals import run_until_signalled
from brokerkit._target import Publishable, Target
from brokerkit._transport import Adapter, Capabilities, Connection, Order, Provision, Start
from brokerkit._url import Url
from brokerkit.dedupe._dedupe import Dedupe
from brokerkit.dedupe._store import Store
from brokerkit.events._shapes import EventObject

if TYPE_CHECKING:
    from typing import Unpack

    from brokerkit._on import On
    from brokerkit._sync import SyncBus

_FILE_SCHEME: Final = "file"


class Settings(TypedDict, total=False):
    """Keywords of `Bus`; see `SourceSettings` and `TargetSettings` for what they mean."""

    topic: str | Sequence[str]
    queue: str | Sequence[str]
    group: str
    format: str
    name_from: str | Sequence[str]
    names: Mapping[str, str]
    key_from: str | Sequence[str]
    id_from: str | Sequence[str]
    tz: str
    order: Order
    start: Start
    broadcast: bool
    provision: Provision
    unknown: Unknown
    concurrency: int
    max_in_flight: int
    lease: float
    retry: RetryPolicy
    max_deliveries: int
    hold: float
    timeout: float
    dead_letter: str
    dedupe: Dedupe | Store | str
    overflow: str
    options: Mapping[str, object]
    connect_timeout: float
    endpoint: str
    body_field: str
    publish_timeout: float
    propagate: bool
    stop_timeout: float


class Bus:
    """Publish and subscribe on one broker, or on several.

    Example::

        bus = Bus("kafka://localhost:9092", topic="evenbet.events", group="wallet", format="evenbet")
        bus.include(handlers)
        bus.run()

    Args:
        url: the broker. Environment variables (``BROKERKIT_TOPIC``, …) give what keywords leave open.
        **settings: see docs/configuration.md.

    Raises:
        ConfigError: a setting, the URL or a client option is wrong. Nothing is connected to here.
        MissingExtra: the broker's client library is not installed.
    """

    _make: Callable[[Connection], Adapter] | None = None
    """Makes other adapters than the URLs say: a test puts its own into their place."""

    def __init__(self, url: str | None = None, /, **settings: Unpack[Settings]) -> None:
        self._hooks = Hooks()
        self._set_up(from_keywords({"url": url, **settings}, os.environ))

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] = "brokerkit.toml", /, **settings: Unpack[Settings]) -> Self:
        """Make a bus from a TOML file; environment variables override it, and keywords override both.

        Raises:
            ConfigError: as the constructor does; the message names the file.
            MissingExtra: as the constructor does.
        """
        bus = cls.__new__(cls)
        bus._hooks = Hooks()
        bus._set_up(from_file(Path(path), settings, os.environ))
        return bus

    @classmethod
    def bridge(
        cls,
        source: str | None = None,
        target: str | None = None,
        /,
        *,
        to_topic: str | None = None,
        events: Iterable[str] = (),
        **settings: Unpack[Settings],
    ) -> Self:
        """A bus that hands on what it reads to another broker, every byte as it came; see docs/bridge.md.

        Where the source's broker has groups this mirrors its topic, elsewhere it moves the messages. One is acknowledged
        when the target has confirmed it. While the target is out of reach everything waits, in order; only a message
        that the target can never take becomes a dead letter. `run`, `serve` and `serving` start it, and `stats` has
        its figures under ``"from"``.

        Example::

            Bus.bridge("amqp://old", "kafka://new:9092", topic="evenbet.events", group="to-kafka", format="evenbet").run()

        Args:
            source: URL of the broker to read; settings for it alone may stand in its query.
            target: URL of the broker to publish to; what is to be otherwise than at the source stands in its query.
            to_topic: the target's topic; by default it is called as the source's.
            events: hand on these event names alone, and acknowledge the others.
            **settings: as for the constructor. ``format`` is ``json`` by default, which looks for names in headers and
                the routing key.

        Raises:
            ConfigError: a setting is wrong, or source and target are one topic.
            MissingExtra: a broker's client library is not installed.
            UnsupportedFeature: the target's broker can be read only.
        """
        from brokerkit import _bridge

        bus = cls.__new__(cls)
        bus._hooks = Hooks()
        bus._set_up(_bridge.settings(source, target, to_topic, settings, os.environ))
        _bridge.add(bus, events)
        return bus

    def _set_up(self, settings: BusSettings) -> None:
        self.handlers = Handlers()
        self._settings = settings
        self._adapters: list[tuple[Connection, Adapter]] = []
        self._sources: dict[str, Adapter] = {name: self._adapter(source) for name, source in settings.sources.items()}
        self._targets: dict[str, Target] = {
            name: Target(name, self._adapter(target), target, self._hooks) for name, target in settings.targets.items()
        }
        self._dead_letters: dict[str, DeadLetters] = {
            name: self._place_for_dead_letters(name, source) for name, source in settings.sources.items()
        }
        for name, source in settings.sources.items():
            refuse_unpromised(name, source, self._promises(name), [source.retry])
        for name, target in settings.targets.items():
            promises = self._adapter(target).capabilities(target.topic or "")
            if name != ONLY and not promises.publishes:
                raise UnsupportedFeature(
                    broker=promises.broker, feature=f"targets (target {name!r})", alternative="name another broker"
                )
        self._consumers: dict[str, Consumer] = {}
        self._stats: dict[str, Stats] = {}
        self._served: dict[str, Consumer] = {}
        self._since = _clock.now()
        # When consuming last began and ended to stop, in the loop's time.
        self._stopped: tuple[float, float] | None = None
        self._open = False

    def _adapter(self, settings: ConnectionSettings) -> Adapter:
        """One adapter for each distinct connection: a source and a target on one broker share it."""
        connection = settings.connection()
        for known, adapter in self._adapters:
            if known == connection:
                return adapter
        adapter = (self._make or adapters.make)(connection)
        self._adapters.append((connection, adapter))
        return adapter

    def __repr__(self) -> str:
        state = "serving" if self._consumers else "open" if self._open else "closed"
        return f"<Bus: {state}, sources {list(self._sources)}, targets {list(self._targets)}, {len(self.handlers)} handlers>"

    @property
    def on(self) -> On:
        """Register a handler with this bus directly; see `Handlers.on`."""
        return self.handlers.on

    def include(self, handlers: Handlers) -> None:
        """Add a set of handlers.

        Raises:
            ConfigError: an event name is unknown (the message suggests one) or belongs to several families.
        """
        self.handlers.include(handlers)

    def asyncapi(self, *, title: str = "brokerkit", version: str = "1.0.0") -> dict[str, Any]:
        """Describe this bus as an AsyncAPI 3.0.0 document; nothing is connected to, and no secret is in it.

        Args:
            title: what the application is called.
            version: the version of the application's interface.

        Raises:
            ConfigError: a handler cannot be routed.
        """
        from brokerkit._asyncapi import document

        targets = {name: self._adapter(target) for name, target in self._settings.targets.items()}
        return document(
            self._settings, self.handlers, sources=self._sources, targets=targets, title=title, version=version
        )

    @property
    def stats(self) -> dict[str, Stats]:
        """What became of the messages of each source since consuming last began."""
        return self._stats

    def add_hook(self, hook: Hook) -> None:
        """Have a function told of what is rare: failed attempts, dead letters, lost connections; see `Notice`.

        It is called on the event loop and must return soon. One that raises is logged, and changes nothing.
        """
        self._hooks.add(hook)

    async def health(self, *, lag: bool = False) -> Health:
        """What state each source and target is in. Asks no broker, so that a probe may call it often.

        Args:
            lag: ask the brokers how many messages wait, for two seconds at most.
        """
        found = await asyncio.gather(*(consumer.health(lag=lag) for consumer in self._served.values()))
        served = dict(zip(self._served, found, strict=True))
        idle = {
            name: SourceHealth(
                broker=self._promises(name).broker,
                order=settings.reach(self._promises(name)),
                state="stopped",
                since=self._since,
            )
            for name, settings in self._settings.sources.items()
            if name not in served
        }
        targets = {name: target.health() for name, target in self._targets.items()}
        ready = (
            self._open
            and all(source.state == "consuming" for source in served.values())
            and all(target.state == "open" for target in targets.values())
        )
        return Health(ready=ready, sources={**idle, **served}, targets=targets)

    def adapter(self, source: str | None = None, /) -> Adapter:
        """The adapter of a source, for what only its broker can do; see the pages of the adapters.

        It is good for one opening of the bus.

        Args:
            source: name of the source; needed only where there are several.

        Raises:
            ConfigError: there is no such source.
        """
        if source is None and len(self._sources) == 1:
            [source] = self._sources
        if source not in self._sources:
            raise ConfigError(f"there is no source {source!r}; there are {', '.join(self._sources) or 'none'}")
        return self._sources[source]

    # ---- publishing ------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Connect, so that publishing works.

        Raises:
            ConnectionLost: a broker did not answer within its connect timeout.
            AccessDenied: a broker refused the credentials.
            NotFound: a target's topic must exist and does not.
            ConfigError: the bus is open already.
        """
        if self._open:
            raise ConfigError("this bus is open already")
        try:
            for _connection, adapter in self._adapters:
                await adapter.open()
            for target in self._targets.values():
                await target.open()
        except BaseException:
            await self.__aexit__()
            raise
        self._open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send what is on its way, and close every connection.

        Whatever the brokers do, this and the stop of consuming right before it end within ``stop_timeout`` and 15 seconds.
        """
        self._open = False
        loop = asyncio.get_running_loop()
        left = self._settings.stop_timeout
        if self._stopped is not None and loop.time() - self._stopped[1] < 1.0:
            # Consuming has just ended, and has used some of the time already.
            left = max(self._stopped[0] + left - loop.time(), 1.0)
        await asyncio.gather(*(target.close(left) for target in self._targets.values()))
        closing = (within(ADAPTER_GRACE, f"the close of {adapter!r}", adapter.close()) for _, adapter in self._adapters)
        await asyncio.gather(*closing)
        self._set_up_again()

    def _set_up_again(self) -> None:
        """Make the closed bus fit to be opened once more: adapters and targets are good for one opening."""
        handlers, stats, served = self.handlers, self._stats, self._served
        self._set_up(self._settings)
        self.handlers, self._stats, self._served = handlers, stats, served

    async def publish(
        self,
        what: EventObject | Message | str,
        payload: Mapping[str, Any] | EventObject | None = None,
        /,
        *,
        key: str | bytes | None = None,
        headers: Headers | None = None,
        id: str | None = None,
        to: str | None = None,
    ) -> Receipt:
        """Publish one event; returns when the broker has it.

        Args:
            what: an event; an event name, with the payload beside it; or a `Message`, which goes out as it is. Its name is
                added where a reader would find none, and what it follows from, as docs/observability.md says.
            payload: the payload of an event name, checked against the event's model.
            key: messages of one key stay in order, as far as the broker can.
            headers: text or bytes to travel beside the body.
            id: the message's id, by which consumers can tell duplicates; made if it is not given.
            to: name of the target; needed only where there are several.

        Raises:
            MessageTooLarge: larger than the broker takes. Nothing was sent.
            InvalidMessage: it cannot be written. Nothing was sent.
            PublishError: the broker refused it, or did not confirm it.
            ConnectionLost: the broker stayed out of reach; it may have the message all the same.
            ConfigError: ``to`` names no target, or is left out where there are several.
            Closed: the bus is not open.
        """
        target = self._target(to)
        return await target.publish(target.prepare(what, payload, key=key, headers=headers, id=id))

    async def publish_many(
        self, batch: Iterable[Publishable], /, *, key: str | bytes | None = None, to: str | None = None
    ) -> list[Receipt | BrokerkitError]:
        """Publish many events at once. Not atomic: there is one result for each, a receipt or the error.

        Args:
            batch: events, `Message` objects, or pairs of event name and payload.
            key: the key of all of them; messages with keys of their own go as `Message` objects.
            to: name of the target; needed only where there are several.

        Raises:
            ConfigError: ``to`` names no target, or is left out where there are several.
            Closed: the bus is not open.
        """
        target = self._target(to)
        prepared: list[Any] = []
        for item in batch:
            what, payload = item if isinstance(item, tuple) else (item, None)
            try:
                prepared.append(target.prepare(what, payload, key=key, headers=None, id=None))
            except BrokerkitError as error:
                prepared.append(error)
        return await target.publish_many(prepared)

    def _target(self, name: str | None) -> Target:
        if not self._open:
            raise Closed("the bus is not open: use it in 'async with bus:'")
        if name is None and len(self._targets) == 1:
            return next(iter(self._targets.values()))
        if name is None:
            raise ConfigError(f"to= must name a target; there are {', '.join(self._targets) or 'none'}")
        if name not in self._targets:
            raise ConfigError(f"there is no target {name!r}; there are {', '.join(self._targets) or 'none'}")
        return self._targets[name]

    def sync(self) -> SyncBus:
        """Publishing for code without an event loop: thread-safe, connects at the first call. See `SyncBus`."""
        from brokerkit._sync import SyncBus

        return SyncBus(self)

    # ---- dead letters ----------------------------------------------------------------------------------------

    async def replay_dead_letters(
        self, source: str | None = None, /, *, limit: int | None = None, **selected: Unpack[Selected]
    ) -> int:
        """Publish dead letters to the topic that they were read from, for the group that failed; how many there were.

        Each arrives as a first attempt, with its history in its headers, and leaves its place when the broker has
        confirmed it: a replay that is interrupted repeats what it did last, and loses nothing. What the filter does not
        match stays. See docs/dead-letters.md.

        Args:
            source: name of the source; needed only where there are several.
            limit: stop after so many.
            **selected: which: ``events`` and ``errors`` are names (of error classes), ``since`` and ``until`` are Unix
                times in seconds or datetimes.

        Raises:
            ConfigError: there is no such source, or it has no place for dead letters.
            NotFound: the place, or the topic, does not exist.
            ConnectionLost: a broker cannot be reached.
            PublishError: the broker refused a message; it is a dead letter still.
            Closed: the bus is not open.
        """
        letters = self._letters(source)
        return (await letters.go_through(letters.round("replay", limit=limit, **selected))).done

    async def purge_dead_letters(
        self, source: str | None = None, /, *, limit: int | None = None, **selected: Unpack[Selected]
    ) -> int:
        """Delete dead letters for good; how many there were. Arguments and errors are those of `replay_dead_letters`."""
        letters = self._letters(source)
        return (await letters.go_through(letters.round("purge", limit=limit, **selected))).done

    def dead_letters(self, source: str | None = None, /, **selected: Unpack[Selected]) -> AsyncGenerator[DeadLetter]:
        """Look at dead letters without taking them out, oldest first as far as the broker keeps an order.

        On SQS, SNS and RabbitMQ that hides them from a replay meanwhile, and counts as a delivery. Arguments and errors
        are those of `replay_dead_letters`.
        """
        return self._letters(source).look(**selected)

    def _letters(self, source: str | None) -> Letters:
        if not self._open:
            raise Closed("the bus is not open: use it in 'async with bus:'")
        adapter = self.adapter(source)
        name = source if source is not None else next(iter(self._sources))
        patience = next((target.publish_timeout for target in self._settings.targets.values()), PUBLISH_TIMEOUT)
        return Letters(name, adapter, self._settings.sources[name], self._dead_letters[name], patience=patience)

    # ---- consuming -------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Consume until cancelled, then drain: running handlers finish, everything else is given back.

        Opens the bus if it is not open. Returns only by cancellation or an error.

        Raises:
            ConfigError: there is no source or no handler, or a handler cannot be routed.
            ConnectionLost: a broker did not answer at the start; later losses are waited out.
            AccessDenied: a broker refused the credentials or a right.
            NotFound: a topic or queue must exist and does not.
            WrongNameRule: none of a source's first messages has a name that is known.
        """
        async with self.serving():
            ended = await self._ended()
        raise ended

    async def _ended(self) -> BaseException:
        """Wait until a source ends with an error."""
        waits = [asyncio.ensure_future(consumer.failure()) for consumer in self._consumers.values()]
        try:
            [ended, *_], _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        error: BaseException = ended.result()
        return error

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncGenerator[Self]:
        """Consume for as long as the block lasts, for programs that do more beside it (a web service's lifespan).

        An error that ends a source is raised by `serve`; here it is logged, and the other sources go on.

        Raises:
            BrokerkitError: as `serve` does at the start.
        """
        if self._consumers:
            raise ConfigError("this bus is consuming already")
        routes = self._routes()
        cancels = _cancels()
        async with contextlib.AsyncExitStack() as stack:
            if not self._open:
                await stack.enter_async_context(self)
            for store in {
                id(once.dedupe.store): once.dedupe.store for each in routes.values() for once in each.onces
            }.values():
                await store.open()
                stack.push_async_callback(store.close)
            for name, settings in self._settings.sources.items():
                self._consumers[name] = self._consumer(name, settings, routes[name])
            self._stats = {name: consumer.stats for name, consumer in self._consumers.items()}
            self._served = dict(self._consumers)
            stack.push_async_callback(self._stop_consumers)
            for consumer in self._consumers.values():
                await consumer.start()
            if _cancels() > cancels:
                # A client library, or asyncio.wait_for before Python 3.12, has swallowed what should have ended this.
                raise asyncio.CancelledError
            yield self

    async def _stop_consumers(self) -> None:
        """Stop all consumers at once, whatever becomes of the task that asked for it."""
        begun = asyncio.get_running_loop().time()
        stops = asyncio.gather(*(consumer.stop() for consumer in self._consumers.values()))
        try:
            await asyncio.shield(stops)
        except asyncio.CancelledError:
            await stops
            raise
        finally:
            self._consumers = {}
            self._stopped = (begun, asyncio.get_running_loop().time())

    def _promises(self, source: str) -> Capabilities:
        settings = self._settings.sources[source]
        return self._sources[source].capabilities((settings.topic or settings.queue)[0])

    def _routes(self) -> dict[str, Routes]:
        """The routes of each source.

        Raises:
            ConfigError: there is no source or no handler, or no source can bring what a handler waits for.
            UnsupportedFeature: a handler's retry policy asks for more than a source's broker can do.
        """
        if not self._sources:
            raise ConfigError("this bus has no source: give it a topic (or queue) to read")
        if not len(self.handlers):
            raise ConfigError("this bus has no handlers: include some first")
        routes = {
            name: Routes(self.handlers, settings, source=name) for name, settings in self._settings.sources.items()
        }
        for name, settings in self._settings.sources.items():
            refuse_unpromised(name, settings, self._promises(name), routes[name].policies)
            refuse_impossible_onces(name, settings, self._promises(name), routes[name].onces)
        for handler in self.handlers:
            if not any(handler in each for each in routes.values()):
                formats = ", ".join(f"{name} ({each.format})" for name, each in self._settings.sources.items())
                wanted = f"source {handler.source!r}" if handler.source else "any source"
                raise ConfigError(f"handler {handler.name} gets nothing from {wanted}; sources and formats: {formats}")
        return routes

    def _check_workers(self, count: int) -> None:
        """Refuse what several processes cannot do together, and everything that `serve` refuses before it connects.

        Raises:
            ConfigError: something is wrong.
            UnsupportedFeature: a source's broker cannot be read so.
        """
        routes = self._routes()
        for name, settings in self._settings.sources.items():
            refuse_workers(name, settings, self._promises(name), routes[name].onces, count)

    def _consumer(self, name: str, settings: SourceSettings, routes: Routes) -> Consumer:
        return Consumer(
            name=name,
            adapter=self._sources[name],
            settings=settings,
            routes=routes,
            dead_letters=self._dead_letters[name],
            stop_timeout=self._settings.stop_timeout,
            hooks=self._hooks,
        )

    def _place_for_dead_letters(self, name: str, settings: SourceSettings) -> DeadLetters:
        """Where the dead letters of a source go: the place that was named, else a queue beside its first topic."""
        adapter = self._sources[name]
        overflow = FileOfDeadLetters(Path(settings.overflow))
        topic = (settings.topic or settings.queue)[0]
        capabilities = adapter.capabilities(topic)
        provision = settings.provision or capabilities.default_provision
        create = None if provision == "off" else provision != "check"
        if settings.dead_letter is None:
            if not capabilities.dead_letters:
                return NoDeadLetters()
            place = adapter.derived(topic, settings.group, "dlq")
            return QueueOfDeadLetters(adapter, place, create=create, overflow=overflow)
        url = Url.parse(settings.dead_letter.get_secret_value())
        if url.scheme == _FILE_SCHEME:
            return FileOfDeadLetters(Path("/", url.path) if not url.hosts else Path(*url.hosts, url.path))
        query = dict(url.query)
        place = query.pop("topic", "")
        other = self._adapter(elsewhere(settings.dead_letter.get_secret_value().partition("?")[0], query))
        place = place or other.derived(topic, settings.group, "dlq")
        return QueueOfDeadLetters(other, place, create=create, overflow=overflow)

    def run(self, *, uvloop: bool = False) -> None:
        """`serve` for scripts: makes the event loop; SIGTERM and SIGINT drain and return.

        Until it returns, the garbage collector leaves alone what was there before (`gc.freeze`).

        Args:
            uvloop: run on uvloop instead of asyncio's own event loop; needs the extra ``uvloop``. See docs/performance.md.

        Raises:
            MissingExtra: uvloop is wanted and not installed.
            BrokerkitError: as `serve` does.
        """
        run_until_signalled(self.serve, uvloop=uvloop)


def _cancels() -> int:
    """How often the running task was asked to end."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0
