"""Leases: the broker must not give a delivery to another reader while it is handled or waits here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from brokerkit._messages._delivery import Delivery, Settled, State
from brokerkit._status._stats import Stats
from brokerkit.adapters.api import Source

OURS: Final = (State.WAITING, State.RUNNING, State.FINISHED)
"""States in which a delivery is unsettled and was not taken away."""

_MANY: Final = 16
"""From this many batches on, look for batches that are settled."""


class Leases:
    """Extends leases from receipt to settlement, a batch at a time.

    Args:
        source: extends them.
        seconds: how long a lease lasts; each is renewed between a third and a half of that.
        stats: counts renewals.
        lost: called with each delivery whose lease has turned out to be over.
    """

    def __init__(self, source: Source, *, seconds: float, stats: Stats, lost: Callable[[Delivery], object]) -> None:
        self._source = source
        self._seconds = seconds
        self._stats = stats
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._batches: list[tuple[float, Sequence[Delivery]]] = []
        self._full = _MANY

    def __repr__(self) -> str:
        return f"<Leases of {self._seconds:g} s: {len(self._batches)} batches>"

    def add(self, batch: Sequence[Delivery]) -> None:
        """Extend the leases of a batch that was just received."""
        self._batches.append((self._loop.time(), batch))
        if len(self._batches) >= self._full:
            # Settled deliveries must not stay in memory until the next renewal, which may be a million messages later.
            self._batches = [(since, ours) for since, old in self._batches if (ours := _ours(old))]
            self._full = max(_MANY, 2 * len(self._batches))

    async def keep(self) -> None:
        """Renew leases that are due, until cancelled."""
        while True:
            await asyncio.sleep(self._seconds / 6)
            now = self._loop.time()
            kept: list[tuple[float, Sequence[Delivery]]] = []
            due: list[Delivery] = []
            for since, batch in self._batches:
                ours = _ours(batch)
                if now - since >= self._seconds / 3:
                    due += ours
                elif ours:
                    kept.append((since, ours))
            self._batches = kept
            if due:
                self._batches.append((now, due))
                for delivery, answer in zip(due, await self._source.extend(due), strict=True):
                    if answer is Settled.LOST:
                        self._lost(delivery)
                    elif answer is Settled.DONE:
                        self._stats.renewed += 1


def _ours(batch: Sequence[Delivery]) -> list[Delivery]:
    return [delivery for delivery in batch if delivery.state in OURS]
