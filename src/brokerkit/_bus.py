"""The bus, the object that users hold. It publishes events, and runs the handlers that are included in it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from brokerkit._config._keywords import Settings
from brokerkit._config._loading import BusSettings, from_file, from_keywords
from brokerkit._dead_letters._handle import DeadLetters
from brokerkit._errors import BrokerkitError, ConfigError
from brokerkit._handlers._handlers import Handlers
from brokerkit._handlers._middleware import HandlerMiddleware
from brokerkit._messages._message import Message
from brokerkit._messages._outgoing import Receipt
from brokerkit._publishing._arguments import BatchOptions, MessageOptions, Publishable
from brokerkit._publishing._middleware import Publication, PublishInside, PublishMiddleware
from brokerkit._publishing._sync import SyncBus
from brokerkit._runtime import Runtime
from brokerkit._serving import serving
from brokerkit._signals import run_until_signalled
from brokerkit._status._health import Health
from brokerkit._status._hooks import Hook, Hooks
from brokerkit._status._source_failure import OnSourceFailure
from brokerkit._status._stats import Stats
from brokerkit._tools import _bridge as _bridge
from brokerkit.adapters.api import Adapter
from brokerkit.events._shapes import EventObject

if TYPE_CHECKING:
    from typing import Unpack

    from starlette.applications import Starlette

    from brokerkit._handlers._batch import OnBatch
    from brokerkit._vendors._on import On


class Bus:
    """Publish and subscribe on one broker, or on several.

    Example::

        bus = Bus("kafka://localhost:9092", topic="evenbet.events", group="wallet", format="evenbet")
        bus.include(handlers)
        bus.run()

    Args:
        url: URL of the broker. Environment variables (``BROKERKIT_TOPIC``, …) fill in settings that are not given as
            keywords. Or checked settings; then give no keywords.
        **settings: see docs/configuration.md.

    Attributes:
        handlers: the handlers of this bus.
        runtime: what exists from one opening to its closing; each opening has a new one. For brokerkit's own tools.

    Raises:
        ConfigError: a setting, the URL or a client option is wrong. The constructor does not connect.
        MissingExtra: the broker's client library is not installed.
    """

    def __init__(self, url: str | BusSettings | None = None, /, **settings: Unpack[Settings]) -> None:
        found = url if isinstance(url, BusSettings) else from_keywords({"url": url, **settings}, os.environ)
        self.handlers = Handlers()
        self.runtime = Runtime(found, Hooks())
        self._inside = PublishInside()

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] = "brokerkit.toml", /, **settings: Unpack[Settings]) -> Self:
        """Make a bus from a TOML file; environment variables override it, and keywords override both.

        Raises:
            ConfigError: as the constructor does; the message names the file.
            MissingExtra: as the constructor does.
        """
        return cls(from_file(Path(path), settings, os.environ))

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
        """Make a bus that forwards the messages that it reads to another broker, unchanged; see docs/bridge.md.

        If the source's broker has groups, the topic is copied; otherwise the messages are moved. A message is acknowledged
        when the target has confirmed it. While the target is out of reach, all messages wait, in order. Only a message
        that the target can never take becomes a dead letter. `run`, `serve` and `serving` start the bridge. `stats` has
        its figures under ``"from"``.

        Example::

            Bus.bridge("amqp://old", "kafka://new:9092", topic="evenbet.events", group="to-kafka", format="evenbet").run()

        Args:
            source: URL of the broker to read; its query may hold settings for the source only.
            target: URL of the broker to publish to; its query may hold settings that differ from the source's.
            to_topic: the target's topic; by default, it has the name of the source's topic.
            events: forward only these event names, and acknowledge the others.
            **settings: as for the constructor. The default of ``format`` is ``json``, which looks for names in
                headers and the routing key.

        Raises:
            ConfigError: a setting is wrong, or source and target are the same topic.
            MissingExtra: a broker's client library is not installed.
            UnsupportedFeature: the target's broker cannot be published to.
        """
        bus = cls(_bridge.settings(source, target, to_topic, settings, os.environ))
        _bridge.add(bus.handlers, events, target=lambda: bus.runtime.target(_bridge.TO))
        return bus

    def __repr__(self) -> str:
        runtime = self.runtime
        state = "serving" if runtime.consumers else "open" if runtime.is_open else "closed"
        sources, targets = list(runtime.settings.sources), list(runtime.targets)
        variables = runtime.settings.variables
        environment = f", environment {variables}" if variables else ""
        return f"<Bus: {state}, sources {sources}, targets {targets}, {len(self.handlers)} handlers{environment}>"

    @property
    def on(self) -> On:
        """Register a handler with this bus directly; see `Handlers.on`."""
        return self.handlers.on

    @property
    def on_batch(self) -> OnBatch:
        """Register a handler of batches with this bus directly; see `Handlers.on_batch`."""
        return self.handlers.on_batch

    def include(self, handlers: Handlers) -> None:
        """Add a set of handlers.

        Raises:
            ConfigError: an event name is unknown (the message suggests one) or belongs to several families.
        """
        self.handlers.include(handlers)

    def add_middleware(self, middleware: HandlerMiddleware, *, source: str | None = None) -> None:
        """Run a function around each attempt of every handler, or of one source; see `Handlers.add_middleware`."""
        self.handlers.add_middleware(middleware, source=source)

    def add_publish_middleware(self, middleware: PublishMiddleware, *, target: str | None = None) -> None:
        """Run a function around each publish of this bus. What was added first is outermost.

        It is called with a `Publication` and with what runs it, and returns the receipt. Retries, dead letters, replays,
        bridges and the outbox send messages as they are, without it.

        Args:
            middleware: a coroutine function.
            target: only around what is published to this target.

        Raises:
            ConfigError: it is not a coroutine function.
        """
        self._inside.add(middleware, target)

    def asyncapi(self, *, title: str = "brokerkit", version: str = "1.0.0") -> dict[str, Any]:
        """Describe this bus as an AsyncAPI 3.0.0 document. It does not connect, and the document holds no secret.

        Args:
            title: name of the application.
            version: the version of the application's interface.

        Raises:
            ConfigError: a handler cannot be routed.
        """
        from brokerkit._specifications._asyncapi import document

        return document(self.runtime, self.handlers, title=title, version=version)

    @property
    def stats(self) -> dict[str, Stats]:
        """Figures of each source since consuming last began."""
        return self.runtime.stats

    def add_hook(self, hook: Hook) -> None:
        """Call a function for rare events: failed attempts, dead letters, lost connections; see `Notice`.

        It is called on the event loop and must return soon. If it raises, the error is logged and changes nothing else.
        """
        self.runtime.hooks.add(hook)

    async def health(self, *, lag: bool = False) -> Health:
        """Return the state of each source and target. It asks no broker, so a probe may call it often.

        Args:
            lag: also ask the brokers how many messages wait, for two seconds at most.
        """
        return await self.runtime.health(lag=lag)

    def http(
        self, *, token: str | None = None, control: bool = False, console: bool = False, mask: Iterable[str] = ()
    ) -> Starlette:
        """Return an ASGI application with ``/livez``, ``/readyz``, ``/metrics`` and ``/state``; see docs/http.md.

        Mount it into an application that runs on the bus's event loop: ``app.mount("/brokerkit", bus.http())``. From here
        on the bus measures durations, and asks the brokers for lags every ten seconds while it is open.

        Args:
            token: 16 characters at least, which ``/state`` needs as ``Authorization: Bearer TOKEN``. By default it is only
                for programs on the same machine.
            control: let those who may see ``/state`` also pause and resume sources.
            console: add ``/console``, and let those who may see ``/state`` see dead letters; see docs/console.md.
            mask: names of fields and headers that the console hides, beside those that look like secrets.

        Raises:
            ConfigError: the bus is open, the token is too short, or ``mask`` is given without ``console``.
            MissingExtra: Starlette is not installed.
        """
        from brokerkit._http import for_bus

        return for_bus(self, token, control=control, console=console, mask=mask)

    def adapter(self, source: str | None = None, /) -> Adapter:
        """Return the adapter of a source, for features that only its broker has; see the pages of the adapters.

        Use it only until the bus closes.

        Args:
            source: name of the source; needed only if there are several.

        Raises:
            ConfigError: there is no such source.
        """
        return self.runtime.source_adapter(self.runtime.source_name(source))

    # ---- publishing ------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Connect, so that publishing works.

        Raises:
            ConnectionLost: a broker did not answer within its connect timeout.
            AccessDenied: a broker refused the credentials.
            NotFound: a target's topic must exist and does not exist.
            ConfigError: the bus is open already.
        """
        if self.runtime.is_open:
            raise ConfigError("this bus is already open")
        try:
            await self.runtime.open()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send messages that are still being published, and close every connection.

        Together with the stop of consuming directly before it, this ends within ``stop_timeout`` plus 15 seconds, whatever
        the brokers do.
        """
        await self.runtime.close()
        self.runtime = self.runtime.renewed()

    async def publish(
        self,
        what: EventObject | Message | str,
        payload: Mapping[str, Any] | EventObject | None = None,
        /,
        *,
        to: str | None = None,
        **options: Unpack[MessageOptions],
    ) -> Receipt:
        """Publish one event, and return when the broker has it.

        Args:
            what: an event, an event name with ``payload``, or a `Message`. A `Message` is published as it is. Its name is
                added if a reader would find none, and so are headers that say what it follows from (see
                docs/observability.md).
            payload: the payload for an event name, checked against the event's model.
            to: name of the target; needed only if there are several.
            **options: ``key``, ``headers``, ``id``, ``after``, ``at``, ``priority``: see `brokerkit.types.MessageOptions`.

        Raises:
            MessageTooLarge: the message is larger than the broker takes. Nothing was sent.
            InvalidMessage: the message cannot be written. Nothing was sent.
            PublishError: the broker refused the message, or did not confirm it.
            ConnectionLost: the broker could not be reached; it may still have the message.
            ConfigError: ``to`` names no target, or is missing although there are several; `UnsupportedFeature` for options.
            Closed: the bus is not open.
        """
        target = self.runtime.target(to)
        if self._inside.middleware:
            return await self._inside.one(target, Publication(what, payload, target=target.name, **options))
        return await target.publish(target.prepare(what, payload, **options))

    async def publish_many(
        self,
        batch: Iterable[Publishable],
        /,
        *,
        key: str | bytes | None = None,
        to: str | None = None,
        **options: Unpack[BatchOptions],
    ) -> list[Receipt | BrokerkitError]:
        """Publish many events at once. This is not atomic: each has its own result, a receipt or an error.

        Args:
            batch: events, `Message` objects, or pairs of event name and payload.
            key: the key of all of them. For different keys, give `Message` objects.
            to: name of the target; needed only if there are several.
            **options: ``after``, ``at`` and ``priority`` of all of them; see `brokerkit.types.BatchOptions`.

        Raises:
            ConfigError: ``to`` is not the name of a target, or is missing although there are several.
            Closed: the bus is not open.
        """
        return await self._inside.batch(self.runtime.target(to), batch, key=key, **options)

    def sync(self) -> SyncBus:
        """Return a publisher for code without an event loop. It is thread-safe and connects at the first call."""
        return SyncBus(self)

    # ---- dead letters ----------------------------------------------------------------------------------------

    def dead_letters(self, source: str | None = None, /) -> DeadLetters:
        """Return the dead letters of a source, to iterate over, replay and purge.

        Args:
            source: name of the source; needed only if there are several.

        Raises:
            ConfigError: there is no such source, it has no dead-letter store, or it needs a group and has none.
            Closed: the bus is not open.
        """
        return self.runtime.dead_letters_of(source)

    # ---- consuming -------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Consume until cancelled, then drain: running handlers finish, and all other messages are given back.

        Opens the bus if it is not open. Ends only by cancellation or an error.

        Raises:
            ConfigError: there is no source or no handler, or a handler cannot be routed to a source.
            ConnectionLost: a broker did not answer at the start. Later, lost connections are retried.
            AccessDenied: a broker refused the credentials or a right.
            NotFound: a topic or queue must exist and does not exist.
            WrongNameRule: none of the first messages of a source has a known name, or (`ForeignBody`) sets a field of
                its model.
        """
        async with self.serving():
            await asyncio.Event().wait()

    @contextlib.asynccontextmanager
    async def serving(self, *, on_source_failure: OnSourceFailure = "raise") -> AsyncGenerator[Self]:
        """Consume while the block runs, for programs that do other work too (a web service's lifespan).

        Args:
            on_source_failure: what happens when an error ends a source. ``raise``: the body of the block is cancelled, the
                bus drains, and the block raises the error, as a TaskGroup would. ``log``: the error is logged and shown by
                `health` and the hooks, and the block and the other sources continue.

        Raises:
            BrokerkitError: as `serve` does.
        """
        async with serving(self, on_source_failure):
            yield self

    async def pause(self, source: str | None = None, /, *, reason: str = "paused by the program") -> None:
        """Hand nothing new to handlers until `resume`, and do not wait for what runs; see docs/control.md.

        Args:
            source: name of the source; by default, all of them.
            reason: shown by `health`, in hooks and in the log.

        Raises:
            ConfigError: there is no such source.
            Closed: the bus is not consuming.
        """
        await asyncio.gather(*(consumer.pause.begin(reason) for consumer in self.runtime.consumers_of(source)))

    async def resume(self, source: str | None = None, /) -> None:
        """Go on after `pause`, with what waits here first. Arguments and errors are those of `pause`."""
        await asyncio.gather(*(consumer.pause.end() for consumer in self.runtime.consumers_of(source)))

    def run(self, *, uvloop: bool = False) -> None:
        """Run `serve` on a new event loop, for scripts. SIGTERM and SIGINT drain the bus, then it returns.

        Until it returns, the garbage collector ignores objects that existed before (`gc.freeze`).

        Args:
            uvloop: run on uvloop instead of asyncio's own event loop; needs the extra ``uvloop``. See docs/performance.md.

        Raises:
            MissingExtra: uvloop was asked for and is not installed.
            BrokerkitError: as `serve` does.
        """
        run_until_signalled(self.serve, uvloop=uvloop)
