"""What the tests of a Redis cluster share."""

from __future__ import annotations

from typing import Any

from tests.adapters.redis_seam import unique

from brokerkit._url import Url
from brokerkit.adapters.api import Adapter, Connection
from brokerkit.adapters.redis.list import RedisListAdapter
from brokerkit.adapters.redis.streams import RedisStreamsAdapter

ADAPTERS: dict[str, Any] = {"": RedisStreamsAdapter, "+list": RedisListAdapter}


def at(url: str, **options: Any) -> Connection:
    return Connection(url=Url.parse(url), options=options, connect_timeout=10, envelope="brokerkit")


async def made(adapter: Adapter, number: int = 1) -> list[str]:
    """Topics that lie on every server, if there are enough of them."""
    topics = [unique() for _ in range(number)]
    await adapter.ensure(topics, is_queue=False, create=True)
    return topics
