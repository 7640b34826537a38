"""The kinds of topics of Redis, as `every_broker` sees a broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import redis.asyncio

from brokerkit.adapters.api import ReadFrom
from tests.brokers._urls import PASSWORD, USER
from tests.brokers.redis import LARGEST_VALUE, RedisBroker
from tests.brokers.redis_cluster import Guarded, RedisCluster
from tests.every_broker import NONE, Broker, with_name


async def _nothing(topic: str) -> None:
    """The topic comes into being with its first use."""


def redis_streams(broker: RedisBroker) -> Broker:
    async def create(topic: str) -> None:
        async with redis.asyncio.from_url(broker.url) as client:
            await client.xgroup_create(topic, "made-by-the-producer", mkstream=True)

    async def plain(
        topic: str, messages: Sequence[tuple[str, bytes]], *, place: str, headers: Mapping[str, str] = NONE
    ) -> None:
        async with redis.asyncio.from_url(broker.url) as client:
            for name, body in messages:
                fields: dict[Any, Any] = {"data": body, **with_name(name, place, headers)}
                await client.xadd(topic, fields)

    return Broker(
        name="redis-streams",
        settings={"url": broker.url},
        places=("header:event", "topic", "field:event"),
        plain=plain,
        create=create,
        unreachable={"url": "redis://user:very-secret@127.0.0.1:1/"},
        bad_option={"url": f"{broker.url}?no_such_option=1"},
        wrong_password={"url": broker.wrong_password_url},
        largest=LARGEST_VALUE + 1,
    )


def redis_servers(servers: RedisCluster | Guarded, *, kind: Literal["", "+list"] = "") -> Broker:
    """Streams or lists of a cluster, or of a primary that Sentinels name."""
    is_cluster = isinstance(servers, RedisCluster)
    url = servers.url(kind)

    def raw() -> Any:
        made: Any = redis.asyncio.RedisCluster if is_cluster else redis.asyncio.Redis
        node = servers.nodes[0] if is_cluster else servers.primary
        return made(host="127.0.0.1", port=node.port, username=USER, password=PASSWORD)

    async def create(topic: str) -> None:
        if not kind:
            async with raw() as client:
                await client.xgroup_create(topic, "made-by-the-producer", mkstream=True)

    async def plain(
        topic: str, messages: Sequence[tuple[str, bytes]], *, place: str, headers: Mapping[str, str] = NONE
    ) -> None:
        async with raw() as client:
            for name, body in messages:
                if kind:
                    await client.rpush(topic, body)
                else:
                    await client.xadd(topic, {"data": body, **with_name(name, place, headers)})

    scheme = url.partition(":")[0]
    return Broker(
        name=("redis-cluster" if is_cluster else "redis-sentinel") + kind.replace("+", "-"),
        settings={"url": url, **({"envelope": "brokerkit"} if kind else {})},
        places=("topic", "field:event") if kind else ("header:event", "topic", "field:event"),
        plain=plain,
        create=create,
        unreachable={"url": f"{scheme}://user:very-secret@127.0.0.1:1/{'' if is_cluster else 'wallet'}"},
        bad_option={"url": f"{url}?no_such_option=1"},
        topics_must_exist=not kind,
        largest=LARGEST_VALUE + 1,
    )


def redis_pubsub(broker: RedisBroker) -> Broker:
    async def plain(
        topic: str, messages: Sequence[tuple[str, bytes]], *, place: str, headers: Mapping[str, str] = NONE
    ) -> None:
        async with redis.asyncio.from_url(broker.url) as client:
            for _, body in messages:
                await client.publish(topic, body)

    return Broker(
        name="redis-pubsub",
        settings={"url": broker.url.replace("redis://", "redis+pubsub://"), "envelope": "brokerkit"},
        places=("topic", "field:event"),
        plain=plain,
        create=_nothing,
        unreachable={"url": "redis+pubsub://user:very-secret@127.0.0.1:1/"},
        bad_option={"url": broker.url.replace("redis://", "redis+pubsub://") + "?no_such_option=1"},
        wrong_password={"url": broker.wrong_password_url.replace("redis://", "redis+pubsub://")},
        topics_must_exist=False,
        largest=LARGEST_VALUE + 1,
    )


def redis_list(broker: RedisBroker, *, end: ReadFrom = "left") -> Broker:
    async def plain(
        topic: str, messages: Sequence[tuple[str, bytes]], *, place: str, headers: Mapping[str, str] = NONE
    ) -> None:
        async with redis.asyncio.from_url(broker.url) as client:
            push = client.rpush if end == "left" else client.lpush
            await push(topic, *(body for _, body in messages))

    return Broker(
        name="redis-list",
        settings={
            "url": broker.url.replace("redis://", "redis+list://"),
            "read_from": end,
            "envelope": "brokerkit",
        },
        places=("topic", "field:event"),
        plain=plain,
        create=_nothing,
        unreachable={"url": "redis+list://user:very-secret@127.0.0.1:1/"},
        bad_option={"url": broker.url.replace("redis://", "redis+list://") + "?no_such_option=1"},
        wrong_password={"url": broker.wrong_password_url.replace("redis://", "redis+list://")},
        topics_must_exist=False,
        largest=LARGEST_VALUE + 1,
    )
