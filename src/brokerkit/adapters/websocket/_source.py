"""A source on a WebSocket: one connection, read as fast as the server sends, into a bounded buffer."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from brokerkit._errors import AccessDenied, BrokerkitError, ConnectionLost
from brokerkit._message import Delivery, Outcome, RetryLater, Settled
from brokerkit._rules import parsed
from brokerkit._transport import Subscription
from brokerkit.adapters.websocket._client import Client
from brokerkit.adapters.websocket._link import Link, hang_up

log = logging.getLogger("brokerkit.websocket")

BUFFER_BYTES: Final = 64 * 1024 * 1024
"""What waits for handlers at most, however few frames it is."""

_LASTING: Final = 1.0
"""Seconds that a new connection must last, or bring a frame, before it counts: a server in trouble may accept and close,
and must not be asked again at once each time."""

_BREATH: Final = 256
"""Frames after which the reading task lets others run: reading what is here already never waits."""


class WebSocketSource:
    """Reads what the topics ask for, over a connection of its own that comes back by itself.

    Args:
        proven: seconds after which a connection counts as accepted: a server may accept first and check the token then.
    """

    def __init__(self, link: Link, client: Client, subscription: Subscription, *, proven: float) -> None:
        self._link = link
        self._client = client
        self._subscription = subscription
        self._proven = proven
        self._buffer: deque[bytes] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._connection: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._since = 0.0
        self._broken: BrokerkitError | None = None
        self._asked_again = False
        self._bursting = False
        self._stopping = False
        self.closed = False

    async def open(self) -> None:
        try:
            connection = await self._connect()
        except AccessDenied:
            if not self._may_ask_again():
                raise
            connection = await self._connect()
        self._connection, self._broken = connection, None
        loop = asyncio.get_running_loop()
        self._since = loop.time()
        self._reader = loop.create_task(self._read(connection), name=f"brokerkit-websocket-{self._link.where}")

    async def _connect(self) -> ClientConnection:
        """A connection that is subscribed: a server that accepts first and checks the token then may end it before."""
        connection = await self._link.connect()
        try:
            await self._client.connected_by(connection, self._subscription.topics)
        except ConnectionClosed as error:
            ended = self._link.ended(error)
        except BaseException:
            await connection.close()
            raise
        else:
            return connection
        raise ended

    def _may_ask_again(self) -> bool:
        """Whether a refused token may have been the last one's fault: a function is asked for another one, once."""
        if not self._link.renews or self._asked_again:
            return False
        self._asked_again = True
        return True

    async def _read(self, connection: ClientConnection) -> None:
        """Read as fast as the server sends: it would have to keep, or to cut off, a client that reads slowly."""
        recv, keep = connection.recv, self._keep
        number = 0
        try:
            while True:
                keep(await recv(decode=False))
                number += 1
                if number % _BREATH == 0:
                    await asyncio.sleep(0)
        except ConnectionClosed as error:
            self._broken = self._link.ended(error)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task; whatever ends it must reach `receive`.
            self._broken = ConnectionLost(f"{self._link.where}: reading failed: {type(error).__name__}")
            self._broken.__cause__ = error
        self._client.disconnected()
        self._news.set()

    def _keep(self, frame: bytes) -> None:
        self._client.came(frame)
        if self._stopping:
            return
        if len(self._buffer) >= self._subscription.max_in_flight or self._bytes + len(frame) > BUFFER_BYTES:
            self._client.dropped += 1
            if not self._bursting:
                self._bursting = True
                log.warning(
                    "%s: messages come faster than they are handled; dropping what is beyond %d (so far %d dropped)",
                    *(self._link.where, len(self._buffer), self._client.dropped),
                )
            return
        self._buffer.append(frame)
        self._bytes += len(frame)
        self._news.set()

    async def receive(self, limit: int) -> Sequence[Delivery]:
        if not self._buffer and not self._stopping:
            await self._wait()
        if self._stopping:
            return []
        return [self._delivery(self._buffer.popleft()) for _ in range(min(limit, len(self._buffer)))]

    def _delivery(self, frame: bytes) -> Delivery:
        self._bytes -= len(frame)
        topic = self._subscription.topics[0]
        delivery = Delivery(frame, topic, None, {}, None, None, None, 0, self._client, None)
        match parsed(delivery):
            case {"source": str(source), "msg_name": str(name)}:
                delivery.topic = f"{source}/{name}"
            case _:
                pass
        return delivery

    async def _wait(self) -> None:
        """Wait for the first frame, for `stop`, for the connection to break, or for a new one to have lasted a while.

        Raises:
            ConnectionLost: it broke. The next call connects and subscribes again.
            AccessDenied: the server refuses the token, and another one cannot be had.
        """
        lasting = None
        if self._reader is None:
            await self._reopen()
            lasting = _LASTING
        self._bursting = False
        self._news.clear()
        if not self._buffer and self._broken is None and not self._stopping:
            with suppress(TimeoutError):
                async with asyncio.timeout(lasting):
                    await self._news.wait()
        if self._broken is None or self._buffer or self._stopping:
            return
        broken, self._broken = self._broken, None
        self._client.gaps += 1
        log.warning("%s: the connection is gone; what happens until it is back is missed", self._link.where)
        if asyncio.get_running_loop().time() - self._since > self._proven:
            self._asked_again = False
        await self._hang_up()
        if isinstance(broken, AccessDenied) and self._may_ask_again():
            raise ConnectionLost(f"{broken}; asking for another token") from broken
        raise broken

    async def _reopen(self) -> None:
        """Connect again, unless `stop` comes first."""
        self._opening = asyncio.create_task(self.open())
        try:
            await asyncio.wait([self._opening])
            if not self._opening.cancelled():
                self._opening.result()
        finally:
            self._opening = None

    async def _hang_up(self) -> None:
        connection, reader = self._connection, self._reader
        self._connection = self._reader = None
        if connection is not None and reader is not None:
            await hang_up(connection, reader)

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        again = sum(isinstance(outcome, RetryLater) for _, outcome in pairs)
        if again:
            self._client.dropped += again
            log.warning("%s: %d messages to be retried later are dropped: nothing stores them", self._link.where, again)
        return [Settled.DONE] * len(pairs)

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        return [Settled.DONE] * len(deliveries)

    async def lag(self) -> int | None:
        return None

    async def stop(self) -> None:
        # The connection stays until `close`: handlers that run may wait for answers.
        self._stopping = True
        self._client.dropped += len(self._buffer)
        self._buffer.clear()
        self._bytes = 0
        if self._opening is not None:
            self._opening.cancel()
        self._news.set()

    async def close(self) -> None:
        await self.stop()
        self.closed = True
        self._client.disconnected(for_good=True)
        await self._hang_up()

    def __repr__(self) -> str:
        state = (
            "closed"
            if self.closed
            else "stopped"
            if self._stopping
            else "broken"
            if self._broken
            else "listening"
            if self._reader
            else "not connected"
        )
        counts = f"{len(self._buffer)} buffered, {self._client.dropped} dropped, {self._client.gaps} gaps"
        return f"<WebSocketSource {', '.join(self._subscription.topics)}: {state}, {counts}>"
