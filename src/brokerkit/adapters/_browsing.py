"""Helpers for `Adapter.browse`, on top of a source or a cursor."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from brokerkit._errors import UnsupportedFeature
from brokerkit._messages._delivery import ACK, Delivery
from brokerkit.adapters._protocols import Cursor, Source
from brokerkit.adapters._values import Subscription

_BATCH: Final = 100


def browse_subscription(topics: Sequence[str]) -> Subscription:
    """Return a private subscription that begins now and ends with its source."""
    return Subscription(topics=tuple(topics), broadcast=True, order="none", start="latest")


async def browse_source(source: Source) -> AsyncGenerator[Delivery, None]:
    """Yield the messages of a source that nobody else reads, until the generator is closed."""
    try:
        await source.open()
        while True:
            deliveries = await source.receive(_BATCH)
            await source.settle([(delivery, ACK) for delivery in deliveries])
            for delivery in deliveries:
                yield delivery
    finally:
        await source.stop()
        await source.close()


async def browse_cursor(cursor: Cursor) -> AsyncGenerator[Delivery, None]:
    """Yield the messages of a queue that can be browsed only by taking from it."""
    try:
        await cursor.open()
        while deliveries := await cursor.fetch(_BATCH):
            for delivery in deliveries:
                yield delivery
    finally:
        await cursor.close()


async def ignore_lost(deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
    """A `Lost` for a source whose deliveries nobody handles."""


def refuse_to_follow(broker: str, alternative: str) -> UnsupportedFeature:
    """Return the error for a browse with ``follow`` of a queue, where new messages cannot be told from old ones."""
    return UnsupportedFeature(
        broker=broker, feature="following a queue without taking from it", alternative=alternative
    )
