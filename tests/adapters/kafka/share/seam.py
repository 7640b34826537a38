"""What the tests of Kafka's share groups share: open sources, and settings of a bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.brokers.kafka import KafkaBroker

from brokerkit._url import Url
from brokerkit.adapters.api import Connection, Delivery, Subscription
from brokerkit.adapters.kafka._share_source import ShareSource
from brokerkit.adapters.kafka.share import KafkaShareAdapter


def connection(broker: KafkaBroker, **options: object) -> Connection:
    return Connection(url=Url.parse(f"kafka+share://{broker.address}"), options=options)


async def _ignore(deliveries: Sequence[Delivery], *, gone: bool = True) -> None: ...


@asynccontextmanager
async def reading(
    broker: KafkaBroker, topic: str, group: str, *, members: int = 16, **asked: Any
) -> AsyncGenerator[tuple[KafkaShareAdapter, ShareSource]]:
    """A source without a core."""
    adapter = KafkaShareAdapter(connection(broker, members=members))
    await adapter.open()
    usual: dict[str, Any] = {"provision": "all", "lease": 10.0, "max_in_flight": 20}
    source = adapter.subscribe(Subscription(topics=(topic,), group=group, **{**usual, **asked}), _ignore)
    try:
        await source.open()
        yield adapter, source
    finally:
        await source.stop()
        await source.close()
        await adapter.close()


async def publish(broker: KafkaBroker, topic: str, count: int, **fields: Any) -> None:
    producer = broker.producer()
    for number in range(count):
        producer.produce(topic, str(number).encode(), key=b"k", headers={"h": b"\xff", "empty": None}, **fields)
    assert await asyncio.to_thread(producer.flush, 10) == 0
