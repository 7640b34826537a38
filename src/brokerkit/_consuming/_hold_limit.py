"""Hold limit: waiting messages must be given back before the broker takes them away and gives them to another reader.

Some brokers take away what is not settled in time, even from a reader that is alive (RabbitMQ's ``consumer_timeout``,
twelve hours on SQS). So messages that no handler has started on are given back before that. They come again with their
full time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from brokerkit._consuming._leases import OURS
from brokerkit._deadline import wait_for_event
from brokerkit._messages._delivery import Delivery, State

_LOOKS: Final = 16
"""How often the waiting messages are checked within one hold limit."""
_LONGEST_LOOK: Final = 60.0
_MANY: Final = 16
"""From this many batches on, look for batches that are settled."""


class HoldLimit:
    """Finds deliveries that have waited for half of the limit. The other half is for the handler, which might start
    now.

    Failed messages that are held until their next attempt may wait for the whole limit.

    Args:
        limit: returns the seconds for which a delivery can be held, or None for no limit. It is called again and again,
            because an adapter may learn a new limit.
        held: the deliveries that wait for their next attempt.
        expired: called with the deliveries that have waited too long, oldest first.
    """

    def __init__(
        self, limit: Callable[[], float | None], held: set[Delivery], expired: Callable[[Sequence[Delivery]], None]
    ) -> None:
        self._limit = limit
        self._held = held
        self._expired = expired
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._batches: list[tuple[float, Sequence[Delivery]]] = []
        self._full = _MANY

    def __repr__(self) -> str:
        return f"<HoldLimit of {self._limit()} s: {len(self._batches)} batches>"

    def add(self, batch: Sequence[Delivery]) -> None:
        """Note a batch that was just received."""
        self._batches.append((self._loop.time(), batch))
        if len(self._batches) >= self._full:
            self._shrink()

    def reconnected(self) -> None:
        """Read the limit again, which may have changed."""
        self._changed.set()

    async def keep(self) -> None:
        """Check the waiting deliveries, until cancelled."""
        while True:
            limit = self._limit()
            pause = _LONGEST_LOOK if limit is None else min(limit / _LOOKS, _LONGEST_LOOK)
            await wait_for_event(self._changed, pause)
            self._changed.clear()
            self._shrink()
            if (limit := self._limit()) is None:
                continue
            now, waiting, held = self._loop.time(), State.WAITING, self._held
            expired = [
                one
                for since, batch in self._batches
                if now - since >= limit / 2
                for one in batch
                if one.state is waiting and (one not in held or now - since >= limit)
            ]
            if expired:
                self._expired(expired)

    def _shrink(self) -> None:
        self._batches = [
            (since, ours)
            for since, batch in self._batches
            if (ours := [delivery for delivery in batch if delivery.state in OURS])
        ]
        self._full = max(_MANY, 2 * len(self._batches))
