"""Two servers of Redis, and one address of whichever is the primary."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.adapters.redis.failover.pair import Pair, servers
from tests.adapters.redis_seam import raw_client

from brokerkit.testing import Proxy


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncGenerator[Pair, None]:
    with servers(tmp_path) as ports:
        async with Proxy("127.0.0.1", ports[0]) as proxy:
            made = Pair(ports, proxy)
            async with raw_client(made.url(1)) as second:
                await second.replicaof("127.0.0.1", ports[0])
            await made.replicated()
            yield made
