"""A topic and a group for the tests of share groups."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from tests.brokers.kafka import KafkaBroker


@pytest.fixture
def group() -> str:
    """A group of this test's own: its settings stay at the broker."""
    return f"share-{uuid.uuid4().hex[:8]}"


@pytest.fixture
async def topic(kafka_share_broker: KafkaBroker) -> str:
    """A topic of one partition, which all members have to share."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": kafka_share_broker.address})
    [created] = admin.create_topics([NewTopic(name, 1)]).values()
    await asyncio.wrap_future(created)
    return name
