"""The gateway: a WebSocket server in front of a bus."""

# A gateway is a part of the bus that it serves, and looks inside it.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import socket
import ssl
import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakKeyDictionary

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.typing import Origin

from brokerkit import _clock
from brokerkit._bus import Bus
from brokerkit._config import beside
from brokerkit._errors import ConfigError
from brokerkit._hooks import Notice
from brokerkit._message import Delivery
from brokerkit._signals import run_until_signalled
from brokerkit.gateway._check import Check, HttpCheck, Player
from brokerkit.gateway._clients import Client, Clients
from brokerkit.gateway._door import EXPIRED, Door, Refusal, Refused, leads_here
from brokerkit.gateway._events import Addressing
from brokerkit.gateway._push import Push, close
from brokerkit.gateway._requests import Requests
from brokerkit.gateway._settings import GatewaySettings, functions
from brokerkit.gateway._stats import GatewayStats

if TYPE_CHECKING:
    from typing import Unpack

    from brokerkit.gateway._settings import Keywords

logger = logging.getLogger("brokerkit.gateway")

HEALTH: Final = "/healthz"
STOPS: Final = "the gateway stops; connect again"
FLOODING: Final = "too many requests"
_WAITING_TO_BE_ACCEPTED: Final = 2048
"""After a restart all clients connect at once; the operating system keeps so many for us at most."""
_COLLECTIONS: Final = (10_000, 10, 10)
"""Thresholds of the garbage collector: a full collection goes through all connections, and every client waits for it."""
_IN_THE_SYSTEM: Final = 131_072
"""Bytes that the operating system keeps for a client, in front of ``buffer``."""
_OPENING: Final = 1000
"""Connections beyond ``max_connections`` that may be opening, or be about to hear why they are refused."""
_QUEUE: Final = 4
"""Frames of one client that wait for their answers; then it is not read from."""


class _Silent(logging.LoggerAdapter[logging.Logger]):
    """The WebSocket library's log: its records hold requests, and with them tokens. What matters is logged here."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 (logging's own name)
        return False


class Gateway:
    """Serves ThrillConnect's WebSocket API to players, from the sources of a bus.

    Example::

        gateway = Gateway(Bus("redis://localhost", topic="player.events", broadcast=True), check=who_is_it)
        gateway.run()

    Args:
        bus: its sources give the events; each must be ``broadcast``, because every gateway needs every event.
        **settings: see `GatewaySettings`; environment variables (``BROKERKIT_GATEWAY__PORT``) give what is left open.

    Attributes:
        stats: what became of clients and events.

    Raises:
        ConfigError: a setting is wrong, or a source is not ``broadcast``. Nothing is connected to here.
        MissingExtra: the check is over HTTP, and httpx is not installed.
    """

    def __init__(self, bus: Bus, /, **settings: Unpack[Keywords]) -> None:
        self._set_up(bus, beside("gateway", GatewaySettings, None, settings, os.environ))

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] = "brokerkit.toml", /, **settings: Unpack[Keywords]) -> Self:
        """Make a bus and its gateway from a TOML file; environment variables override it, and keywords override both.

        Raises:
            ConfigError: as the constructor does; the message names the file.
            MissingExtra: as the constructor does.
        """
        gateway = cls.__new__(cls)
        checked = beside("gateway", GatewaySettings, Path(path), settings, os.environ)
        gateway._set_up(Bus.from_config(path), checked)
        return gateway

    def _set_up(self, bus: Bus, settings: GatewaySettings) -> None:
        self.stats = GatewayStats()
        self._bus = bus
        self._settings = settings
        self._ssl = _context(settings)
        self._check: Check = settings.token_check()
        self._door = Door(self._check, settings)
        self._clients = Clients()
        self._push = Push(self._clients, settings, self.stats)
        self._requests = Requests(functions(settings.answers), settings, self.stats)
        self._admitted: WeakKeyDictionary[ServerConnection, Player] = WeakKeyDictionary()
        self._handling: set[asyncio.Task[Any]] = set()
        self._transports: set[asyncio.Transport] = set()
        self._server: Server | None = None
        self._stack = contextlib.AsyncExitStack()
        self._failed: asyncio.Future[BaseException] | None = None
        for name in settings.sources or bus._settings.sources:
            if (source := bus._settings.sources.get(name)) is None:
                raise ConfigError(
                    f"gateway.sources: there is no source {name!r}; there are {', '.join(bus._settings.sources)}"
                )
            if not source.broadcast and bus._promises(name).groups != "none":
                raise ConfigError(
                    f"source {name!r} needs broadcast = true: every gateway sends to its own clients, and needs every event"
                )
            take = functools.partial(self._take, Addressing(name, source.wire, settings))
            bus.handlers.hand_on(take, source=name)
        bus.add_hook(self._noticed)

    def __repr__(self) -> str:
        return f"<Gateway on {self._settings.host}:{self._settings.port}: {self.stats.connected} clients>"

    @property
    def port(self) -> int:
        """The port that it listens on."""
        if self._server is None:
            return self._settings.port
        return int(next(iter(self._server.sockets)).getsockname()[1])

    # ---- life ------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Consume, then listen.

        Raises:
            BrokerkitError: as `Bus.serve` does at the start.
            OSError: the address cannot be listened on.
        """
        settings = self._settings
        self._failed = asyncio.get_running_loop().create_future()
        async with contextlib.AsyncExitStack() as stack:
            if isinstance(self._check, HttpCheck):
                await stack.enter_async_context(self._check)
            await stack.enter_async_context(self._bus.serving())
            self._server = await serve(
                self._connected,
                settings.host,
                settings.port,
                ssl=self._ssl,
                # None stands for no Origin: what is no page may connect, and could write there what it likes.
                origins=[*map(Origin, settings.origins), None] if settings.origins else None,
                process_request=self._upgrade,
                # Each client would cost a compressor, and each event be compressed once for each client.
                compression=None,
                server_header=None,
                ping_interval=settings.ping,
                ping_timeout=settings.ping,
                close_timeout=settings.drain,
                max_size=settings.max_size,
                max_queue=_QUEUE,
                backlog=_WAITING_TO_BE_ACCEPTED,
                logger=_Silent(logger, {}),
                create_connection=_noting(self._transports, most=settings.max_connections + _OPENING),
            )
            stack.push_async_callback(self._stop_listening, self._server)
            watching = asyncio.create_task(self._push.watch())
            stack.callback(watching.cancel)
            self._stack = stack.pop_all()
        logger.info("listening on %s:%d", settings.host, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all clients with 1001, then stop the bus."""
        await self._stack.aclose()

    async def serve(self) -> None:
        """Serve until cancelled, then drain. Returns only by cancellation or an error.

        Raises:
            BrokerkitError: as `Bus.serve` does.
            OSError: the address cannot be listened on.
        """
        async with self:
            assert self._failed is not None
            raise await self._failed

    def run(self, *, uvloop: bool = False) -> None:
        """`serve` for scripts: makes the event loop; SIGTERM and SIGINT drain and return.

        Args:
            uvloop: run on uvloop instead of asyncio's own event loop; needs the extra ``uvloop``.

        Raises:
            MissingExtra: uvloop is wanted and not installed.
            BrokerkitError: as `serve` does.
            OSError: as `serve` does.
        """
        before = gc.get_threshold()
        gc.set_threshold(*_COLLECTIONS)
        try:
            run_until_signalled(self.serve, uvloop=uvloop)
        finally:
            gc.set_threshold(*before)

    def _noticed(self, notice: Notice) -> None:
        if notice.kind == "source_failed" and self._failed is not None and not self._failed.done():
            assert notice.error is not None
            self._failed.set_result(notice.error)

    async def _stop_listening(self, server: Server) -> None:
        server.close(close_connections=False)
        drain = self._settings.drain
        ends = [close(each, CloseCode.GOING_AWAY, STOPS, within=drain) for each in server.connections]
        await asyncio.gather(*ends)
        await self._push.closed()
        # Those that were still opening, or whose request is being answered.
        for transport in tuple(self._transports):
            transport.abort()
        for task in tuple(self._handling):
            task.cancel()
        await server.wait_closed()
        self._server = None

    # ---- events ----------------------------------------------------------------------------------------------

    async def _take(self, addressing: Addressing, delivery: Delivery) -> None:
        self.stats.events += 1
        event = addressing(delivery)
        if event is None:
            self.stats.unaddressed += 1
        else:
            self._push.send(event)

    # ---- clients ---------------------------------------------------------------------------------------------

    async def _upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path == HEALTH:
            ready = (await self._bus.health()).ready
            return connection.respond(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, f"ready: {ready}\n")
        if not leads_here(request):
            return connection.respond(HTTPStatus.NOT_FOUND, "connect to /v1/events/OPERATOR/BRAND\n")
        if self._settings.refuse == "http":
            try:
                with self._door.place(connection, request):
                    player = await self._door.admit(connection, request)
                with self._door.place_of(player):
                    self._admitted[connection] = player
            except Refused as error:
                self._refused(error.refusal)
                return connection.respond(error.refusal.status, f"{error}\n")
        return None

    async def _connected(self, connection: ServerConnection) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert connection.request is not None
        self._handling.add(task)
        try:
            with self._door.place(connection, connection.request):
                player = self._admitted.pop(connection, None)
                if player is None:
                    player = await self._door.admit(connection, connection.request)
                with self._door.place_of(player):
                    await self._serve(Client(connection, player))
        except Refused as error:
            self._refused(error.refusal)
            await close(connection, error.refusal.code, error.refusal.reason)
        except ConnectionClosed:
            pass
        except Exception:
            logger.exception("a connection ended by an error")
            await close(connection, CloseCode.INTERNAL_ERROR, "an error of the gateway")
        finally:
            self._handling.discard(task)

    def _refused(self, refusal: Refusal) -> None:
        self.stats.refused += 1
        logger.info("a connection is refused: %s", refusal.reason)

    async def _serve(self, client: Client) -> None:
        if (expires := client.player.expires) is not None:
            left = max(expires - _clock.now(), 0)
            client.expiry = asyncio.get_running_loop().call_later(left, self._expire, client)
        self._clients.add(client)
        self.stats.accepted += 1
        self.stats.connected += 1
        try:
            async for frame in client.connection:
                if client.cut:
                    continue  # what was on its way when it was closed
                if client.may_ask(self._settings.max_requests, time.monotonic()):
                    await self._requests.answer(client, frame)
                else:
                    self._flooded_by(client)
        finally:
            self.stats.connected -= 1
            self._clients.remove(client)
            if client.expiry is not None:
                client.expiry.cancel()

    def _flooded_by(self, client: Client) -> None:
        self.stats.flooding += 1
        logger.warning("%r is closed: it sends more than %g requests a second", client, self._settings.max_requests)
        self._push.close(
            client, CloseCode.POLICY_VIOLATION, f"{FLOODING}: {self._settings.max_requests:g} a second at most"
        )

    def _expire(self, client: Client) -> None:
        if not client.cut:
            self.stats.expired += 1
            self._push.close(client, EXPIRED.code, EXPIRED.reason)


def _noting(transports: set[asyncio.Transport], *, most: int) -> type[ServerConnection]:
    """Connections that stand in a set from their first byte on: the library lists them once they are open.

    Beyond so many they end at once: else those that never send their request would take all file descriptors.
    """

    class NotedConnection(ServerConnection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            # Else the operating system keeps megabytes for a client that does not read, before we notice.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _IN_THE_SYSTEM)
            transports.add(self.transport)
            if len(transports) > most:
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            transports.discard(self.transport)
            super().connection_lost(exc)

    return NotedConnection


def _context(settings: GatewaySettings) -> ssl.SSLContext | None:
    if settings.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"certificate = {str(settings.certificate)!r} cannot be used: {error}") from error
    return context
