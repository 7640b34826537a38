"""A stop of a source on Kafka, which keeps one offset for all: nothing is passed or handled twice that need not be."""

from __future__ import annotations

import asyncio
import uuid
from typing import Literal

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until, until_async

from brokerkit import Bus, Message, Reject, Retry


async def test_what_is_behind_a_message_that_fails_during_a_stop_waits_for_it(kafka_broker: KafkaBroker) -> None:
    """It is before one that runs, for which a stop otherwise handles what would come again."""
    topic = _one_partition(kafka_broker)
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

    async with bus:
        for name, key in (("fails", "k"), ("behind it", "k"), ("runs", "other")):
            await bus.publish(Message("n", b'{"name": "%s"}' % name.encode(), key=key))
        async with bus.serving():
            await until(lambda: sorted(begun) == ["fails", "runs"])
            await until(lambda: bus.stats["bus"].received == 3)
            failing = asyncio.create_task(_once_stopping(bus, stopping))
        await failing
        assert sorted(begun) == ["fails", "runs"]


@pytest.mark.parametrize(("order", "raised"), [("strict", Reject("never")), ("key", Retry(after=600))])
async def test_what_is_behind_a_message_that_leaves_during_a_stop_is_handled(
    kafka_broker: KafkaBroker, order: Literal["strict", "key"], raised: Exception
) -> None:
    """Otherwise a message behind both, which was handled, would come again. No handler runs while the first one is stored
    elsewhere.
    """
    topic = _one_partition(kafka_broker)
    begun, stopping = list[str](), asyncio.Event()
    bus = Bus(kafka_broker.url, topic=topic, group="g", format="json", order=order, concurrency=2, stop_timeout=60.0)

    @bus.on("*")
    async def handle(event: dict[str, str]) -> None:
        begun.append(event["name"])
        if event["name"] == "leaves":
            await stopping.wait()
            raise raised

    async with bus:
        for name, key in (("leaves", "k"), ("behind it", "k"), ("handled", "other")):
            await bus.publish(Message("n", b'{"name": "%s"}' % name.encode(), key=key))
        async with bus.serving():
            await until(lambda: sorted(begun) == ["handled", "leaves"])
            await until(lambda: bus.stats["bus"].received == 3)
            leaving = asyncio.create_task(_once_stopping(bus, stopping))
        await leaving
        assert begun[2:] == ["behind it"]


def _one_partition(broker: KafkaBroker) -> str:
    topic = f"test-{uuid.uuid4().hex[:12]}"
    client = AdminClient({"bootstrap.servers": broker.address})
    client.create_topics([NewTopic(topic, 1)])[topic].result(30)  # type: ignore[no-untyped-call]
    return topic


async def _once_stopping(bus: Bus, event: asyncio.Event) -> None:
    """Set the event when the source has chosen what it still handles."""

    async def is_stopping() -> bool:
        return (await bus.health()).sources["bus"].state == "stopping"

    await until_async(is_stopping)
    await asyncio.sleep(0.2)  # it chooses soon after
    event.set()
