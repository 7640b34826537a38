"""The gateway: a WebSocket server in front of a bus."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import socket
import time
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakKeyDictionary

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.typing import Origin

from brokerkit import _clock
from brokerkit._bus import Bus
from brokerkit._config._loading import settings_of_section
from brokerkit._errors import ConfigError
from brokerkit._guard import guarded, start
from brokerkit._logging import get_logger
from brokerkit._messages._delivery import Delivery
from brokerkit._signals import run_until_signalled
from brokerkit._vendors.gateway._certificate import Certificate
from brokerkit._vendors.gateway._check import Check, HttpCheck, Player
from brokerkit._vendors.gateway._clients import Client, Clients
from brokerkit._vendors.gateway._door import EXPIRED, Door, Refusal, Refused, is_api_path
from brokerkit._vendors.gateway._events import Addressing
from brokerkit._vendors.gateway._push import Push, close
from brokerkit._vendors.gateway._requests import Requests
from brokerkit._vendors.gateway._settings import GatewaySettings, functions
from brokerkit._vendors.gateway._stats import GatewayStats

if TYPE_CHECKING:
    from typing import Unpack

    from brokerkit._vendors.gateway._settings import Keywords

logger = get_logger(__name__)

HEALTH: Final = "/healthz"
STOPS: Final = "the gateway stops; connect again"
FLOODING: Final = "too many requests"
_WAITING_TO_BE_ACCEPTED: Final = 2048
"""How many new connections the operating system queues: after a restart all clients connect at once."""
_COLLECTIONS: Final = (10_000, 10, 10)
"""Thresholds of the garbage collector: a full collection visits all connections, and every client waits for it."""
_IN_THE_SYSTEM: Final = 131_072
"""Bytes that the operating system keeps for a client, in addition to ``buffer``."""
_OPENING: Final = 1000
"""Connections beyond ``max_connections`` and ``max_checks`` that may be opening, or be about to be refused with a reason."""
_QUEUE: Final = 4
"""Frames of a client that may wait for their answers; with more, the gateway stops reading from the client."""


class _Silent(logging.LoggerAdapter[logging.Logger]):
    """The WebSocket library's log, switched off: its records hold requests, and with them tokens."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 (logging's own name)
        return False


class Gateway:
    """Serves ThrillConnect's WebSocket API to players, from the sources of a bus.

    Example::

        gateway = Gateway(Bus("redis://localhost", topic="player.events", broadcast=True), check=who_is_it)
        gateway.run()

    Args:
        bus: the bus whose sources give the events. Each must be ``broadcast``, because every gateway needs every event.
        checked: settings that are checked already, instead of keywords.
        **settings: see `GatewaySettings`; environment variables (``BROKERKIT_GATEWAY__PORT``) supply what is not given.

    Attributes:
        stats: counts of clients and events.

    Raises:
        ConfigError: a setting is wrong, or a source is not ``broadcast``. Nothing connects yet.
        MissingExtra: the check is over HTTP, and httpx is not installed.
    """

    def __init__(self, bus: Bus, checked: GatewaySettings | None = None, /, **settings: Unpack[Keywords]) -> None:
        checked = checked or settings_of_section("gateway", GatewaySettings, None, settings, os.environ)
        self.stats = GatewayStats()
        self._bus = bus
        self._settings = checked
        self._certificate = Certificate(checked) if checked.certificate is not None else None
        self._check: Check = checked.token_check()
        self._door = Door(self._check, checked)
        self._clients = Clients()
        self._push = Push(self._clients, checked, self.stats)
        self._requests = Requests(functions(checked.answers), checked, self.stats)
        self._admitted: WeakKeyDictionary[ServerConnection, Player] = WeakKeyDictionary()
        self._handling: set[asyncio.Task[Any]] = set()
        self._transports: set[asyncio.Transport] = set()
        self._server: Server | None = None
        self._stack = contextlib.AsyncExitStack()
        bus.runtime.figures.clients[f"{checked.host}:{checked.port}"] = lambda: self.stats.connected
        sources = bus.runtime.settings.sources
        for name in checked.sources or sources:
            if (source := sources.get(name)) is None:
                raise ConfigError(f"gateway.sources: there is no source {name!r}; there are {', '.join(sources)}")
            if not source.broadcast and bus.runtime.capabilities(name).groups != "none":
                raise ConfigError(
                    f"source {name!r} needs broadcast = true: every gateway sends to its own clients, and needs every event"
                )
            take = functools.partial(self._take, Addressing(name, source.wire, checked))
            bus.handlers.forward(take, source=name)

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] = "brokerkit.toml", /, **settings: Unpack[Keywords]) -> Self:
        """Make a bus and its gateway from a TOML file. Environment variables override the file, and keywords override both.

        Raises:
            ConfigError: as the constructor does; the message names the file.
            MissingExtra: as the constructor does.
        """
        return cls(
            Bus.from_config(path), settings_of_section("gateway", GatewaySettings, Path(path), settings, os.environ)
        )

    def __repr__(self) -> str:
        return f"<Gateway on {self._settings.host}:{self._settings.port}: {self.stats.connected} clients>"

    @property
    def port(self) -> int:
        """The port that it listens on."""
        if self._server is None:
            return self._settings.port
        return int(next(iter(self._server.sockets)).getsockname()[1])

    # ---- lifecycle -------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start to consume, then to listen.

        Raises:
            BrokerkitError: as `Bus.serve` does at the start.
            OSError: the gateway cannot listen on the address.
        """
        settings = self._settings
        async with contextlib.AsyncExitStack() as stack:
            if isinstance(self._check, HttpCheck):
                await stack.enter_async_context(self._check)
            await stack.enter_async_context(self._bus.serving())
            self._server = await serve(
                self._connected,
                settings.host,
                settings.port,
                ssl=None if self._certificate is None else self._certificate.context,
                # None allows a missing Origin: programs other than web pages may connect, and could forge the header anyway.
                origins=[*map(Origin, settings.origins), None] if settings.origins else None,
                process_request=self._upgrade,
                # Compression would need a compressor for each client, and compress each event once for each client.
                compression=None,
                server_header=None,
                ping_interval=settings.ping,
                ping_timeout=settings.ping,
                close_timeout=settings.drain,
                max_size=settings.max_size,
                max_queue=_QUEUE,
                backlog=_WAITING_TO_BE_ACCEPTED,
                logger=_Silent(logger, {}),
                create_connection=_noting(
                    self._transports, most=settings.max_connections + settings.max_checks + _OPENING
                ),
            )
            stack.push_async_callback(self._stop_listening, self._server)
            watching = start(self._push.watch(), _log_defect)
            stack.callback(watching.cancel)
            if self._certificate is not None:
                renewing = start(self._certificate.watch(), _log_defect)
                stack.callback(renewing.cancel)
            elif not _is_loopback(self._server):
                logger.warning(
                    "listening on %s without TLS: tokens and events can be read on their way, unless a proxy in between "
                    "adds TLS; set certificate and key, or host = '127.0.0.1'",
                    settings.host,
                )
            self._stack = stack.pop_all()
        logger.info("listening on %s:%d", settings.host, self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        """Close all clients with 1001, then stop the bus.

        Raises:
            BrokerkitError: a source has ended; the body of the block was cancelled for it. See `Bus.serving`.
        """
        await self._stack.__aexit__(kind, error, frames)

    async def serve(self) -> None:
        """Serve until cancelled, then drain. It ends only by cancellation or an error.

        Raises:
            BrokerkitError: as `Bus.serve` does.
            OSError: the gateway cannot listen on the address.
        """
        async with self:
            await asyncio.Event().wait()

    def run(self, *, uvloop: bool = False) -> None:
        """Run `serve` in a script: make the event loop; SIGTERM and SIGINT drain and return.

        Args:
            uvloop: run on uvloop instead of asyncio's own event loop; needs the extra ``uvloop``.

        Raises:
            MissingExtra: uvloop is not installed.
            BrokerkitError: as `serve` does.
            OSError: as `serve` does.
        """
        before = gc.get_threshold()
        gc.set_threshold(*_COLLECTIONS)
        try:
            run_until_signalled(self.serve, uvloop=uvloop)
        finally:
            gc.set_threshold(*before)

    async def _stop_listening(self, server: Server) -> None:
        server.close(close_connections=False)
        drain = self._settings.drain
        ends = [close(each, CloseCode.GOING_AWAY, STOPS, bounded=drain) for each in server.connections]
        await asyncio.gather(*ends)
        await self._push.closed()
        # Close connections that were still opening, or whose request is being answered.
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
        if not is_api_path(request):
            return connection.respond(HTTPStatus.NOT_FOUND, "connect to /v1/events/OPERATOR/BRAND\n")
        if self._settings.refuse == "http":
            try:
                with self._door.count_address(connection, request):
                    player = await self._door.admit(connection, request)
                with self._door.count_client(player):
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
            with self._door.count_address(connection, connection.request):
                player = self._admitted.pop(connection, None)
                if player is None:
                    player = await self._door.admit(connection, connection.request)
                with self._door.count_client(player):
                    await self._serve(Client(connection, player))
        except Refused as error:
            self._refused(error.refusal)
            await close(connection, error.refusal.code, error.refusal.reason)
        except ConnectionClosed:
            pass
        except Exception:
            logger.exception("a connection ended with an error")
            await close(connection, CloseCode.INTERNAL_ERROR, "an error of the gateway")
        finally:
            self._handling.discard(task)

    def _refused(self, refusal: Refusal) -> None:
        self.stats.refused += 1
        logger.info("a connection is refused: %s", refusal.reason)

    async def _serve(self, client: Client) -> None:
        if (expires := client.player.expires) is not None:
            left = max(expires - _clock.wall_time(), 0)
            client.expiry = asyncio.get_running_loop().call_later(left, guarded(self._expire, _log_defect), client)
        self._clients.add(client)
        self.stats.accepted += 1
        self.stats.connected += 1
        try:
            async for frame in client.connection:
                if client.cut:
                    continue  # it was in flight when the client was closed
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
        logger.warning("%r is closed: it sent more than %g requests a second", client, self._settings.max_requests)
        self._push.close(
            client, CloseCode.POLICY_VIOLATION, f"{FLOODING}: {self._settings.max_requests:g} a second at most"
        )

    def _expire(self, client: Client) -> None:
        if not client.cut:
            self.stats.expired += 1
            self._push.close(client, EXPIRED.code, EXPIRED.reason)


def _log_defect(error: BaseException) -> None:
    logger.error("the gateway failed: %r", error, exc_info=error)


def _noting(transports: set[asyncio.Transport], *, most: int) -> type[ServerConnection]:
    """Return a class of connections that are in a set from the beginning: the library lists them only once they are open.

    Beyond ``most`` a new connection is aborted: otherwise, connections that never send a request could use up all file
    descriptors.
    """

    class NotedConnection(ServerConnection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            # Otherwise the operating system buffers megabytes for a client that does not read, before the gateway notices.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _IN_THE_SYSTEM)
            transports.add(self.transport)
            if len(transports) > most:
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            transports.discard(self.transport)
            super().connection_lost(exc)

    return NotedConnection


def _is_loopback(server: Server) -> bool:
    """Whether only this machine can connect."""
    return all(ip_address(each.getsockname()[0]).is_loopback for each in server.sockets)
