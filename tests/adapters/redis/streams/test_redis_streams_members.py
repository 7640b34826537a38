"""Members of a group of Redis Streams, and sources of many streams, at the seam, against a real server."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from tests.adapters.redis.streams.seam import ALL, made
from tests.adapters.redis_seam import confirmed, has_lag, numbers, outgoing, raw_client, reading, receive, unique
from tests.brokers.redis import RedisBroker

from brokerkit._errors import ConnectionLost
from brokerkit._messages._delivery import ACK, RetryLater, Settled
from brokerkit.adapters.redis import _client
from brokerkit.adapters.redis.streams import RedisStreamsAdapter


async def test_stale_consumers_of_ours_are_forgotten_and_others_kept(
    adapter: RedisStreamsAdapter, raw: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    topic = await made(adapter)
    await raw.xgroup_create(topic, "g", "0")
    await raw.xgroup_createconsumer(topic, "g", "brokerkit-dead")
    await raw.xgroup_createconsumer(topic, "g", "somebody-else")
    monkeypatch.setattr("brokerkit.adapters.redis._stream_source.STALE", -1)
    async with reading(adapter, topic, **ALL):
        names = {consumer["name"] for consumer in await raw.xinfo_consumers(topic, "g")}
        assert names == {b"somebody-else"}


async def test_a_source_of_a_thousand_topics_asks_little_and_hears_each_at_once(
    adapter: RedisStreamsAdapter, redis_broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stem, turns, converse = unique(), 0, _client._converse
    topics = [f"{stem}-{number}" for number in range(1_000)]

    async def counted(*arguments: Any) -> list[Any]:
        nonlocal turns
        turns += 1
        return await converse(*arguments)

    async with reading(adapter, *topics, provision="all", group="g") as source:
        async with asyncio.timeout(60):
            for _ in range(3):
                assert await source.receive(100) == []
            monkeypatch.setattr(_client, "_converse", counted)
            begun = asyncio.get_running_loop().time()
            for _ in range(5):
                assert await source.receive(100) == []
            seconds = asyncio.get_running_loop().time() - begun
        # Five reads that block for a second at most; beside them two looks a second at all topics, and a sweep.
        assert turns <= 5 + (2 * seconds + 1) * 4 + 2 * 8 * (1 + seconds / 10)
        for number in (0, 500, 999):
            assert confirmed(await adapter.send([outgoing(topics[number], number)]))
            (delivery,) = await receive(source, 1)
            assert (delivery.topic, numbers([delivery])) == (topics[number], [number])
            assert await source.settle([(delivery, ACK)]) == [Settled.DONE]
        async with raw_client(redis_broker.url) as raw:
            assert int((await raw.info("clients"))["connected_clients"]) < 60
            await raw.delete(*[key async for key in raw.scan_iter(f"*{stem}-*", count=10_000)])


async def test_few_slots_take_turns_among_many_topics_and_are_never_exceeded(adapter: RedisStreamsAdapter) -> None:
    topics = [unique() for _ in range(40)]
    async with reading(adapter, *topics, provision="all", group="g", lease=2) as source:
        assert await source.receive(7) == []
        batch = [outgoing(topic, number) for number, topic in enumerate(topics)]
        waiting = asyncio.ensure_future(source.receive(7))
        await asyncio.sleep(0.2)
        assert confirmed(await adapter.send(batch * 3))
        got = list(await waiting)
        seen = sorted(numbers(got))
        async with asyncio.timeout(60):
            while len(seen) < 3 * len(topics):
                assert await source.settle([(one, ACK) for one in got]) == [Settled.DONE] * len(got)
                got = list(await source.receive(7))
                assert len(got) <= 7
                seen += numbers(got)
        assert sorted(seen) == sorted([*range(len(topics))] * 3)


async def test_what_live_members_hold_is_not_gone_through_to_find_what_can_be_claimed(
    adapter: RedisStreamsAdapter, raw: Redis
) -> None:
    async def claims() -> int:
        return int((await raw.info("commandstats")).get("cmdstat_xautoclaim", {"calls": 0})["calls"])

    busy, other = await made(adapter), await made(adapter)
    held = [outgoing(busy, number) for number in range(2_000)]
    assert confirmed(await adapter.send([*held, outgoing(other, 7)]))
    for topic in (busy, other):
        await raw.xgroup_create(topic, "g", "0")
        await raw.xreadgroup("g", "somebody-else", {topic: ">"}, count=2_000)
    (pending,) = await raw.xpending_range(other, "g", "-", "+", 1)
    await raw.xclaim(other, "g", "dead", 0, [pending["message_id"]], idle=3_600_000)
    before = await claims()
    async with reading(adapter, busy, other, **ALL, lease=1_800) as source:
        assert numbers(await receive(source, 1)) == [7]
    # XAUTOCLAIM goes through ten entries for each that it may claim: it would take 20 to see what is held.
    assert await claims() - before < 10


async def test_what_was_taken_before_a_connection_broke_is_handed_out_afterwards(
    adapter: RedisStreamsAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = [unique() for _ in range(2)]
    async with reading(adapter, *topics, provision="all", group="g", lease=0.5) as dead:
        assert confirmed(await adapter.send([outgoing(topic, number) for number, topic in enumerate(topics)]))
        await receive(dead, 2)
        call, claimed = adapter._client.call, 0

        async def broken(*command: Any, **options: Any) -> Any:
            nonlocal claimed
            if command[0] == "XAUTOCLAIM" and claimed == 1:  # the first stream's entry, which nobody has got yet
                claimed += 1
                raise RedisConnectionError("cut")
            answer = await call(*command, **options)
            claimed += command[0] == "XAUTOCLAIM" and bool(answer[1])
            return answer

        async with reading(adapter, *topics, provision="all", group="g", lease=0.5) as heir:
            monkeypatch.setattr(adapter._client, "call", broken)
            with pytest.raises(ConnectionLost):
                await receive(heir, 2)
            # Not after a lease, by whoever claims it then: now.
            assert numbers(await heir.receive(2)) == [0]
            assert numbers(await receive(heir, 1)) == [1]


async def test_what_another_member_put_off_and_moved_is_found_when_that_one_is_gone(
    adapter: RedisStreamsAdapter, raw: Any
) -> None:
    topics = [unique() for _ in range(3)]
    async with reading(adapter, *topics, provision="all", group="g", lease=2) as source:
        async with reading(adapter, *topics, provision="all", group="g", lease=2) as other:
            assert confirmed(await adapter.send([outgoing(topics[1], 1)]))
            (delivery,) = await receive(other, 1)
            copy = outgoing(topics[1], 1, headers={"copy": "1"})
            assert await other.settle([(delivery, RetryLater(0.5, copy))]) == [Settled.DONE]
        (again,) = await receive(source, 1)
        assert (again.topic, again.headers) == (topics[1], {"copy": b"1"})
        assert await source.settle([(again, ACK)]) == [Settled.DONE]
        assert await has_lag(source, raw, 0)
