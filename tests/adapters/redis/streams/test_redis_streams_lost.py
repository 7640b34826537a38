"""Connections, streams and entries of Redis that are gone, at the seam, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.exceptions import ResponseError
from tests.adapters.redis.streams.seam import ALL, made
from tests.adapters.redis_seam import nothing_comes, numbers, outgoing, reading, receive
from tests.brokers.redis import RedisBroker

from brokerkit._errors import ConnectionLost, NotFound
from brokerkit._messages._delivery import ACK, RELEASE, RetryLater, Settled
from brokerkit.adapters.redis.streams import RedisStreamsAdapter


async def test_a_cut_connection_loses_nothing_and_repeats_nothing_held(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic, 1)])
        (held,) = await receive(source, 1)
        # Entries whose answer never arrived: pending with this consumer, never handed out.
        await adapter.send([outgoing(topic, 2), outgoing(topic, 3)])
        (consumer,) = [each["name"] for each in await raw.xinfo_consumers(topic, "g")]
        await raw.xreadgroup("g", consumer, {topic: ">"})
        waiting = asyncio.create_task(source.receive(10))
        while not waiting.done():
            await asyncio.sleep(0.01)
            await raw.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(ConnectionLost):
            await waiting
        assert "not connected" in repr(source)
        await adapter.send([outgoing(topic, 4)])
        got = await receive(source, 3)
        assert [delivery.body for delivery in got] == [b"2", b"3", b"4"]
        assert await source.settle([(held, ACK)] + [(delivery, ACK) for delivery in got]) == [Settled.DONE] * 4


async def test_a_broker_restart_in_the_middle_loses_nothing(
    adapter: RedisStreamsAdapter, redis_broker: RedisBroker
) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic, number) for number in range(10)])
        first = await receive(source, 5)
        await asyncio.to_thread(redis_broker.restart)
        with pytest.raises(ConnectionLost):
            while True:
                first += await source.receive(1)
        rest = await receive(source, 10 - len(first))
        assert numbers(first + rest) == list(range(10))
        assert await source.settle([(delivery, ACK) for delivery in first + rest]) == [Settled.DONE] * 10


async def test_a_deleted_stream_is_made_again_with_a_warning(
    adapter: RedisStreamsAdapter, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, group="g", start="latest") as source:
        await adapter.send([outgoing(topic, 1)])
        (gone,) = await receive(source, 1)
        waiting = asyncio.create_task(source.receive(1))
        await asyncio.sleep(0.1)
        await raw.delete(topic)
        await waiting
        await raw.xadd(topic, {"data": "after"})
        (delivery,) = await receive(source, 1)
        assert delivery.body == b"after"
        assert "was deleted" in caplog.text
        assert await source.settle([(gone, ACK)]) == [Settled.DONE]
        assert await source.extend([gone]) == [Settled.LOST]


async def test_a_deleted_stream_ends_a_source_that_may_create_nothing(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, group="g"):
        pass
    async with reading(adapter, topic, group="g", provision="check") as source:
        await raw.delete(topic)
        with pytest.raises(NotFound, match="is gone"):
            await source.receive(1)


async def test_vanished_entries_do_not_stick(
    adapter: RedisStreamsAdapter, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL, lease=0.2) as source:
        await adapter.send([outgoing(topic, 1), outgoing(topic, 2)])
        trimmed, _ = await receive(source, 2)
        await raw.xdel(topic, trimmed.position)
        async with reading(adapter, topic, **ALL, lease=0.2) as heir:
            assert [delivery.body for delivery in await receive(heir, 1)] == [b"2"]
            # Before 7.0 the server does not say which entry is gone: it is found in the history.
            async with asyncio.timeout(10):
                while (await raw.xpending(topic, "g"))["pending"] != 1:
                    assert await heir.receive(1) == []
        assert "1 entries" in caplog.text


async def delete_with_references(raw: Any, topic: str, *positions: bytes) -> None:
    """Have entries gone from the stream and from what is pending, as XTRIM with DELREF does from Redis 8.2 on."""
    try:
        await raw.execute_command("XDELEX", topic, "DELREF", "IDS", len(positions), *positions)
    except ResponseError:
        await raw.xack(topic, "g", *positions)
        await raw.xdel(topic, *positions)


async def delete(raw: Any, topic: str, *positions: bytes) -> None:
    await raw.xdel(topic, *positions)


@pytest.mark.parametrize("gone", [delete, delete_with_references])
async def test_what_is_trimmed_while_it_is_held_stays_ours_and_is_kept(
    adapter: RedisStreamsAdapter, raw: Any, gone: Callable[..., Awaitable[None]]
) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic, number, headers={"h": "v"}) for number in range(4)])
        held = await receive(source, 4)
        acked, failed, released, taken = held
        await gone(raw, topic, *(delivery.position for delivery in (acked, failed, released)))
        # From 7.0 on, extending drops a deleted entry from what is pending: only the second time finds nothing.
        for _ in range(2):
            assert await source.extend(held) == [Settled.DONE] * 4
        await raw.xack(topic, "g", taken.position)
        outcomes = [(acked, ACK), (failed, RetryLater(0, outgoing(topic, 1))), (released, RELEASE), (taken, RELEASE)]
        assert await source.settle(outcomes) == [*[Settled.DONE] * 3, Settled.LOST]
        again = await receive(source, 2)
        assert sorted(numbers(again)) == [1, 2]
        assert {delivery.headers.get("h") for delivery in again} == {None, b"v"}
        assert await source.settle([(delivery, ACK) for delivery in again]) == [Settled.DONE] * 2
        assert await nothing_comes(source)
