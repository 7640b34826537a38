"""Settles delivery tags of one channel, and sees that the broker knows of it before the channel closes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from brokerkit.adapters.api import Delivery

if TYPE_CHECKING:
    from aiormq.abc import DeliveredMessage
    from aiormq.channel import Channel


def consumer_tag(number: int, *, last: bool = False) -> str:
    """A tag that keeps the order of a queue when its channel ends.

    Up to 3.13, a quorum queue takes back what the consumers of a channel had in the order of their tags (measured on 3.10),
    and from 4.0 on in the order in which they began.

    Args:
        number: ascends with each consumer of a channel.
        last: whether it comes after all that are not.
    """
    return f"{'reader' if not last else 'reader-last'}-{number:09}"


async def acknowledge(channel: Channel, last: int, singles: Iterable[int]) -> None:
    """Acknowledge all unsettled tags up to ``last`` (none for 0), and some behind them."""
    if last:
        await channel.basic_ack(last, multiple=True, wait=False)
    for tag in singles:
        await channel.basic_ack(tag, wait=False)


async def release(channel: Channel, unsettled: dict[int, Delivery], tags: Iterable[int]) -> None:
    """Put messages back, one by one and ascending. ``multiple`` would also take smaller tags that are being handled."""
    for tag in tags:
        unsettled.pop(tag, None)
        await channel.basic_nack(tag, requeue=True, wait=False)


async def flush(channel: Channel, queues: Iterable[str]) -> list[int]:
    """Return when the queues have received every acknowledgement.

    A close would lose some: the client drops what it has not written yet. For a quorum queue, the broker's channel keeps
    32 acknowledgements under way and forgets the others when it closes (measured on 3.10). A new consumer goes through
    the same log, behind them. It is given one message at most, and none where the active consumer is single.

    Returns:
        The tags of these messages. They were behind everything that is unsettled.
    """
    tags: list[int] = []

    async def note(message: DeliveredMessage) -> None:
        tags.append(message.delivery_tag or 0)

    await channel.basic_qos(prefetch_count=1)
    for number, queue in enumerate(queues):
        answer = await channel.basic_consume(queue, note, consumer_tag=consumer_tag(number, last=True))
        # Else it would be given what goes back next.
        await channel.basic_cancel(answer.consumer_tag or "")
    return sorted(tags)
