"""One walk through a RabbitMQ queue: takes out what is removed, and gives back the rest at the end.

A channel with one consumer takes a window of messages: as many as its prefetch allows. When all messages of a window stay,
the next window gets a channel of its own. The broker searches the unsettled messages of a channel for each acknowledgement:
with all windows on one channel, the time of a walk would grow with the square of their number (measured on 3.10). One by
one (basic.get), a quorum queue would write to its log for each message.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from brokerkit.adapters.api import BrokerkitError, ConnectionLost, Delivery, NotFound, wait_for_event, without_internal
from brokerkit.adapters.rabbitmq._link import CLIENT_ERRORS, Link, discard, while_open
from brokerkit.adapters.rabbitmq._topology import count_consumers, count_messages
from brokerkit.adapters.rabbitmq._wire import read_message, split_prefix

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection
    from aiormq.abc import DeliveredMessage
    from aiormq.channel import Channel

_WINDOW: Final = 1_000
_MOST_CHANNELS: Final = 1_000
"""RabbitMQ allows 2047 on a connection by default. A larger queue gets larger windows instead."""
_QUIET: Final = 1.0
"""Seconds without a message after which the queue is asked whether it has any."""
_GIVING_BACK: Final = 60.0
"""Seconds that the broker gets to take back what stays, which may be a hundred thousand messages."""
_TAKING_BACK: Final = 5.0
"""Seconds for which the next walk waits at most until the queue has taken back what this one gave back."""
_SILENT: Final = 30.0
"""Seconds for which a queue may have messages and give none."""


@dataclass(slots=True, eq=False)
class _Window:
    """The messages that one consumer has taken, on a channel of its own."""

    channel: Channel
    consumer: str = ""
    # Delivery tags, ascending.
    unsettled: dict[int, None] = field(default_factory=dict[int, None])
    has_removed: bool = False


class RabbitCursor:
    """A `brokerkit.adapters.api.Cursor` of a queue of any kind but a stream."""

    def __init__(self, link: Link, queue: str) -> None:
        self._link = link
        self._queue = queue
        self._connection: AbstractConnection | None = None
        # Only the newest one is still filled: all messages of the others stay, or are to be removed.
        self._windows: list[_Window] = []
        self._size = _WINDOW
        self._ready: deque[Delivery] = deque()
        self._news = asyncio.Event()
        self._count = 0
        self._given = 0
        self._has_other_readers = False

    def __repr__(self) -> str:
        return f"<RabbitCursor of {self._queue}: {self.unseen} unseen>"

    @property
    def unseen(self) -> int:
        """See `Cursor.unseen`. The broker does not count what other consumers hold."""
        return self._count - self._given

    async def open(self) -> None:
        """See `Cursor.open`. Messages that arrive later are not counted: a walk through a busy queue would never end."""
        connection = self._connection = await self._link.connect()
        count = await count_messages(self._link, connection, self._queue)
        if count is None:
            raise NotFound(f"{self._link.url}: there is no queue {self._queue!r}")
        self._count = count
        # Asked now: a quorum queue counts a consumer of ours for a moment after it was cancelled.
        self._has_other_readers = await count_consumers(self._link, connection, self._queue) > 0
        first = await self._open_window(connection)
        # Two are left for questions. 0 stands for no limit.
        limit = first.channel.connection.connection_tune.channel_max or _MOST_CHANNELS
        self._size = max(_WINDOW, -(-count // max(1, min(_MOST_CHANNELS, limit - 2))))

    async def fetch(self, limit: int) -> Sequence[Delivery]:
        """See `Cursor.fetch`."""
        limit = min(limit, self.unseen)
        if limit <= 0 or not await self._wait():
            return []
        found = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
        self._given += len(found)
        return found

    async def _open_window(self, connection: AbstractConnection) -> _Window:
        with self._link.translated(f"read queue {self._queue!r}"):
            window = _Window(await self._link.channel(connection))
            self._windows.append(window)
        return window

    async def _consume(self, window: _Window, prefetch: int) -> None:
        channel = window.channel
        await channel.basic_qos(prefetch_count=prefetch, timeout=self._link.timeout)
        answer = await channel.basic_consume(self._queue, partial(self._arrived, window), timeout=self._link.timeout)
        window.consumer = answer.consumer_tag or ""

    async def _wait(self) -> bool:
        """Wait for the next message. False if the queue has no more."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _SILENT
        while not self._ready:
            connection = self._require_open()
            window = self._windows[-1]
            if len(window.unsettled) >= self._size:
                window = await self._open_window(connection)
            if not window.consumer:
                with self._link.translated(f"read queue {self._queue!r}"):
                    await self._consume(window, self._size)
            self._news.clear()
            if self._ready:
                break
            if not await wait_for_event(self._news, _QUIET):
                if not await count_messages(self._link, self._require_open(), self._queue):
                    return bool(self._ready)
                if loop.time() > give_up:
                    raise ConnectionLost(
                        f"{self._link.url}: queue {self._queue!r} has messages but has given none for {_SILENT:g} s"
                    ) from None
        return True

    async def _arrived(self, window: _Window, message: DeliveredMessage) -> None:
        # Each message arrives in its own task. They stay in order only as long as nothing is awaited here.
        one = read_message(message, self._queue)
        if not one.is_ours:  # The broker has moved it here, with what its producer wrote.
            one.headers = without_internal(one.headers)
        window.unsettled[one.token] = None
        one.token = window, one.token
        self._ready.append(one)
        self._news.set()

    def _require_open(self) -> AbstractConnection:
        # What the broker takes back with a single channel would come once more.
        if self._connection is None or any(window.channel.is_closed for window in self._windows):
            raise ConnectionLost(f"{self._link.url}: the connection ended while queue {self._queue!r} was being read")
        return self._connection

    async def remove(self, deliveries: Sequence[Delivery]) -> None:
        """See `Cursor.remove`."""
        self._require_open()
        removed: defaultdict[_Window, set[int]] = defaultdict(set)
        for one in deliveries:
            window, tag = one.token
            removed[window].add(tag)
        try:
            for window, tags in removed.items():
                await while_open(window.channel, self._acknowledge(window, tags))
        except CLIENT_ERRORS as error:
            raise self._link.error(error, f"acknowledge messages of queue {self._queue!r}") from error

    async def _acknowledge(self, window: _Window, tags: set[int]) -> None:
        window.has_removed = True
        last, singles = split_prefix(window.unsettled, tags)
        if last:
            await window.channel.basic_ack(last, multiple=True, wait=False)
        for tag in singles:
            await window.channel.basic_ack(tag, wait=False)
        for tag in tags:
            window.unsettled.pop(tag, None)
        # The broker answers when it has read everything before the question.
        await window.channel.basic_qos(prefetch_count=self._size, timeout=self._link.timeout)

    async def close(self) -> None:
        """See `Cursor.close`."""
        windows, self._windows = self._windows, []
        connection, self._connection = self._connection, None
        try:
            with suppress(*CLIENT_ERRORS, BrokerkitError):
                if connection is not None:
                    async with asyncio.timeout(_GIVING_BACK):
                        expected = await self._give_back(windows, connection)
                    if expected and not self._has_other_readers:
                        await self._wait_until_back(connection, expected)
        finally:
            if connection is not None:
                await discard(connection)

    async def _wait_until_back(self, connection: AbstractConnection, expected: int) -> None:
        """Wait until the queue has what stays: a quorum queue takes it back a moment after the channel has closed.

        Whoever looks before that finds an empty queue (seen on 3.10). It may be gone by then, so this ends in time.
        """
        give_up = asyncio.get_running_loop().time() + _TAKING_BACK
        while (await count_messages(self._link, connection, self._queue) or 0) < expected:
            if asyncio.get_running_loop().time() > give_up:
                return
            await asyncio.sleep(0.02)

    async def _give_back(self, windows: Sequence[_Window], connection: AbstractConnection) -> int:
        """Put back what stays, window by window. Return how many messages the queue has then; 0 if nothing was put back.

        A channel that just closes gives back its messages behind those of other channels, or before them. A refused message
        goes to the front of the queue, behind what was refused before; it goes to the end of a quorum queue without a
        delivery limit. The messages of one refusal come back in any order (all measured on 3.10).
        """
        for window in windows:
            if window.consumer:
                await window.channel.basic_cancel(window.consumer)
        kept = [(window.channel, next(reversed(window.unsettled), 0)) for window in windows]
        for window in windows:
            if window.has_removed:
                # When a channel closes, the broker forgets the acknowledgements of a quorum queue that are still under
                # way. Another consumer goes through the same log, behind them.
                await self._consume(window, 1)
                await window.channel.basic_cancel(window.consumer)
        stays = sum(len(window.unsettled) for window in windows)  # also what the other consumer was given
        waits = (await count_messages(self._link, connection, self._queue) or 0) if stays else 0
        for channel, last in kept:
            if last:
                await channel.basic_nack(last, multiple=True, requeue=True)
                # The answer comes when the broker has read the refusal, so the next channel's cannot overtake it.
                await channel.basic_qos(prefetch_count=1)
        for window in windows:
            # What the other consumer was given comes behind all windows.
            if next(reversed(window.unsettled), 0):
                await window.channel.basic_nack(0, multiple=True, requeue=True)
            await window.channel.close()
        return waits + stays if stays else 0
