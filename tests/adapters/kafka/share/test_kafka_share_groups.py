"""Share groups of Kafka, their members and their settings, on a real broker: what the conformance suite does not ask."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from contextlib import suppress

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from tests.adapters.kafka.share.seam import connection, publish, reading
from tests.brokers.kafka import KafkaBroker

from brokerkit import BrokerkitError, Bus, ConfigError, ConnectionLost, UnsupportedFeature
from brokerkit._url import Url
from brokerkit.adapters.api import ACK, RELEASE, Connection, Delivery, Settled, Subscription
from brokerkit.adapters.kafka import _watch
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._client import Settings
from brokerkit.adapters.kafka._share_member import ShareMember
from brokerkit.adapters.kafka._share_source import BUSY
from brokerkit.adapters.kafka.share import KafkaShareAdapter


async def settings_of(broker: KafkaBroker, group: str) -> dict[str, str]:
    admin = KafkaAdmin(Settings(Connection(url=Url.parse(broker.url))))
    return {name: setting.value for name, setting in (await admin.group_settings(group)).items()}


async def test_a_group_gets_the_settings_that_lose_nothing_and_keeps_those_that_somebody_made(
    kafka_share_broker: KafkaBroker, topic: str, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with reading(kafka_share_broker, topic, group, lease=12.0) as (adapter, _):
        assert adapter.capabilities(topic).max_hold == 12.0
    found = await settings_of(kafka_share_broker, group)
    assert found["share.auto.offset.reset"] == "earliest"
    assert found["share.isolation.level"] == "read_committed"
    assert found["share.record.lock.duration.ms"] == "12000"
    with caplog.at_level(logging.WARNING):
        async with reading(kafka_share_broker, topic, group, lease=20.0) as (adapter, _):
            assert adapter.capabilities(topic).max_hold == 12.0
    assert (await settings_of(kafka_share_broker, group))["share.record.lock.duration.ms"] == "12000"
    assert "has locks of 12 s (share.record.lock.duration.ms), and not of lease = 20 s" in caplog.text


async def test_a_topic_of_the_groups_own_that_keeps_too_little_is_told(
    kafka_share_broker: KafkaBroker, topic: str, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    admin = KafkaAdmin(Settings(Connection(url=Url.parse(kafka_share_broker.url))))
    await admin.create({f"{topic}.{group}.share-retry.now": 1}, {"retention.ms": "60000"})
    async with reading(kafka_share_broker, topic, group, longest_retry=100.0):
        assert (
            f"Kafka topic {topic}.{group}.share-retry.now deletes messages 60 s after they were written" in caplog.text
        )


async def test_a_lease_that_the_broker_does_not_take_is_refused(
    kafka_share_broker: KafkaBroker, topic: str, group: str
) -> None:
    with pytest.raises(UnsupportedFeature, match=r"lease of 300 s.*15 to 60 s"):
        async with reading(kafka_share_broker, topic, group, lease=300.0):
            pass


async def test_more_members_than_partitions_work_side_by_side(
    kafka_share_broker: KafkaBroker, topic: str, group: str
) -> None:
    await publish(kafka_share_broker, topic, 1)
    async with reading(kafka_share_broker, topic, group) as (_, first):
        [one] = await first.receive(1)
        async with reading(kafka_share_broker, topic, group) as (_, second):
            await publish(kafka_share_broker, topic, 1)
            # The first still has its message: with one partition, a consumer group would have no second reader.
            [two] = await second.receive(1)
            assert (one.position, two.position) == ((0, 0), (0, 1))
            assert await second.settle([(two, ACK)]) == [Settled.DONE]
        assert await first.settle([(one, ACK)]) == [Settled.DONE]


async def test_slow_handlers_get_more_members_up_to_the_option(
    kafka_share_broker: KafkaBroker, topic: str, group: str
) -> None:
    async with reading(kafka_share_broker, topic, group, max_in_flight=8, members=3, lease=30.0) as (_, source):
        assert len(source._members) == 2  # one of them reads what comes again
        open_: list[Delivery] = []
        for _ in range(3):  # each alone, so each keeps a member
            await publish(kafka_share_broker, topic, 1)
            # A core that has no room for a while still gets more members when it has.
            await asyncio.sleep(2 * BUSY)
            open_ += await source.receive(1)
        assert len(source._members) == 4
        assert await source.settle([(delivery, ACK) for delivery in open_]) == [Settled.DONE] * 3


async def test_when_a_lock_ends_the_message_is_lost_to_its_member_and_comes_again(
    kafka_share_broker: KafkaBroker, topic: str, group: str
) -> None:
    await publish(kafka_share_broker, topic, 1)
    lost: list[Delivery] = []

    async def note(deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
        lost.extend(deliveries)

    adapter = KafkaShareAdapter(connection(kafka_share_broker))
    await adapter.open()
    source = adapter.subscribe(Subscription(topics=(topic,), group=group, provision="all", lease=2.0), note)
    await source.open()
    [delivery] = await source.receive(1)
    assert await source.extend([delivery]) == [Settled.DONE]
    [again] = await source.receive(1)
    assert lost == [delivery]
    assert await source.extend([delivery]) == [Settled.LOST]
    assert await source.settle([(delivery, ACK), (again, ACK)]) == [Settled.LOST, Settled.DONE]
    assert again.count >= 2  # before Kafka 4.4 it has been copied, which counts as well
    await source.stop()
    await source.close()
    await adapter.close()


async def test_messages_of_an_aborted_transaction_do_not_come(
    kafka_share_broker: KafkaBroker, topic: str, group: str
) -> None:
    producer = Producer({"bootstrap.servers": kafka_share_broker.address, "transactional.id": topic})
    await asyncio.to_thread(producer.init_transactions)
    for body, end in ((b"aborted", producer.abort_transaction), (b"committed", producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(topic, body)
        await asyncio.to_thread(producer.flush, 10)
        await asyncio.to_thread(end)
    async with reading(kafka_share_broker, topic, group) as (_, source):
        [delivery] = await source.receive(2)
        assert delivery.body == b"committed"
        assert await source.settle([(delivery, ACK)]) == [Settled.DONE]


async def test_the_name_of_a_group_of_consumers_is_an_error_that_says_so(
    kafka_share_broker: KafkaBroker, topic: str, group: str
) -> None:
    await publish(kafka_share_broker, topic, 1)
    consumer = Consumer(
        {"bootstrap.servers": kafka_share_broker.address, "group.id": group, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    assert await asyncio.to_thread(consumer.poll, 20) is not None
    await asyncio.to_thread(consumer.commit, asynchronous=False)
    await asyncio.to_thread(consumer.close)
    async with reading(kafka_share_broker, topic, group) as (_, source):
        with pytest.raises(ConnectionLost, match="there is a group of consumers with its name"):
            await source.receive(1)


async def test_a_topic_that_is_deleted_is_waited_for_and_read_when_it_is_made_anew(
    kafka_share_broker: KafkaBroker, topic: str, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watch, "LOOK", 0.2)
    admin = AdminClient({"bootstrap.servers": kafka_share_broker.address})
    await publish(kafka_share_broker, topic, 1)
    async with reading(kafka_share_broker, topic, group) as (_, source):
        [delivery] = await source.receive(1)
        assert await source.settle([(delivery, ACK)]) == [Settled.DONE]
        [deleted] = admin.delete_topics([topic]).values()
        await asyncio.wrap_future(deleted)
        with pytest.raises(ConnectionLost, match="any more; waiting for it"):
            await source.receive(1)
        [created] = admin.create_topics([NewTopic(topic, 1)]).values()
        await asyncio.wrap_future(created)
        while True:
            with suppress(ConnectionLost):  # It may have been looked for once more before it was there.
                assert await source.receive(1) == []  # the core learns that it is back
                break
        await publish(kafka_share_broker, topic, 1)
        [again] = await source.receive(1)
        assert (again.body, again.position) == (b"0", (0, 0))
        assert await source.settle([(again, ACK)]) == [Settled.DONE]


async def test_what_anybody_writes_to_a_topic_is_no_copy_of_the_groups_own(
    kafka_share_broker: KafkaBroker, topic: str, group: str
) -> None:
    producer = kafka_share_broker.producer()
    carried = json.dumps(["other", 7, 7, None, 99]).encode()
    producer.produce(topic, b"forged", headers={"bk-carried": carried, "bk-failures": b"3"})
    assert await asyncio.to_thread(producer.flush, 10) == 0
    async with reading(kafka_share_broker, topic, group) as (_, source):
        for count in (1, 2, 3, 4, 5, 6, 7, 8, 9):  # until it has been copied
            [delivery] = await source.receive(1)
            assert (delivery.topic, delivery.position, delivery.is_ours) == (topic, (0, 0), False)
            assert delivery.count >= count
            assert await source.settle([(delivery, RELEASE)]) == [Settled.DONE]
        [delivery] = await source.receive(1)
        assert await source.settle([(delivery, ACK)]) == [Settled.DONE]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"share.acknowledgement.mode": "implicit"}, "acknowledges each message by itself"),
        ({"isolation.level": "read_committed"}, "has no effect on a share group"),
        ({"session.timeout.ms": 6000}, "has no effect on a share group"),
        ({"members": 0}, "a number from 1 to 200"),
        ({"members": "many"}, "a number from 1 to 200"),
        ({"max.poll.records": "x"}, "Invalid value"),
        ({"no.such.option": 1}, "No such configuration property"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_connects(
    kafka_share_broker: KafkaBroker, options: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        KafkaShareAdapter(connection(kafka_share_broker, **options))


def test_options_of_producer_and_share_consumer_are_taken(kafka_share_broker: KafkaBroker) -> None:
    KafkaShareAdapter(
        connection(kafka_share_broker, **{"linger.ms": 5, "fetch.max.bytes": 1_000_000, "client.id": "x"})
    )


def test_a_pattern_is_refused() -> None:
    with pytest.raises(UnsupportedFeature, match=r"pattern '\^evenbet'.*use kafka://"):
        Bus("kafka+share://localhost", topic="^evenbet", group="g", format="json")


async def test_when_a_member_fails_for_good_nobody_waits_for_its_answers(
    kafka_share_broker: KafkaBroker, topic: str, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(kafka_share_broker, topic, 2)

    def fail(*args: object) -> None:
        raise MemoryError("no more")

    async with reading(kafka_share_broker, topic, group, max_in_flight=1) as (_, source):
        deliveries: list[Delivery] = []
        while len(deliveries) < 2:
            deliveries += await source.receive(2)
        monkeypatch.setattr(ShareMember, "_note", fail)
        async with asyncio.timeout(20):
            assert await source.settle([(deliveries[0], ACK)]) == [Settled.LOST]
            with pytest.raises(BrokerkitError, match="no more"):
                await source.receive(1)
            assert await source.settle([(deliveries[1], ACK)]) == [Settled.LOST]
