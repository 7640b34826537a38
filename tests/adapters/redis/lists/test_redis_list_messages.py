"""Writing to Redis lists and reading from either end, at the seam, against a real server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.adapters.redis.lists.seam import SCHEME, keys_of
from tests.adapters.redis_seam import (
    BODIES,
    WEIRD,
    confirmed,
    connection,
    nothing_comes,
    numbers,
    opened,
    outgoing,
    reading,
    receive,
    texts,
    unique,
)
from tests.brokers.redis import RedisBroker

from brokerkit import Bus, ConfigError
from brokerkit._messages._delivery import ACK, RELEASE, RetryLater, Settled
from brokerkit.adapters.api import ReadFrom
from brokerkit.adapters.redis import _client
from brokerkit.adapters.redis.list import RedisListAdapter


async def test_a_message_goes_through_unchanged(adapter: RedisListAdapter, raw: Any) -> None:
    topic = unique()
    async with reading(adapter, topic) as source:
        for body in BODIES:
            message = outgoing(topic, body=body, key="key", headers=WEIRD, content_type="application/json")
            assert confirmed(await adapter.send([message]))
            deliveries = await receive(source, 1)
            (delivery,) = deliveries
            assert (delivery.body, delivery.topic, delivery.key, delivery.id) == (body, topic, "key", "id-0")
            assert texts(deliveries) == WEIRD | {"content-type": "application/json"}
            assert await source.settle([(delivery, ACK)]) == [Settled.DONE]
    assert await keys_of(raw, topic) == set()


async def test_plain_values_come_as_they_are_and_equal_ones_are_told_apart(adapter: RedisListAdapter, raw: Any) -> None:
    topic = unique()
    await raw.rpush(topic, b"same", b"same", b"\xff", b"same")
    async with reading(adapter, topic) as source:
        got = await receive(source, 4)
        assert [delivery.body for delivery in got] == [b"same", b"same", b"\xff", b"same"]
        assert (got[0].headers, got[0].id, got[0].stable_id, got[0].count) == ({}, None, None, 0)
        assert await source.settle([(got[0], ACK), (got[1], RELEASE)]) == [Settled.DONE] * 2
        (again,) = await receive(source, 1)
        assert again.body == b"same"
        assert await source.settle([(each, ACK) for each in (got[2], got[3], again)]) == [Settled.DONE] * 3
        # Settled by now, whoever says so again.
        assert await source.settle([(got[0], ACK)]) == [Settled.LOST]
        assert await nothing_comes(source)


async def test_large_batches_keep_their_order(adapter: RedisListAdapter) -> None:
    topic = unique()
    async with reading(adapter, topic) as source:
        assert confirmed(await adapter.send([outgoing(topic, number) for number in range(1_700)]))
        assert await source.lag() == 1_700
        got = await receive(source, 1_700)
        assert numbers(got) == list(range(1_700))
        assert await source.settle([(delivery, ACK) for delivery in got]) == [Settled.DONE] * 1_700
        assert "0 held" in repr(source)


async def test_members_share_a_list_and_a_source_reads_several(adapter: RedisListAdapter) -> None:
    topics = [unique() for _ in range(3)]
    async with reading(adapter, *topics) as left, reading(adapter, *topics) as right:
        await adapter.send([outgoing(topic, number) for topic in topics for number in range(10)])
        got = [*await receive(left, 15), *await receive(right, 15)]
        assert sorted((d.topic, d.id) for d in got) == sorted((t, f"id-{n}") for t in topics for n in range(10))


@pytest.mark.parametrize("end", ["left", "right"])
async def test_the_oldest_value_is_taken_first_whichever_end_the_producer_pushes_at(
    redis_broker: RedisBroker, raw: Any, end: ReadFrom
) -> None:
    topic = unique()
    push = raw.rpush if end == "left" else raw.lpush
    given = connection(redis_broker.url, SCHEME)
    async with opened(RedisListAdapter(replace(given, read_from=end))) as adapter:
        for number in range(10):
            await push(topic, str(number).encode())
        assert [delivery.body async for delivery in adapter.browse([topic])] == [b"%d" % each for each in range(10)]
        async with reading(adapter, topic, lease=3) as source:
            first = await receive(source, 6)
            assert numbers(first) == [0, 1, 2, 3, 4, 5]
            # Back in any call: what is given back together comes again in its order, before all that was not taken.
            assert await source.settle([(one, RELEASE) for one in first[3:]]) == [Settled.DONE] * 3
            assert await source.settle([(one, ACK) for one in first[:3]]) == [Settled.DONE] * 3
            (again,) = await receive(source, 1)
            assert numbers([again]) == [3]
            assert await source.settle([(again, RetryLater(0.1, outgoing(topic, 3)))]) == [Settled.DONE]
            await asyncio.sleep(0.2)
            source._tick_at = 0.0  # look for what is due now
            assert confirmed(await adapter.send([outgoing(topic, 10)]))
            rest = await receive(source, 8)
            assert numbers(rest) == [3, 4, 5, 6, 7, 8, 9, 10]
        # The source closed with them in hand: they are back, in order.
        async with reading(adapter, topic, lease=3) as source:
            assert numbers(await receive(source, 8)) == [3, 4, 5, 6, 7, 8, 9, 10]
            (blocked,) = await asyncio.gather(receive_after_push(source, push, topic))
            assert blocked == b"11"


async def receive_after_push(source: Any, push: Any, topic: str) -> bytes | None:
    waiting = asyncio.ensure_future(receive(source, 1))
    await asyncio.sleep(0.1)
    await push(topic, b"11")
    (delivery,) = await waiting
    body: bytes | None = delivery.body
    return body


def test_the_end_to_read_from_is_for_lists_alone() -> None:
    for url in ("redis://localhost", "redis+pubsub://localhost", "kafka://localhost", "memory://"):
        with pytest.raises(ConfigError, match="read_from is for Redis lists"):
            Bus(url, topic="t", group="g", read_from="left")
    with pytest.raises(ConfigError, match="read_from"):
        Bus("redis+list://localhost?read_from=head", topic="t")
    Bus("rediss+list://localhost?read_from=right", topic="t")


async def test_a_source_of_a_thousand_lists_asks_little_and_takes_from_each(
    adapter: RedisListAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    stem, turns, converse = unique(), 0, _client._converse
    topics = [f"{stem}-{number}" for number in range(1_000)]

    async def counted(*arguments: Any) -> list[Any]:
        nonlocal turns
        turns += 1
        return await converse(*arguments)

    async with reading(adapter, *topics) as source, asyncio.timeout(60):
        assert await source.receive(100) == []
        monkeypatch.setattr(_client, "_converse", counted)
        begun = asyncio.get_running_loop().time()
        for _ in range(10):
            assert await source.receive(100) == []
        seconds = asyncio.get_running_loop().time() - begun
        # A wait of a fifth of a second and a look at all lists each time; beside them retries twice a second, a sweep and a
        # sign of life.
        assert turns <= 10 * (1 + 4) + (2 * seconds + 1) * 4 + 2 * 5 * (1 + seconds / 10)
        assert confirmed(await adapter.send([outgoing(topics[number], number) for number in (0, 500, 999)]))
        got = await receive(source, 3)
        assert sorted(numbers(got)) == [0, 500, 999]
        (later, *rest) = got
        copy = outgoing(later.topic, 7, headers={"copy": "1"})
        pairs = [(later, RetryLater(0.3, copy)), *((one, ACK) for one in rest)]
        assert await source.settle(pairs) == [Settled.DONE] * 3
        (again,) = await receive(source, 1)
        assert (again.topic, numbers([again])) == (later.topic, [7])
        assert await source.settle([(again, ACK)]) == [Settled.DONE]
