"""What the tests of Redis Streams at the seam share."""

from __future__ import annotations

from typing import Any

from tests.adapters.redis_seam import unique

from brokerkit.adapters.redis.streams import RedisStreamsAdapter

ALL: dict[str, Any] = {"group": "g", "provision": "all"}


async def made(adapter: RedisStreamsAdapter) -> str:
    topic = unique()
    await adapter.ensure([topic], is_queue=False, create=True)
    return topic
