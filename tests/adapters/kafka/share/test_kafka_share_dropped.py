"""Messages that a share group of Kafka drops, on a real broker."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import AcknowledgeType, ShareConsumer
from tests.adapters.kafka.share.seam import publish, reading
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import Broker, Recorder, kafka_share, until

from brokerkit import ConnectionLost, RetryPolicy
from brokerkit._url import Url
from brokerkit.adapters.api import ACK, RELEASE, Connection, Delivery, Outgoing, Receipt, RetryLater, Settled, State
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._client import Settings
from brokerkit.events.evenbet import OnPlayerSeatedDown

NAME = "OnPlayerSeatedDown"
LIMIT = 5
"""Deliveries after which Kafka drops a message, by default."""


async def test_a_message_that_is_given_back_again_and_again_is_never_dropped_and_stays_what_it_was(
    kafka_share_broker: KafkaBroker, topic: str, group: str
) -> None:
    await publish(kafka_share_broker, topic, 1)
    counts: list[int] = []
    times: set[float] = set()
    async with reading(kafka_share_broker, topic, group) as (_, source):
        while len(counts) < 3 * LIMIT:
            [delivery] = await source.receive(1)
            counts.append(delivery.count)
            assert (delivery.topic, delivery.position, delivery.id) == (topic, (0, 0), None)
            assert (delivery.body, delivery.key) == (b"0", b"k")
            assert dict(delivery.headers) == {"h": b"\xff", "empty": b""}
            times.add(delivery.time or 0.0)
            assert await source.settle([(delivery, RELEASE)]) == [Settled.DONE]
        [delivery] = await source.receive(1)
        assert await source.settle([(delivery, ACK)]) == [Settled.DONE]
    assert len(times) == 1
    # A copy counts as one delivery more.
    assert counts == sorted(set(counts))
    assert counts[-1] > 3 * LIMIT


async def test_a_message_that_the_broker_has_dropped_comes_again_as_it_was_or_it_is_said_that_it_is_lost(
    kafka_share_broker: KafkaBroker, topic: str, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    admin = KafkaAdmin(Settings(Connection(url=Url.parse(kafka_share_broker.url))))
    known = await admin.group_settings(group)
    if "share.delivery.count.limit" in known:
        await admin.set_group(group, {"share.delivery.count.limit": "2"})
    async with reading(kafka_share_broker, topic, group):
        pass  # the settings and topics of the group are there
    if "errors.deadletterqueue.topic.name" not in known:  # before Kafka 4.4
        assert f"Kafka drops a message of share group {group} for good" in caplog.text
        return
    await publish(kafka_share_broker, topic, 1)
    await asyncio.to_thread(release_until_dropped, kafka_share_broker, topic, group, deliveries=2)
    async with reading(kafka_share_broker, topic, group) as (_, source):
        [delivery] = await source.receive(1)
        assert (delivery.topic, delivery.position, delivery.id) == (topic, (0, 0), None)
        assert (delivery.body, delivery.key) == (b"0", b"k")
        assert dict(delivery.headers) == {"h": b"\xff", "empty": b""}
        assert delivery.count > 2
        assert await source.settle([(delivery, ACK)]) == [Settled.DONE]


async def test_of_a_dropped_message_that_is_gone_from_its_topic_its_body_becomes_a_dead_letter(
    kafka_share_broker: KafkaBroker, topic: str, group: str
) -> None:
    admin = KafkaAdmin(Settings(Connection(url=Url.parse(kafka_share_broker.url))))
    if "errors.deadletterqueue.topic.name" not in await admin.group_settings(group):  # before Kafka 4.4
        return
    await admin.set_group(group, {"share.delivery.count.limit": "2"})
    async with reading(kafka_share_broker, topic, group):
        pass
    await publish(kafka_share_broker, topic, 1)
    await asyncio.to_thread(release_until_dropped, kafka_share_broker, topic, group, deliveries=2)
    # Retention would do the same.
    await admin.delete_before({(topic, 0): 1})
    async with reading(kafka_share_broker, topic, group) as (_, source):
        [delivery] = await source.receive(1)
        assert (delivery.topic, delivery.body, delivery.key) == (topic, b"0", b"k")
        assert delivery.state is State.UNREADABLE
        assert "Kafka dropped it after 2 deliveries" in str(delivery.parsed)
        assert await source.settle([(delivery, ACK)]) == [Settled.DONE]


def release_until_dropped(broker: KafkaBroker, topic: str, group: str, *, deliveries: int) -> None:
    """Deliver a message as often as the broker does so, as another program would."""
    consumer = ShareConsumer(
        {"bootstrap.servers": broker.address, "group.id": group, "share.acknowledgement.mode": "explicit"},
        logger=logging.getLogger("quiet"),
    )
    consumer.subscribe([topic])
    while deliveries:
        for message in consumer.poll(5):
            consumer.acknowledge(message, AcknowledgeType.RELEASE)
            deliveries -= 1
    assert all(error is None for error in consumer.commit_sync(10).values())
    consumer.close()


async def test_without_the_right_to_copy_it_is_said_at_the_start_when_messages_are_dropped(
    kafka_share_broker: KafkaBroker, topic: str, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with reading(kafka_share_broker, topic, group):
        pass  # the settings of the group are there
    other = f"{group}-other"
    with caplog.at_level(logging.WARNING):
        async with reading(kafka_share_broker, topic, other, provision="check") as (_, source):
            await publish(kafka_share_broker, topic, 1)
            copy = Outgoing(topic="", body=b"", name="", id="x")
            delivery = Delivery(body=b"", topic=topic)
            assert await source._own.put_off([(delivery, RetryLater(1.0, copy))]) == {0: False}
    assert (
        f"there is no {topic}.{other}.share-retry.now: no retry of share group {other} survives this process"
        in caplog.text
    )
    assert f"Kafka drops a message of share group {other} for good after" in caplog.text
    assert "share.auto.offset.reset=latest" in caplog.text
    assert "messages of transactions that were aborted" in caplog.text


WORKER = """
import asyncio, json, os, signal, sys
from brokerkit import Bus
settings = json.loads(sys.argv[1])
bus = Bus(settings.pop("url"), **settings)
@bus.on("*")
async def handle(event, message):
    os.kill(os.getpid(), signal.SIGKILL)
bus.run()
"""


async def test_what_killed_processes_had_in_hand_is_not_dropped(kafka_share_broker: KafkaBroker, group: str) -> None:
    broker: Broker = kafka_share(kafka_share_broker)
    settings: dict[str, Any] = {
        **broker.settings,
        "topic": broker.topic(),
        "group": group,
        "format": "evenbet",
        "lease": 5.0,
        "provision": "all",
    }
    admin = KafkaAdmin(Settings(Connection(url=Url.parse(kafka_share_broker.url))))
    deaths = LIMIT + 1
    if "share.delivery.count.limit" in await admin.group_settings(group):
        await admin.set_group(group, {"share.delivery.count.limit": "2"})
        deaths = 3
    async with broker.bus(group=group) as bus:
        await bus.publish_many([OnPlayerSeatedDown(player_id=number) for number in range(10)])
    # More deaths than the broker delivers a message. Each takes what it was given into its grave.
    for _ in range(deaths):
        worker = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, json.dumps(settings))
        assert await worker.wait() == -9
    recorder = Recorder().record(NAME)
    bus = broker.bus(group=group, lease=5.0, retry=RetryPolicy(attempts=1), max_deliveries=100)
    bus.include(recorder.handlers)
    async with bus, bus.serving():
        await until(lambda: len({event.player_id for _, event, _ in recorder.got}) == 10, seconds=30)
        assert bus.stats["bus"].dead_lettered == 0


async def test_the_copies_of_a_publish_that_fails_are_handed_over_all_the_same(
    kafka_share_broker: KafkaBroker, topic: str, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    await publish(kafka_share_broker, topic, 1)
    async with reading(kafka_share_broker, topic, group) as (_, source):

        async def refuse(batch: Sequence[Outgoing]) -> list[Receipt | ConnectionLost]:
            return [ConnectionLost("no")] * len(batch)

        source._own._send = refuse  # type: ignore[assignment]
        most = source._limits.deliveries
        for _ in range(most - 1):
            [delivery] = await source.receive(1)
            assert await source.settle([(delivery, RELEASE)]) == [Settled.DONE]
        [delivery] = await source.receive(1)
        assert delivery.count == most
        assert await source.settle([(delivery, ACK)]) == [Settled.DONE]
    assert "if it is not handled now, Kafka drops it" in caplog.text
