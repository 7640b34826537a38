"""Writing to Redis Streams and reading from them, at the seam, against a real server."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.adapters.redis.streams.seam import ALL, made
from tests.adapters.redis_seam import (
    BODIES,
    WEIRD,
    confirmed,
    has_lag,
    numbers,
    opened,
    outgoing,
    reading,
    receive,
    texts,
    unique,
)
from tests.brokers.redis import RedisBroker

from brokerkit._errors import InvalidMessage, MessageTooLarge
from brokerkit._messages._delivery import ACK, RetryLater, Settled
from brokerkit._messages._outgoing import Receipt
from brokerkit._url import Url
from brokerkit.adapters.api import Connection
from brokerkit.adapters.redis.streams import RedisStreamsAdapter


async def test_a_message_goes_through_unchanged(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        for body in BODIES:
            message = outgoing(topic, body=body, key="key", headers=WEIRD, content_type="application/json")
            (receipt,) = await adapter.send([message])
            assert isinstance(receipt, Receipt)
            deliveries = await receive(source, 1)
            (delivery,) = deliveries
            assert (delivery.body, delivery.topic, delivery.key, delivery.id) == (body, topic, b"key", "id-0")
            assert texts(deliveries) == WEIRD | {"content-type": "application/json"}
            assert delivery.position == str(receipt.position).encode()
            assert delivery.count == 1
            assert delivery.time is not None
            assert await source.settle([(delivery, ACK)]) == [Settled.DONE]


async def test_a_null_body_and_a_binary_key_come_back(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        assert confirmed(await adapter.send([outgoing(topic, body=None, key=b"\xff")]))
        (delivery,) = await receive(source, 1)
        assert (delivery.body, delivery.key, delivery.headers) == (None, b"\xff", {})


async def test_a_plain_producers_fields_are_body_and_headers(redis_broker: RedisBroker, raw: Any) -> None:
    topic = unique()
    await raw.xadd(topic, {"payload": "{}", "event": "OnGameDone"})
    await raw.xadd(topic, {"gameId": "5", b"\xff": "x"})
    with_field = Connection(url=Url.parse(redis_broker.url), body_field="payload")
    async with opened(RedisStreamsAdapter(with_field)) as adapter, reading(adapter, topic, group="g") as source:
        first, second = await receive(source, 2)
        assert (first.body, first.headers, first.key, first.id) == (b"{}", {"event": b"OnGameDone"}, None, None)
        assert first.stable_id == f"{topic}/{first.native[1].decode()}"
        # Nothing of an entry without the body field is lost, and its dead letter can be published.
        assert (second.body, second.headers) == (None, {"gameId": b"5", "\\xff": b"x"})
        copy = outgoing(adapter.derived(topic, "g", "dlq"), body=None, headers=second.headers, is_queue=True)
        assert confirmed(await adapter.send([copy]))


async def test_large_batches_keep_their_order(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        assert confirmed(await adapter.send([outgoing(topic, number) for number in range(1_700)]))
        assert await has_lag(source, raw, 1_700)
        got = await receive(source, 1_700)
        assert numbers(got) == list(range(1_700))
        assert await source.settle([(delivery, ACK) for delivery in got]) == [Settled.DONE] * 1_700
        assert await has_lag(source, raw, 0)
        assert "0 held" in repr(source)


async def test_receive_never_gives_more_than_the_limit_over_many_topics(adapter: RedisStreamsAdapter) -> None:
    topics = [await made(adapter) for _ in range(5)]
    async with reading(adapter, *topics, **ALL) as source:
        assert confirmed(await adapter.send([outgoing(topic, n) for topic in topics for n in range(20)]))
        for limit in (1, 3, 5, 7):
            assert len(await source.receive(limit)) <= limit
        rest = await receive(source, 60)
        assert {delivery.topic for delivery in rest} == set(topics)


async def test_a_bad_message_fails_alone(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    batch = [outgoing(topic, 1), outgoing(topic, headers={"a": "\ud800"}), outgoing("\ud800"), outgoing(topic, 2)]
    results = await adapter.send(batch)
    assert [type(result) for result in results] == [Receipt, InvalidMessage, InvalidMessage, Receipt]


async def test_size_at_the_servers_limit_passes_and_one_byte_more_does_not(
    adapter: RedisStreamsAdapter, raw: Any
) -> None:
    topic = await made(adapter)
    (old,) = (await raw.config_get("proto-max-bulk-len")).values()
    await raw.config_set("proto-max-bulk-len", 1_048_576)
    try:
        await adapter.open()
        bodies = [b"x" * 1_048_576, b"x" * 1_048_577]
        passes, fails = await adapter.send([outgoing(topic, body=body) for body in bodies])
    finally:
        await raw.config_set("proto-max-bulk-len", old)
    assert isinstance(passes, Receipt)
    assert isinstance(fails, MessageTooLarge)
    assert "1,048,577 bytes" in str(fails)
    assert "1,048,576 bytes" in str(fails)


async def test_two_hundred_sends_at_once_share_the_connections(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    results = await asyncio.gather(*(adapter.send([outgoing(topic, number)]) for number in range(200)))
    assert all(confirmed(each) for each in results)


async def test_a_cancelled_send_or_receive_leaves_the_adapter_usable(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        task = asyncio.create_task(source.receive(1))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        send = asyncio.create_task(adapter.send([outgoing(topic, number) for number in range(500)]))
        await asyncio.sleep(0)
        send.cancel()
        await asyncio.wait([send])
        assert confirmed(await adapter.send([outgoing(topic, 7_777)]))
        while (await receive(source, 1))[0].body != b"7777":
            pass


async def test_a_full_server_refuses_the_message_and_tells_why(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic, 1)])
        (delivery,) = await receive(source, 1)
        await raw.config_set("maxmemory", 1)
        try:
            (result,) = await adapter.send([outgoing(topic, 2)])
            later = await source.settle([(delivery, RetryLater(0, outgoing(topic, 1)))])
            await source.receive(1)
        finally:
            await raw.config_set("maxmemory", 0)
        assert "maxmemory" in str(result)
        assert later == [Settled.FAILED]
        assert await source.settle([(delivery, ACK)]) == [Settled.DONE]
