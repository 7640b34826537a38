"""What the tests of the Kafka adapter at the seam share: adapters, open sources, and what is read from them."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.brokers.kafka import KafkaBroker

from brokerkit._messages._delivery import ACK, Delivery, Settled
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._url import Url
from brokerkit.adapters.api import Connection, Subscription
from brokerkit.adapters.kafka import KafkaAdapter
from brokerkit.adapters.kafka._source import KafkaSource


def adapter(broker: KafkaBroker, **options: object) -> KafkaAdapter:
    return KafkaAdapter(Connection(url=Url.parse(broker.url), options=options))


@asynccontextmanager
async def opened(broker: KafkaBroker, **options: object) -> AsyncGenerator[KafkaAdapter, None]:
    if options.get("group.protocol") != "consumer":
        # A second member is let in when the first one's heartbeat has told it so; three seconds otherwise.
        options = {"heartbeat.interval.ms": 300, **options}
    kafka = adapter(broker, **options)
    await kafka.open()
    try:
        yield kafka
    finally:
        await kafka.close()


class Lost:
    """What the core would do about deliveries that are no longer ours."""

    def __init__(self, then: Callable[[Sequence[Delivery]], Awaitable[None]] | None = None) -> None:
        self.deliveries: list[Delivery] = []
        self.called = asyncio.Event()
        self._then = then

    async def __call__(self, deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
        self.deliveries += deliveries
        self.called.set()
        if self._then is not None:
            await self._then(deliveries)


def group_of(topic: str) -> str:
    """The group that `reading` uses: one for each test, so that none waits for members of another."""
    return f"readers-{topic[-8:]}"


def retry_of(topic: str, level: str) -> str:
    return f"{topic}.{group_of(topic)}.retry.{level}"


@asynccontextmanager
async def reading(
    kafka: KafkaAdapter, *topics: str, lost: Lost | None = None, group: str = "", **settings: Any
) -> AsyncGenerator[KafkaSource, None]:
    wanted = Subscription(topics=topics, group=group or group_of(topics[0]), **settings)
    source = kafka.subscribe(wanted, lost or Lost())
    await source.open()
    try:
        yield source
    finally:
        await source.close()


def message(topic: str, body: bytes | None = b"{}", **fields: Any) -> Outgoing:
    named: dict[str, Any] = {"name": "test", "id": uuid.uuid4().hex, **fields}
    return Outgoing(topic=topic, body=body, **named)


async def send(kafka: KafkaAdapter, *messages: Outgoing) -> list[Receipt]:
    results = await kafka.send(messages)
    receipts = [result for result in results if isinstance(result, Receipt)]
    assert receipts == results
    return receipts


async def take(source: KafkaSource, count: int) -> list[Delivery]:
    """Exactly so many messages."""
    taken: list[Delivery] = []
    async with asyncio.timeout(30):
        while len(taken) < count:
            taken += await source.receive(count - len(taken))
    return taken


async def ack(source: KafkaSource, deliveries: Sequence[Delivery]) -> list[Settled]:
    return await source.settle([(delivery, ACK) for delivery in deliveries])


def bodies(deliveries: Sequence[Delivery]) -> list[bytes | None]:
    return [delivery.body for delivery in deliveries]
