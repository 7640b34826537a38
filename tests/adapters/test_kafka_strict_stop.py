"""A stop of a source with a strict order on Kafka: nothing passes a message that failed meanwhile."""

from __future__ import annotations

import asyncio
import uuid

from confluent_kafka.admin import AdminClient, NewTopic
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until, until_async

from brokerkit import Bus, Message, Retry


async def test_what_is_behind_a_message_that_fails_during_a_stop_waits_for_it(kafka_broker: KafkaBroker) -> None:
    """It is before one that runs, for which a stop otherwise handles what would come again."""
    topic = f"test-{uuid.uuid4().hex[:12]}"
    client = AdminClient({"bootstrap.servers": kafka_broker.address})
    client.create_topics([NewTopic(topic, 1)])[topic].result(30)  # type: ignore[no-untyped-call]
    begun, failed, stopping = list[str](), asyncio.Event(), asyncio.Event()
    bus = Bus(kafka_broker.url, topic=topic, group="g", format="json", order="strict", concurrency=2, stop_timeout=60.0)

    @bus.on("*")
    async def handle(event: dict[str, str], message: Message) -> None:
        begun.append(event["name"])
        await stopping.wait()
        if event["name"] == "fails":
            failed.set()
            raise Retry(after=0)
        await failed.wait()
        await asyncio.sleep(1)  # the retry is due meanwhile

    async def fail_in_the_stop() -> None:
        async def is_stopping() -> bool:
            return (await bus.health()).sources["bus"].state == "stopping"

        await until_async(is_stopping)
        await asyncio.sleep(0.2)  # what it will handle is chosen soon after
        stopping.set()

    async with bus:
        for name, key in (("fails", "k"), ("behind it", "k"), ("runs", "other")):
            await bus.publish(Message("n", b'{"name": "%s"}' % name.encode(), key=key))
        async with bus.serving():
            await until(lambda: sorted(begun) == ["fails", "runs"])
            await until(lambda: bus.stats["bus"].received == 3)
            failing = asyncio.create_task(fail_in_the_stop())
        await failing
        assert sorted(begun) == ["fails", "runs"]
