"""What becomes of entries of Redis Streams that are acknowledged, released, retried or left, at the seam."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.adapters.redis.streams.seam import ALL, made
from tests.adapters.redis_seam import confirmed, has_lag, nothing_comes, numbers, outgoing, reading, receive, texts

from brokerkit._messages._delivery import ACK, RELEASE, RetryLater, Settled
from brokerkit.adapters._derived_names import derived_name
from brokerkit.adapters.redis._client import NAME_STYLE
from brokerkit.adapters.redis.streams import RedisStreamsAdapter


async def test_two_groups_get_everything_and_two_members_share(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with (
        reading(adapter, topic, group="one") as left,
        reading(adapter, topic, group="one") as right,
        reading(adapter, topic, group="two") as other,
    ):
        assert confirmed(await adapter.send([outgoing(topic, number) for number in range(10)]))
        shared = [*await left.receive(5), *await right.receive(5)]
        assert sorted(numbers(shared)) == list(range(10))
        assert len(await receive(other, 10)) == 10


async def test_an_unacknowledged_entry_of_a_dead_member_is_taken_over_and_counted(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL, lease=0.4) as dead:
        await adapter.send([outgoing(topic, 1), outgoing(topic, 2)])
        done, _ = await receive(dead, 2)
        await dead.settle([(done, ACK)])
        async with reading(adapter, topic, **ALL, lease=0.4) as heir:
            (again,) = await receive(heir, 1)
            assert (again.body, again.count) == (b"2", 2)
            await heir.settle([(again, ACK)])
            assert await nothing_comes(heir)


async def test_extending_keeps_a_delivery_and_tells_when_it_is_lost(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL, lease=3) as owner, reading(adapter, topic, **ALL, lease=3) as other:
        await adapter.send([outgoing(topic)])
        (delivery,) = await receive(owner, 1)
        for _ in range(4):
            assert await owner.extend([delivery]) == [Settled.DONE]
            assert await other.receive(1) == []  # Each read waits for a second.
        (taken,) = await receive(other, 1)
        assert await owner.extend([delivery]) == [Settled.LOST]
        assert await owner.settle([(delivery, RELEASE)]) == [Settled.LOST]
        # Asking did not steal it back.
        assert await other.extend([taken]) == [Settled.DONE]


async def test_released_entries_go_to_another_member_at_its_next_sweep_uncounted(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL, lease=600) as leaving:
        await adapter.send([outgoing(topic, number) for number in range(3)])
        got = await receive(leaving, 3)
        assert await leaving.settle([(delivery, RELEASE) for delivery in got]) == [Settled.DONE] * 3
        async with reading(adapter, topic, **ALL, lease=600) as other:
            again = await receive(other, 3)
            assert numbers(again) == [0, 1, 2]
            assert [delivery.count for delivery in again] == [1, 1, 1]


async def test_a_retry_comes_when_it_is_due_with_the_headers_of_its_copy(
    adapter: RedisStreamsAdapter, raw: Any
) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic, 1)])
        (delivery,) = await receive(source, 1)
        copy = outgoing(
            topic, 1, body=bytes(range(256)), headers={"bk-failures": "1", "data": "x"}, id="copy-1", key="k"
        )
        start = asyncio.get_running_loop().time()
        assert await source.settle([(delivery, RetryLater(1.0, copy))]) == [Settled.DONE]
        assert (await raw.xpending(topic, "g"))["pending"] == 0
        assert await has_lag(source, raw, 1)
        (again,) = await receive(source, 1)
        assert 0.9 < asyncio.get_running_loop().time() - start < 9
        assert (again.body, again.topic, again.key, again.id) == (bytes(range(256)), topic, b"k", "copy-1")
        assert texts([again]) == {"bk-failures": "1", "data": "x"}
        # A retry can be retried, released and acknowledged like anything else.
        assert await source.settle([(again, RetryLater(0, copy))]) == [Settled.DONE]
        (again,) = await receive(source, 1)
        assert await source.settle([(again, RELEASE)]) == [Settled.DONE]
        (again,) = await receive(source, 1)
        assert await source.settle([(again, ACK)]) == [Settled.DONE]
        assert await raw.xlen(derived_name(topic, "g", "retry", NAME_STYLE)) == 0
        assert await has_lag(source, raw, 0)


async def test_a_waiting_retry_outlives_its_process_and_stays_in_its_group(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, group="other") as other:
        async with reading(adapter, topic, **ALL) as source:
            await adapter.send([outgoing(topic, 1)])
            (delivery,) = await receive(source, 1)
            await source.settle([(delivery, RetryLater(0.2, outgoing(topic, 1)))])
        async with reading(adapter, topic, **ALL) as heir:
            assert [delivery.body for delivery in await receive(heir, 1)] == [b"1"]
        assert len(await receive(other, 1)) == 1
        assert await nothing_comes(other)


async def test_settling_twice_is_harmless_and_a_late_retry_is_lost(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic)])
        (delivery,) = await receive(source, 1)
        assert await source.settle([(delivery, ACK), (delivery, ACK)]) == [Settled.DONE] * 2
        assert await source.settle([(delivery, RetryLater(0, outgoing(topic)))]) == [Settled.LOST]
        assert await nothing_comes(source)


async def test_a_retry_that_cannot_be_written_fails_and_the_entry_stays(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic)])
        (delivery,) = await receive(source, 1)
        broken = RetryLater(0, outgoing(topic, headers={"a": "\ud800"}))
        assert await source.settle([(delivery, broken)]) == [Settled.FAILED]
        assert (await raw.xpending(topic, "g"))["pending"] == 1


async def test_stop_returns_a_waiting_receive_at_once(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        waiting = asyncio.create_task(source.receive(1))
        while not waiting.done():  # The read has to be under way before it can be ended.
            await asyncio.sleep(0.01)
            await source.stop()
        assert await waiting == []
        assert await source.receive(1) == []
        assert "stopping" in repr(source)


async def test_deliveries_can_be_settled_after_stop(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic)])
        (delivery,) = await receive(source, 1)
        await source.stop()
        assert await source.settle([(delivery, ACK)]) == [Settled.DONE]
    assert (await raw.xpending(topic, "g"))["pending"] == 0
    assert await raw.xinfo_consumers(topic, "g") == []


async def test_a_member_that_leaves_entries_behind_keeps_its_consumer(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic)])
        await receive(source, 1)
    assert [consumer["pending"] for consumer in await raw.xinfo_consumers(topic, "g")] == [1]
