"""Publishing many messages in order, each at its time, in batches where there are many."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from brokerkit._bus import Bus
from brokerkit._errors import BrokerkitError
from brokerkit._message import Message

_LARGEST_BATCH: Final = 500
_TICK: Final = 0.01
"""Seconds that a pause takes at least: what falls due meanwhile goes in one batch."""
_MOST_BEHIND: Final = 1.0
"""Seconds of delay that are made up for; after a longer one the pace goes on from where it is, without a flood."""


class Feed:
    """Publishes messages through an open bus, one batch after the other.

    Attributes:
        done: how many messages the broker has confirmed, from the first on without a gap.
        also: how many behind them it has confirmed all the same, when `run` has raised.
    """

    def __init__(self, bus: Bus) -> None:
        self.done = 0
        self.also = 0
        self._bus = bus
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Have `run` return as soon as what was handed over is confirmed."""
        self._stopping.set()

    async def run(self, messages: Iterable[tuple[float, Message]]) -> bool:
        """Publish until the messages end or `stop` is called; whether they have ended.

        Args:
            messages: each with the seconds, counted from now, at which it is due; they must not become fewer.

        Raises:
            BrokerkitError: a message was refused or not confirmed, the one that follows the first ``done``.
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
                    await self._rest(max(early, _TICK))
                elif early < -_MOST_BEHIND:
                    begun = now() - due
            if self._stopping.is_set():
                return False
            batch.append(message)
        await self._publish(batch)
        return True

    async def _publish(self, batch: list[Message]) -> None:
        results = await self._bus.publish_many(batch)
        failures = [place for place, result in enumerate(results) if isinstance(result, BrokerkitError)]
        if not failures:
            self.done += len(results)
            return
        self.done += failures[0]
        self.also = len(results) - failures[0] - len(failures)
        failure = results[failures[0]]
        assert isinstance(failure, BrokerkitError)
        raise failure

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
