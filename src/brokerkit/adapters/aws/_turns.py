"""Which of its queues a source polls next. Busy queues come first, and the idle ones take turns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

from brokerkit.adapters.aws._queues import Reading

POLLERS: Final = 16
"""Polls of one source at once, at most."""

_WIDEST: Final = 8
"""Polls of one queue at once, at most: each brings ten messages, and a call costs about 1.5 ms of client work."""

_FOR_BUSY: Final = 12
"""Polls of busy queues at once, at most, while idle ones wait for their turn."""


class Polled:
    """A queue and the polls on it."""

    __slots__ = ("last", "polling", "reading", "width")

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.polling = 0
        self.width = 1
        self.last = 0

    def __repr__(self) -> str:
        return f"<Polled {self.reading.topic}: {self.polling} of {self.width} polls>"


class Turns:
    """Gives out queues to poll.

    A queue whose last poll brought something is busy. It is polled again at once, and by more polls if they come back
    full. An idle queue has one poll at a time. If there are more queues than polls, the idle ones take turns.
    """

    def __init__(self, readings: Iterable[Reading]) -> None:
        self.queues = [Polled(reading) for reading in readings]
        self._idle = deque(self.queues)
        self._busy: dict[Polled, None] = {}
        self._turn = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        return f"<Turns of {len(self.queues)} queues, {len(self._busy)} busy>"

    def take(self) -> Polled | None:
        """The queue whose turn it is, or None while all have as many polls as they need. End it with `done`."""
        busy = [queue for queue in self._busy if queue.polling < queue.width]
        if busy and (not self._idle or sum(queue.polling for queue in self._busy) < _FOR_BUSY):
            queue = min(busy, key=lambda queue: (queue.polling, queue.last))
        elif self._idle:
            queue = self._idle.popleft()
        else:
            return None
        queue.polling += 1
        self._turn += 1
        queue.last = self._turn
        self.wake()  # There may be a turn for one more.
        return queue

    def done(self, queue: Polled, *, brought: int, asked: int) -> None:
        """A poll is over, or has failed. Somebody who waits is to be woken, once what it brought is handed on."""
        queue.polling -= 1
        if brought:
            self._busy[queue] = None
            if brought == asked:
                queue.width = min(queue.width * 2, _WIDEST)
            return
        queue.width = 1
        if not queue.polling:
            self._busy.pop(queue, None)
            self._idle.append(queue)

    async def wait(self) -> None:
        """Wait until there may be a turn."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.wake()
            raise

    def wake(self) -> None:
        """Let one of those who wait look again."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def wake_all(self) -> None:
        """Let all of them look again: the source has stopped, or failed."""
        while self._waiting:
            self.wake()
