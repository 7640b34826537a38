"""Redis lists that cannot be read or written, at the seam, against a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.adapters.redis.lists.seam import SCHEME
from tests.adapters.redis_seam import connection, ignore_lost, opened, outgoing, reading, receive, unique
from tests.brokers.redis import RedisBroker

from brokerkit._errors import (
    AccessDenied,
    BrokerkitError,
    ConnectionLost,
    InvalidMessage,
    Unroutable,
    UnsupportedFeature,
)
from brokerkit._messages._delivery import ACK, RELEASE, Settled
from brokerkit._messages._outgoing import Receipt
from brokerkit.adapters.api import Subscription
from brokerkit.adapters.redis.list import RedisListAdapter


async def test_a_missing_right_to_push_leaves_every_value_where_it_is(redis_broker: RedisBroker, raw: Any) -> None:
    user, topic = unique("user"), unique()
    await raw.execute_command("ACL", "SETUSER", user, "on", ">pw", "~*", "+@all")
    host = redis_broker.url.rpartition("@")[2]
    async with opened(RedisListAdapter(connection(f"redis://{user}:pw@{host}", SCHEME))) as limited:
        source = limited.subscribe(Subscription(topics=(topic,)), ignore_lost)
        await source.open()
        await raw.rpush(topic, b"0", b"1")
        held = await receive(source, 2)
        await raw.rpush(topic, b"2", b"3")
        await raw.execute_command("ACL", "SETUSER", user, "-rpush", "-lpush")
        assert await source.settle([(delivery, RELEASE) for delivery in held]) == [Settled.FAILED] * 2
        with pytest.raises(BrokerkitError):
            await source.receive(2)
        assert await raw.lrange(topic, 0, -1) == [b"2", b"3"]
        await source.close()
    assert await raw.lrange(topic, 0, -1) == [b"0", b"1", b"2", b"3"]
    await raw.execute_command("ACL", "DELUSER", user)


async def test_a_full_server_can_be_emptied(adapter: RedisListAdapter, raw: Any) -> None:
    topic = unique()
    await adapter.send([outgoing(topic, number) for number in range(2)])
    async with reading(adapter, topic) as source:
        await raw.config_set("maxmemory", 1)
        try:
            first, second = await receive(source, 2)
            assert await source.settle([(first, ACK), (second, RELEASE)]) == [Settled.DONE] * 2
        finally:
            await raw.config_set("maxmemory", 0)
    assert await raw.llen(topic) == 1


async def test_a_key_that_holds_something_else_is_refused(adapter: RedisListAdapter, raw: Any) -> None:
    topic = unique()
    await raw.xadd(topic, {"a": "b"})
    with pytest.raises(UnsupportedFeature, match="holds a stream"):
        await adapter.ensure([topic], is_queue=True, create=True)
    with pytest.raises(UnsupportedFeature, match="holds a stream"):
        await adapter.subscribe(Subscription(topics=(topic,)), ignore_lost).open()
    (result,) = await adapter.send([outgoing(topic)])
    assert isinstance(result, Unroutable)


async def test_a_missing_list_is_an_empty_one(adapter: RedisListAdapter) -> None:
    topic = unique()
    await adapter.ensure([topic], is_queue=False, create=False)
    async with reading(adapter, topic, provision="check") as source:
        assert await source.receive(1) == []


def test_broadcast_is_refused_with_an_alternative() -> None:
    adapter = RedisListAdapter(connection("redis://h", SCHEME))
    with pytest.raises(UnsupportedFeature, match="pubsub"):
        adapter.subscribe(Subscription(topics=("t",), broadcast=True), ignore_lost)


async def test_a_bad_message_fails_alone(adapter: RedisListAdapter) -> None:
    topic = unique()
    results = await adapter.send([outgoing(topic), outgoing(topic, headers={"x": "\ud800"}), outgoing(topic)])
    assert [type(result) for result in results] == [Receipt, InvalidMessage, Receipt]


async def test_errors_are_told_apart(redis_broker: RedisBroker) -> None:
    for url, kind in ((redis_broker.wrong_password_url, AccessDenied), ("redis://127.0.0.1:1", ConnectionLost)):
        adapter = RedisListAdapter(connection(url, SCHEME))
        with pytest.raises(kind):
            await adapter.open()
        with pytest.raises(kind):
            await adapter.subscribe(Subscription(topics=("t",), provision="off"), ignore_lost).open()
        await adapter.close()


async def test_opening_and_closing_leaves_no_connection(redis_broker: RedisBroker, raw: Any) -> None:
    before = len(await raw.client_list())
    for _ in range(5):
        async with opened(RedisListAdapter(connection(redis_broker.url, SCHEME))) as adapter:
            async with reading(adapter, unique()) as source:
                pass
            await source.close()
    async with asyncio.timeout(20):
        while len(await raw.client_list()) > before:
            await asyncio.sleep(0.01)
