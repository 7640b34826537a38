"""Has the batches of one source prepared by its format, such as by asking a schema registry, and keeps their order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from brokerkit._errors import ConnectionLost
from brokerkit._logging import get_logger
from brokerkit._messages._delivery import Delivery
from brokerkit._status._health import Status
from brokerkit.formats import Preparation

logger = get_logger(__name__)

_WHAT: Final = "preparing messages"


class Preparing:
    """Prepares batches one after another. A batch waits as long as it must: no message fails because of an outage.

    Args:
        preparation: the format's.
        name: the source's name, for the log.
        status: the source's; it is blocked during an outage.
        stopping: set when nothing more is received.
        back_off: waits between tries, longer with each failure.

    Attributes:
        waiting: the deliveries that are being prepared, or wait for it, in order.
    """

    def __init__(
        self,
        preparation: Preparation,
        *,
        name: str,
        status: Status,
        stopping: asyncio.Event,
        back_off: Callable[[int], Awaitable[None]],
    ) -> None:
        self._preparation = preparation
        self._name = name
        self._status = status
        self._stopping = stopping
        self._back_off = back_off
        self._turns = asyncio.Lock()
        self.waiting: list[Delivery] = []

    def __repr__(self) -> str:
        return f"<Preparing of {self._name}: {len(self.waiting)} wait>"

    async def run(self, batch: Sequence[Delivery], take: Callable[[Sequence[Delivery]], None]) -> None:
        """Prepare a batch, then have it taken. Nothing is taken once the source stops: it waits to be given back."""
        self.waiting += batch
        async with self._turns:
            failures = 0
            while not self._stopping.is_set():
                try:
                    await self._preparation.read(batch)
                except ConnectionLost as error:
                    if not failures:
                        logger.warning("source %s: its messages wait: %s", self._name, error)
                    failures += 1
                    self._status.block(_WHAT, error)
                    await self._back_off(failures)
                    continue
                if failures:
                    self._status.unblock(_WHAT)
                if self._stopping.is_set():
                    return
                del self.waiting[: len(batch)]
                take(batch)
                return
