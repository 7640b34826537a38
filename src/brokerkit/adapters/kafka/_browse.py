"""Looking at Kafka topics: what is there, and what is new, without a group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from brokerkit.adapters.api import Delivery, NotFound
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._client import Settings
from brokerkit.adapters.kafka._delivery import KafkaDelivery
from brokerkit.adapters.kafka._reader import PartitionReader
from brokerkit.adapters.kafka._removals import is_removal
from brokerkit.adapters.kafka._topics import Topics

_BATCH: Final = 500


async def browse_topics(
    settings: Settings, admin: KafkaAdmin, wanted_topics: Topics, *, is_queue: bool, past: bool, follow: bool
) -> AsyncGenerator[Delivery, None]:
    """See `Adapter.browse`. Within a partition the order is that of the offsets. Patterns are matched once."""
    if wanted_topics.patterns:
        wanted_topics.update(await admin.topics())
    topics = wanted_topics.found
    counts = await admin.describe(topics)
    if missing := [topic for topic in topics if topic not in counts]:
        raise NotFound(f"{settings.where} has no topic {', '.join(map(repr, missing))}")
    partitions = [(topic, partition) for topic, count in counts.items() for partition in range(count)]
    ends = await admin.ends(partitions)
    begins = await admin.ends(partitions, first=True) if past else ends
    doing = f"browse {', '.join(map(repr, topics))}"
    reader = await asyncio.to_thread(PartitionReader, settings, doing, begins, None if follow else ends)
    try:
        while batch := await reader.read(_BATCH):
            for tp, message in batch:
                delivery = KafkaDelivery(message, tp[0], None)
                if not (is_queue and is_removal(delivery)):
                    yield delivery
    finally:
        await reader.close()
