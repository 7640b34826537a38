"""Looking at a RabbitMQ queue: there is no way but to take what is in it, and to put it back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

from pamqp.commands import Basic

from brokerkit._message import Delivery
from brokerkit.adapters.rabbitmq._link import CLIENT_ERRORS, CLOSE_TIMEOUT, Link, discard
from brokerkit.adapters.rabbitmq._topology import count_messages
from brokerkit.adapters.rabbitmq._wire import delivery


async def look_at_queues(link: Link, queues: Sequence[str]) -> AsyncGenerator[Delivery, None]:
    """See `Adapter.look`; the queues exist. Everything goes back at the end: earlier, it would come again at once."""
    connection = await link.connect()
    try:
        # As many as there are now: a queue that fills faster than we look would never end.
        counts = {queue: await count_messages(link, connection, queue) or 0 for queue in queues}
        channel = await link.channel(connection)
        last = 0
        try:
            for queue, count in counts.items():
                for _ in range(count):
                    with link.translated(f"look at queue {queue!r}"):
                        message = await channel.basic_get(queue, timeout=link.timeout)
                    if isinstance(message.delivery, Basic.GetEmpty):
                        break
                    one = delivery(message, queue)
                    last = one.token
                    yield one
        finally:
            # A channel that just closes gives back what it held in any order. Refused, it goes to the front; but behind
            # what came back before, and to the end of a quorum queue without a delivery limit (measured on 3.10).
            with suppress(*CLIENT_ERRORS):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    if last:
                        await channel.basic_nack(last, multiple=True, requeue=True)
                    await channel.close()
    finally:
        await discard(connection)
