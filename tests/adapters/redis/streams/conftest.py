"""The adapter for the tests of Redis Streams at the seam."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.adapters.redis_seam import connection, opened
from tests.brokers.redis import RedisBroker

from brokerkit.adapters.redis.streams import RedisStreamsAdapter


@pytest.fixture
async def adapter(redis_broker: RedisBroker) -> AsyncIterator[RedisStreamsAdapter]:
    async with opened(RedisStreamsAdapter(connection(redis_broker.url))) as adapter:
        assert isinstance(adapter, RedisStreamsAdapter)
        yield adapter
