"""How often messages were begun alone: a compacted topic of one partition, with a record for each start.

The key is the message, the value its number of starts. Only messages that were delivered too often have records, so the
topic is short, and is read anew for each start.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from brokerkit.adapters.api import BrokerkitError, Delivery, Outgoing, Subscription, derived_name
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._browse import browse_topics
from brokerkit.adapters.kafka._client import Settings
from brokerkit.adapters.kafka._source import Send
from brokerkit.adapters.kafka._topics import NAME_STYLE, Topics

CONFIG: Final = {"cleanup.policy": "compact,delete", "retention.ms": str(7 * 86_400_000)}
"""The last number of each message is kept, for a week."""


class Starts:
    """See `brokerkit.adapters.api.LoneStarts`."""

    def __init__(
        self, settings: Settings, admin: Callable[[], KafkaAdmin], send: Send, subscription: Subscription, group: str
    ) -> None:
        self.topic: Final = derived_name(subscription.topics[0], group, "share-starts", NAME_STYLE)
        self._settings = settings
        self._admin = admin
        self._send = send
        self._is_there = False

    def __repr__(self) -> str:
        return f"<Starts in {self.topic}>"

    async def begin(self, delivery: Delivery) -> int:
        """See `LoneStarts.begin_alone`."""
        if not self._is_there:
            admin = self._admin()
            if not await admin.describe([self.topic]):
                await admin.create({self.topic: 1}, CONFIG)
            self._is_there = True
        starts = await self._count(delivery) + 1
        await self._write(delivery, str(starts).encode())
        return starts

    async def end(self, delivery: Delivery) -> None:
        """See `LoneStarts.end_alone`."""
        await self._write(delivery, None)

    async def _count(self, delivery: Delivery) -> int:
        key, starts = _key(delivery), 0
        browsing = browse_topics(
            self._settings, self._admin(), Topics([self.topic]), is_queue=False, past=True, follow=False
        )
        async with aclosing(browsing) as records:
            async for record in records:
                if record.key == key:
                    starts = int(record.body) if record.body is not None and record.body.isdigit() else 0
        return starts

    async def _write(self, delivery: Delivery, body: bytes | None) -> None:
        [result] = await self._send([Outgoing(topic=self.topic, body=body, name="", id="", key=_key(delivery))])
        if isinstance(result, BrokerkitError):
            raise result


def _key(delivery: Delivery) -> bytes:
    assert delivery.broker_id is not None  # Kafka's messages have a position.
    return delivery.broker_id.encode()
