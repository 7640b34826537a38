"""Fixtures for the tests of the RabbitMQ adapter at the seam."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.adapters.rabbitmq.seam import Bench
from tests.brokers.rabbitmq import RabbitBroker


@pytest.fixture
async def bench(rabbit_broker: RabbitBroker) -> AsyncIterator[Bench]:
    bench = Bench(rabbit_broker.url)
    yield bench
    await bench.close()
