"""Which topics the Kafka adapter creates, checks and refuses, at the seam, on a real broker."""

import asyncio
import uuid

import pytest
from confluent_kafka.admin import AdminClient
from tests.adapters.kafka.seam import message, reading, retry_of, send, take
from tests.brokers.kafka import KafkaBroker

from brokerkit._errors import NotFound
from brokerkit._messages._delivery import RetryLater, Settled
from brokerkit.adapters.kafka import KafkaAdapter


async def test_a_missing_topic_is_not_found_at_open(kafka: KafkaAdapter) -> None:
    for provision in ("group", "check"):
        with pytest.raises(NotFound, match="missing-topic"):
            async with reading(kafka, "missing-topic", provision=provision):
                pass


async def test_check_reads_without_retry_topics_and_says_that_nothing_can_be_put_off(
    kafka: KafkaAdapter, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    await send(kafka, message(topic, b"1"))
    async with reading(kafka, topic, provision="check") as source:
        assert retry_of(topic, "1s") in caplog.text
        got = await take(source, 1)
        assert await source.settle([(got[0], RetryLater(60, message("")))]) == [Settled.FAILED]


async def test_a_retry_topic_is_made_when_it_is_needed_with_as_many_partitions_as_the_topic(
    kafka_broker: KafkaBroker, kafka: KafkaAdapter
) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    await kafka.require_open().create({name: 3})
    await send(kafka, message(name), message(name))
    async with reading(kafka, name) as source:
        assert partitions_of(kafka_broker, name) == {name: 3}
        first, second = await take(source, 2)
        copies = [(first, RetryLater(1, message(""))), (second, RetryLater(600, message("")))]
        assert await source.settle(copies) == [Settled.DONE] * 2
        levels = {retry_of(name, level): 3 for level in ("1s", "10m")}
        assert partitions_of(kafka_broker, name) == {name: 3, **levels}


def partitions_of(broker: KafkaBroker, prefix: str) -> dict[str, int]:
    topics = AdminClient({"bootstrap.servers": broker.address}).list_topics(timeout=10).topics
    return {topic: len(found.partitions) for topic, found in topics.items() if topic.startswith(prefix)}


async def test_all_creates_the_topic(kafka: KafkaAdapter) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    for _ in range(2):
        async with reading(kafka, name, provision="all"):
            pass
    await kafka.ensure([name], is_queue=False, create=False)


async def test_off_looks_at_nothing_and_reads_all_the_same(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"1"))
    async with reading(kafka, topic, provision="off") as source:
        got = await take(source, 1)
        assert await source.settle([(got[0], RetryLater(60, message("")))]) == [Settled.FAILED]


async def test_off_and_a_missing_topic_ends_the_source(kafka: KafkaAdapter) -> None:
    async with reading(kafka, f"missing-{uuid.uuid4().hex}", provision="off") as source:
        with pytest.raises(NotFound):
            await asyncio.wait_for(source.receive(1), 30)


async def test_ensure_creates_only_when_allowed(kafka: KafkaAdapter) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    with pytest.raises(NotFound, match=name):
        await kafka.ensure([name], is_queue=True, create=False)
    await kafka.ensure([name, name], is_queue=True, create=True)
    await kafka.ensure([name], is_queue=True, create=True)


@pytest.mark.parametrize("group", ["wallet", "wallet.eu", "Größe 9", "g" * 300])
async def test_derived_names_are_legal(kafka: KafkaAdapter, topic: str, group: str) -> None:
    name = kafka.derived(topic, group, "dlq")
    await kafka.ensure([name], is_queue=True, create=True)
