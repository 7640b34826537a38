"""The adapter for the tests of Redis lists at the seam."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.adapters.redis.lists.seam import SCHEME
from tests.adapters.redis_seam import connection, opened
from tests.brokers.redis import RedisBroker

from brokerkit.adapters.redis.list import RedisListAdapter


@pytest.fixture
async def adapter(redis_broker: RedisBroker) -> AsyncIterator[RedisListAdapter]:
    async with opened(RedisListAdapter(connection(redis_broker.url, SCHEME))) as adapter:
        assert isinstance(adapter, RedisListAdapter)
        yield adapter
