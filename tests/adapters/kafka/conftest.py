"""Fixtures for the tests of the Kafka adapter at the seam."""

import uuid
from collections.abc import AsyncIterator

import pytest
from tests.adapters.kafka.seam import opened
from tests.brokers.kafka import KafkaBroker

from brokerkit.adapters.kafka import KafkaAdapter


@pytest.fixture
async def kafka(kafka_broker: KafkaBroker) -> AsyncIterator[KafkaAdapter]:
    async with opened(kafka_broker) as one:
        yield one


@pytest.fixture
async def topic(kafka: KafkaAdapter) -> str:
    """A topic with four partitions."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    await kafka.ensure([name], is_queue=False, create=True)
    return name
