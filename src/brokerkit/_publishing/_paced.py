"""Publishes many messages in order, each at its time, and in batches if many are due."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from brokerkit._deadline import wait_for_event
from brokerkit._errors import BrokerkitError
from brokerkit._messages._message import Message
from brokerkit._publishing._sync import AsyncPublisher

_LARGEST_BATCH: Final = 500
_TICK: Final = 0.01
"""The shortest pause in seconds. Messages that become due meanwhile go into one batch."""
_MOST_BEHIND: Final = 1.0
"""Seconds of delay that are caught up. After a longer delay, the schedule is shifted instead, to avoid a flood."""


class PacedPublisher:
    """Publishes messages through an open bus, one batch after another.

    Attributes:
        done: how many messages the broker has confirmed, counted from the first without a gap.
        also: how many later messages it has also confirmed, if `run` has raised.
    """

    def __init__(self, bus: AsyncPublisher) -> None:
        self.done = 0
        self.also = 0
        self._bus = bus
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let `run` return as soon as the messages that were sent are confirmed."""
        self._stopping.set()

    async def run(self, messages: Iterable[tuple[float, Message]]) -> bool:
        """Publish until the messages end or `stop` is called. Return whether they ended.

        Args:
            messages: each with the seconds from now until it is due, in ascending order.

        Raises:
            BrokerkitError: a message was refused or not confirmed: the first one after the first ``done`` messages.
        """
        now = asyncio.get_running_loop().time
        begun = now()
        batch: list[Message] = []
        for due, message in messages:
            if begun + due > now() or len(batch) >= _LARGEST_BATCH:
                await self._publish(batch)
                batch = []
                early = begun + due - now()
                if early > 0:
                    await wait_for_event(self._stopping, max(early, _TICK))
                elif early < -_MOST_BEHIND:
                    begun = now() - due
            if self._stopping.is_set():
                return False
            batch.append(message)
        await self._publish(batch)
        return True

    async def _publish(self, batch: list[Message]) -> None:
        results = await self._bus.publish_many(batch)
        failures = [index for index, result in enumerate(results) if isinstance(result, BrokerkitError)]
        if not failures:
            self.done += len(results)
            return
        self.done += failures[0]
        self.also = len(results) - failures[0] - len(failures)
        failure = results[failures[0]]
        assert isinstance(failure, BrokerkitError)
        raise failure
