"""Counts how often a message was begun alone: a queue for each such message, with one empty message for each start.

AMQP cannot keep a number beside a message that stays in its queue. A separate queue can, durably and with a confirmation.
The broker deletes it when nobody has used it for a week.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from pamqp.commands import Basic

from brokerkit.adapters.api import Delivery, Subscription
from brokerkit.adapters.rabbitmq._link import Link
from brokerkit.adapters.rabbitmq._publisher import Publisher
from brokerkit.adapters.rabbitmq._topology import count_messages, open_starts
from brokerkit.adapters.rabbitmq._wire import PERSISTENT, AddressedMessage, role_name

if TYPE_CHECKING:
    from aiormq.abc import DeliveredMessage


class Starts:
    """See `brokerkit.adapters.api.LoneStarts`.

    All calls use the publisher's connection: the source's connection may be gone when a start is taken back.
    """

    def __init__(self, link: Link, publisher: Publisher, subscription: Subscription) -> None:
        group = None if subscription.is_queue else subscription.group
        self._link = link
        self._publisher = publisher
        self._prefix: Final = role_name(subscription.topics[0], group, "starts")

    async def begin(self, delivery: Delivery) -> int:
        """See `LoneStarts.begin_alone`."""
        queue = self._queue(delivery)
        connection = await self._publisher.connection()
        await open_starts(self._link, connection, queue)
        properties = Basic.Properties(delivery_mode=PERSISTENT)
        [failure] = await self._publisher.send([AddressedMessage("", queue, b"", properties)])
        if failure is not None:
            raise failure
        return await count_messages(self._link, connection, queue) or 1

    async def end(self, delivery: Delivery) -> None:
        """See `LoneStarts.end_alone`."""
        queue = self._queue(delivery)
        connection = await self._publisher.connection()
        await self._link.run_on_channel(connection, f"delete queue {queue!r}", lambda c: c.queue_delete(queue))

    def _queue(self, delivery: Delivery) -> str:
        return f"{self._prefix}.{digest(delivery)}"

    def __repr__(self) -> str:
        return f"<Starts in {self._prefix}.*>"


def digest(delivery: Delivery) -> str:
    """Identify a message on every delivery. RabbitMQ gives it no id, and producers may give one id to several messages."""
    message: DeliveredMessage = delivery.native
    properties = message.header.properties
    known: list[Any] = [
        properties.message_id,
        str(properties.timestamp),
        delivery.routing_key,
        sorted((name, str(value)) for name, value in delivery.headers.items()),
        hashlib.sha256(message.body).hexdigest(),
    ]
    return hashlib.sha256(repr(known).encode(errors="surrogatepass")).hexdigest()[:32]
