"""ThrillConnect's source: one connection, read as fast as the server sends, into a bounded buffer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from brokerkit._messages._name_rules import parsed
from brokerkit._vendors.thrillconnect_source._client import Client
from brokerkit._vendors.thrillconnect_source._link import Link, hang_up
from brokerkit.adapters.api import (
    AccessDenied,
    BrokerkitError,
    ConnectionLost,
    Delivery,
    Outcome,
    RetryLater,
    Settled,
    Subscription,
    get_logger,
    start,
    wait_for_event,
)

logger = get_logger(__name__)

BUFFER_BYTES: Final = 64 * 1024 * 1024
"""Most bytes that wait for handlers, however few frames they are."""

_LASTING: Final = 1.0
"""Seconds that a new connection must last before it counts, unless a frame comes first. A server in trouble may accept and
close each connection, and must not be asked again at once each time."""

_BREATH: Final = 256
"""Frames after which the reading task lets others run: reading frames that are already here never waits."""


class ThrillConnectSource:
    """Reads the events of its topics over a connection, and reconnects by itself.

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
        self._reader = start(self._read(connection), self._break, name=f"brokerkit-thrillconnect-{self._link.where}")

    async def _connect(self) -> ClientConnection:
        """Connect and subscribe. A server that first accepts, and then checks the token, may end the connection before."""
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
        """Whether to ask the token function for another token, which happens once after a refusal."""
        if not self._link.renews or self._asked_again:
            return False
        self._asked_again = True
        return True

    def _break(self, error: BaseException) -> None:
        self._broken = ConnectionLost(f"{self._link.where}: reading failed: {type(error).__name__}")
        self._broken.__cause__ = error
        self._news.set()

    async def _read(self, connection: ClientConnection) -> None:
        """Read as fast as the server sends. For a slow client, a server would have to buffer, or close the connection."""
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
                logger.warning(
                    "%s: messages come faster than they are handled; dropping those beyond %d (%d dropped so far)",
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
        delivery = Delivery(body=frame, topic=topic, native=self._client)
        match parsed(delivery):
            case {"source": str(source), "msg_name": str(name)}:
                delivery.topic = f"{source}/{name}"
            case _:
                pass
        return delivery

    async def _wait(self) -> None:
        """Wait for a frame, for `stop`, for the end of the connection, or until a new connection has lasted a while.

        Raises:
            ConnectionLost: the connection broke. The next call connects and subscribes again.
            AccessDenied: the server refuses the token, and there is no other token.
        """
        lasting = None
        if self._reader is None:
            await self._reopen()
            lasting = _LASTING
        self._bursting = False
        self._news.clear()
        if not self._buffer and self._broken is None and not self._stopping:
            await wait_for_event(self._news, lasting)
        if self._broken is None or self._buffer or self._stopping:
            return
        broken, self._broken = self._broken, None
        self._client.gaps += 1
        logger.warning("%s: the connection is lost; events are missed until it is back", self._link.where)
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
            logger.warning(
                "%s: dropping %d messages that were to be retried later: nothing stores them", self._link.where, again
            )
        return [Settled.DONE] * len(pairs)

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        return [Settled.DONE] * len(deliveries)

    async def lag(self) -> int | None:
        return None

    async def stop(self) -> None:
        # The connection stays until `close`: running handlers may wait for answers.
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
        return f"<ThrillConnectSource {', '.join(self._subscription.topics)}: {state}, {counts}>"
