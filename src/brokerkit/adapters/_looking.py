"""What several adapters need to let somebody look at messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from brokerkit._errors import UnsupportedFeature
from brokerkit._message import ACK, Delivery
from brokerkit._transport import Source, Subscription

_BATCH: Final = 100


def listening(topics: Sequence[str]) -> Subscription:
    """A subscription of our own that begins now, and that nobody misses when it is gone."""
    return Subscription(topics=tuple(topics), broadcast=True, order="none", start="latest")


async def followed(source: Source) -> AsyncGenerator[Delivery, None]:
    """What comes through a source that nobody else reads, until the generator is closed."""
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


async def ignored(deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
    """The answer to deliveries that are lost to a source where nobody works on them."""


def refuse_to_follow(broker: str, alternative: str) -> UnsupportedFeature:
    """The error for a look that is to go on where what is new cannot be told from what is there."""
    return UnsupportedFeature(
        broker=broker, feature="following a queue without taking from it", alternative=alternative
    )
