"""Events to clients: written at once where a client keeps up, and the end of those that do not."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.frames import CloseCode
from websockets.protocol import State

from brokerkit.gateway._clients import Client, Clients
from brokerkit.gateway._events import Event
from brokerkit.gateway._settings import GatewaySettings
from brokerkit.gateway._stats import GatewayStats

logger = logging.getLogger("brokerkit.gateway")

CLOSE_TIMEOUT: Final = 2.0
"""Seconds for which a client may answer a close."""
_LOOK: Final = 1.0
"""Seconds between two looks at what waits for clients."""
TOO_SLOW: Final = "too slow: events wait that were not read"


class Push:
    """Sends events to the clients that they are for.

    No client waits for another: what one does not take waits in the buffer of its own connection, and one with too much
    there is closed.
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
        """Write an event to all clients that it is for and that want it. Does not wait."""
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
        looks = max(round(self._slow / _LOOK), 1)
        look = 0
        while True:
            await asyncio.sleep(min(self._slow, _LOOK))
            look += 1
            for client in self._clients:
                # Answers to pings wait in the same buffer, and nobody else looks at them.
                if (backlog := client.backlog) > self._buffer:
                    self._cut(client)
                elif look % looks == 0:
                    taken = client.sent - backlog
                    if backlog and taken <= client.taken:
                        self._cut(client)
                    client.taken = taken

    def _cut(self, client: Client) -> None:
        if not client.cut:
            self._stats.slow += 1
            logger.warning("%r is closed: %d bytes wait that it does not read", client, client.backlog)
            self.close(client, CloseCode.TRY_AGAIN_LATER, TOO_SLOW)

    def close(self, client: Client, code: int, reason: str) -> None:
        """Begin to close a client; it gets no further events."""
        client.cut = True
        task = asyncio.get_running_loop().create_task(close(client.connection, code, reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def closed(self) -> None:
        """Wait until every client is closed that `close` was called for."""
        if self._closing:
            await asyncio.wait(self._closing)


async def close(connection: ServerConnection, code: int, reason: str, *, within: float = CLOSE_TIMEOUT) -> None:
    """Close a connection within a time, whether or not the other end reads. Does not raise."""
    try:
        # The library's own limit begins when the close frame is written, which never happens where nobody reads.
        async with asyncio.timeout(within):
            if connection.state is State.OPEN:
                await connection.close(code, reason)
            else:  # `close` would abort a transport that is gone, which Python 3.11 does not survive
                await connection.wait_closed()
    except TimeoutError:
        connection.transport.abort()
