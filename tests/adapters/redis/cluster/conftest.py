"""A Redis cluster, and adapters on it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

import pytest
from tests.adapters.redis.cluster.seam import ADAPTERS, at
from tests.adapters.redis_seam import opened
from tests.brokers.redis_cluster import RedisCluster, cluster

from brokerkit.adapters.api import Adapter
from brokerkit.adapters.redis.streams import RedisStreamsAdapter


@pytest.fixture(scope="module")
def servers() -> Iterator[RedisCluster]:
    """Three primaries, each with a replica."""
    made = cluster()
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(params=ADAPTERS)
async def adapter(request: pytest.FixtureRequest, servers: RedisCluster) -> AsyncGenerator[Adapter, None]:
    async with opened(ADAPTERS[request.param](at(servers.url(request.param)))) as adapter:
        yield adapter


@pytest.fixture
async def streams(servers: RedisCluster) -> AsyncGenerator[RedisStreamsAdapter, None]:
    async with opened(RedisStreamsAdapter(at(servers.url()))) as adapter:
        assert isinstance(adapter, RedisStreamsAdapter)
        yield adapter
