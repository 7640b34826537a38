"""What Kafka deletes while brokerkit needs it is said at the start, on a real broker."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping

import pytest
from tests.brokers.kafka import KafkaBroker

from brokerkit import Bus, RetryPolicy
from brokerkit._url import Url
from brokerkit.adapters.api import Connection, derived_name
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._client import Settings
from brokerkit.adapters.kafka._retry_topics import retry_topic
from brokerkit.adapters.kafka._topics import NAME_STYLE

HOURS: RetryPolicy = RetryPolicy(attempts=3, first=3_600, cap=7_200, factor=1, jitter=False)
"""Two waits of an hour."""


@pytest.fixture
def topic() -> str:
    return f"kept-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def admin(kafka_broker: KafkaBroker) -> KafkaAdmin:
    return KafkaAdmin(Settings(Connection(url=Url.parse(kafka_broker.url))))


def letters_of(topic: str) -> str:
    return derived_name(topic, "wallet", "dlq", NAME_STYLE)


async def warnings(
    broker: KafkaBroker, topic: str, caplog: pytest.LogCaptureFixture, **settings: object
) -> Mapping[str, str]:
    """Start and stop a bus; what it said of each topic."""
    given = {"group": "wallet", "format": "json", "provision": "group", "retry": HOURS, **settings}
    bus = Bus(broker.url, topic=topic, **given)  # type: ignore[arg-type]
    bus.on("*")(_nothing)
    caplog.clear()
    async with bus, bus.serving():
        pass
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    return {words[3]: text for text in said if "Kafka topic" in text and (words := text.split()) if words[3:]}


async def _nothing(_event: object) -> None: ...


async def test_a_retry_topic_that_keeps_a_copy_for_less_than_its_waits_is_told(
    kafka_broker: KafkaBroker, topic: str, admin: KafkaAdmin, caplog: pytest.LogCaptureFixture
) -> None:
    short, compacted, enough = (retry_topic(topic, "wallet", level) for level in (60, 600, 3600))
    await admin.create({topic: 1}, {"retention.ms": "60000"})
    await admin.create({short: 1}, {"retention.ms": "7200000"})
    await admin.create({compacted: 1}, {"cleanup.policy": "compact"})
    await admin.create({enough: 1}, {"retention.ms": "7200001"})
    said = await warnings(kafka_broker, topic, caplog)
    assert set(said) == {short, compacted}
    assert "deletes messages 2 h after they were written (retention.ms=7200000)" in said[short]
    assert "may wait 2 h" in said[short]
    assert "the same key (cleanup.policy=compact)" in said[compacted]


async def test_where_messages_wait_in_the_process_their_topic_has_to_keep_them(
    kafka_broker: KafkaBroker, topic: str, admin: KafkaAdmin, caplog: pytest.LogCaptureFixture
) -> None:
    await admin.create({topic: 1}, {"retention.ms": "60000"})
    said = await warnings(kafka_broker, topic, caplog, order="strict")
    assert "deletes messages 60 s after they were written (retention.ms=60000)" in said[topic]


async def test_a_topic_of_dead_letters_keeps_them_for_ever_and_one_that_does_not_is_told(
    kafka_broker: KafkaBroker, topic: str, admin: KafkaAdmin, caplog: pytest.LogCaptureFixture
) -> None:
    other = f"{topic}-other"
    await admin.create({topic: 1, other: 1})
    await admin.create({letters_of(other): 1}, {"retention.ms": "604800000", "retention.bytes": "1000"})
    assert await warnings(kafka_broker, topic, caplog) == {}
    found = (await admin.topic_settings([letters_of(topic)]))[letters_of(topic)]
    assert (found["retention.ms"], found["retention.bytes"], found["cleanup.policy"]) == ("-1", "-1", "delete")
    assert await warnings(kafka_broker, topic, caplog) == {}
    await warnings(kafka_broker, other, caplog)
    assert "deletes dead letters 7 d after they were written, seen or not (retention.ms=604800000)" in caplog.text
    assert "deletes dead letters when a partition has more than 1000 bytes (retention.bytes)" in caplog.text
