"""Sends events to clients, and closes clients that read too slowly."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.frames import CloseCode
from websockets.protocol import State

from brokerkit._guard import start
from brokerkit._logging import get_logger
from brokerkit._vendors.gateway._clients import Client, Clients
from brokerkit._vendors.gateway._events import Event
from brokerkit._vendors.gateway._settings import GatewaySettings
from brokerkit._vendors.gateway._stats import GatewayStats

logger = get_logger(__name__)

CLOSE_TIMEOUT: Final = 2.0
"""Seconds that a client has to answer a close."""
_CHECK: Final = 1.0
"""Seconds between two checks of what waits for clients."""
TOO_SLOW: Final = "too slow: events wait that were not read"


class Push:
    """Sends each event to its clients.

    No client waits for another. Frames that a client does not read wait in the buffer of its connection; a client with
    too many waiting bytes is closed.
    """

    def __init__(self, clients: Clients, settings: GatewaySettings, stats: GatewayStats) -> None:
        self._clients = clients
        self._buffer = settings.buffer
        self._slow = settings.slow
        self._stats = stats
        self._closing: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Push to {len(self._clients)} clients, {len(self._closing)} closing>"

    def send(self, event: Event) -> None:
        """Write an event to all of its clients that have subscribed to it. Does not wait."""
        ready: list[ServerConnection] = []
        size = len(event.body)
        for client in self._clients.of(event):
            if not client.wants(event):
                continue
            if client.backlog > self._buffer:
                self._stats.dropped += 1
                self._cut(client)
            else:
                client.sent += size
                ready.append(client.connection)
        if ready:
            broadcast(ready, event.body, text=True)
            self._stats.sent += len(ready)

    async def watch(self) -> None:
        """Close clients that stopped reading, even if no event comes for them any more. Ends when it is cancelled."""
        checks = max(round(self._slow / _CHECK), 1)
        count = 0
        while True:
            await asyncio.sleep(min(self._slow, _CHECK))
            count += 1
            for client in self._clients:
                # Answers to pings wait in the same buffer, and nothing else checks them.
                if (backlog := client.backlog) > self._buffer:
                    self._cut(client)
                elif count % checks == 0:
                    taken = client.sent - backlog
                    if backlog and taken <= client.taken:
                        self._cut(client)
                    client.taken = taken

    def _cut(self, client: Client) -> None:
        if not client.cut:
            self._stats.slow += 1
            logger.warning("%r is closed: it does not read %d waiting bytes", client, client.backlog)
            self.close(client, CloseCode.TRY_AGAIN_LATER, TOO_SLOW)

    def close(self, client: Client, code: int, reason: str) -> None:
        """Begin to close a client. It gets no more events."""
        client.cut = True
        task = start(close(client.connection, code, reason), partial(logger.error, "a connection did not close: %r"))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def closed(self) -> None:
        """Wait until all clients are closed for which `close` was called."""
        if self._closing:
            await asyncio.wait(self._closing)


async def close(connection: ServerConnection, code: int, reason: str, *, bounded: float = CLOSE_TIMEOUT) -> None:
    """Close a connection within a time, whether or not the other end reads. Does not raise."""
    try:
        # The library's own time limit begins when the close frame is written; with a client that does not read, it never is.
        async with asyncio.timeout(bounded):
            if connection.state is State.OPEN:
                await connection.close(code, reason)
            else:  # `close` would abort a transport that is gone, which fails on Python 3.11
                await connection.wait_closed()
    except TimeoutError:
        connection.transport.abort()
