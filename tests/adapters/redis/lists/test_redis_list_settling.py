"""What becomes of the values of Redis lists that are released, retried or left, at the seam, against a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests import every_broker, every_redis
from tests.adapters.redis.lists.seam import keys_of
from tests.adapters.redis_seam import numbers, outgoing, reading, receive, texts, unique
from tests.brokers.redis import RedisBroker

from brokerkit import Retry
from brokerkit._errors import ConnectionLost
from brokerkit._messages._delivery import ACK, RELEASE, RetryLater, Settled
from brokerkit.adapters.redis.list import RedisListAdapter
from brokerkit.events.evenbet import OnPlayerSeatedDown


async def test_released_values_come_first_again_in_their_order(adapter: RedisListAdapter) -> None:
    topic = unique()
    async with reading(adapter, topic) as leaving, reading(adapter, topic) as other:
        await adapter.send([outgoing(topic, number) for number in range(5)])
        got = await receive(leaving, 3)
        assert await leaving.settle([(delivery, RELEASE) for delivery in got]) == [Settled.DONE] * 3
        assert [delivery.body for delivery in await receive(other, 5)] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_dead_members_values_are_taken_over_in_order(
    adapter: RedisListAdapter, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    topic = unique()
    async with reading(adapter, topic, lease=2) as dead, reading(adapter, topic, lease=2) as heir:
        await adapter.send([outgoing(topic, number) for number in range(4)])
        held = await receive(dead, 3)
        assert [delivery.body for delivery in await receive(heir, 4)] == [b"3", b"0", b"1", b"2"]
        assert "took over 3 values" in caplog.text
        # The one that was only slow learns of it, and harms nobody.
        assert await dead.extend(held) == [Settled.LOST] * 3
        assert await dead.settle([(held[0], ACK)]) == [Settled.LOST]
        await adapter.send([outgoing(topic, 9)])
        (fresh,) = await receive(dead, 1)
        assert await dead.extend([fresh]) == [Settled.DONE]
        assert await dead.settle([(fresh, ACK)]) == [Settled.DONE]


async def test_extending_keeps_deliveries_from_being_taken_over(adapter: RedisListAdapter) -> None:
    topic = unique()
    async with reading(adapter, topic, lease=3) as owner, reading(adapter, topic, lease=3) as other:
        await adapter.send([outgoing(topic)])
        (delivery,) = await receive(owner, 1)
        for _ in range(4):
            assert await owner.extend([delivery]) == [Settled.DONE]
            assert await other.receive(1) == []  # Each read waits for a second.
        assert await owner.settle([(delivery, ACK)]) == [Settled.DONE]


async def test_a_retry_comes_when_it_is_due_with_the_headers_of_its_copy(adapter: RedisListAdapter, raw: Any) -> None:
    topic = unique()
    async with reading(adapter, topic) as source:
        await adapter.send([outgoing(topic, 1), outgoing(topic, 1)])
        got = await receive(source, 2)
        copy = outgoing(topic, 1, body=bytes(range(256)), headers={"bk-failures": "1"})
        start = asyncio.get_running_loop().time()
        # Equal copies are two messages.
        assert await source.settle([(delivery, RetryLater(1.0, copy)) for delivery in got]) == [Settled.DONE] * 2
        assert await source.lag() == 2
        again = await receive(source, 2)
        assert 0.9 < asyncio.get_running_loop().time() - start < 9
        assert [delivery.body for delivery in again] == [bytes(range(256))] * 2
        assert texts(again[:1]) == {"bk-failures": "1"}
        assert await source.settle([(delivery, ACK) for delivery in again]) == [Settled.DONE] * 2
        broken = RetryLater(0, outgoing(topic, headers={"a": "\ud800"}))
        assert await source.settle([(got[0], RetryLater(0, copy)), (got[0], broken)]) == [Settled.LOST, Settled.FAILED]
        assert await source.lag() == 0


async def test_a_cut_connection_loses_nothing_and_repeats_nothing_held(adapter: RedisListAdapter, raw: Any) -> None:
    topic = unique()
    async with reading(adapter, topic) as source:
        await adapter.send([outgoing(topic, 1)])
        (held,) = await receive(source, 1)
        # A value that was moved, and whose answer never arrived.
        (taken,) = [key for key in await keys_of(raw, topic) if await raw.type(key) == b"list"]
        await raw.rpush(taken, b"2")
        waiting = asyncio.create_task(source.receive(10))
        while not waiting.done():
            await asyncio.sleep(0.01)
            await raw.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(ConnectionLost):
            await waiting
        await raw.rpush(topic, b"3")
        got = await receive(source, 2)
        assert [delivery.body for delivery in got] == [b"2", b"3"]
        assert await source.settle([(delivery, ACK) for delivery in [held, *got]]) == [Settled.DONE] * 3


async def test_a_broker_restart_in_the_middle_loses_nothing(
    adapter: RedisListAdapter, redis_broker: RedisBroker
) -> None:
    topic = unique()
    async with reading(adapter, topic) as source:
        await adapter.send([outgoing(topic, number) for number in range(10)])
        first = await receive(source, 5)
        await asyncio.to_thread(redis_broker.restart)
        with pytest.raises(ConnectionLost):
            while True:
                first += await source.receive(1)
        rest = await receive(source, 10 - len(first))
        assert sorted(numbers(first + rest)) == list(range(10))
        assert await source.settle([(delivery, ACK) for delivery in first + rest]) == [Settled.DONE] * 10


async def test_stop_returns_a_waiting_receive_and_settling_still_works(adapter: RedisListAdapter) -> None:
    topic = unique()
    async with reading(adapter, topic) as source:
        await adapter.send([outgoing(topic)])
        (delivery,) = await receive(source, 1)
        waiting = asyncio.create_task(source.receive(1))
        while not waiting.done():
            await asyncio.sleep(0.01)
            await source.stop()
        assert await waiting == []
        assert await source.receive(1) == []
        assert await source.settle([(delivery, ACK)]) == [Settled.DONE]


async def test_what_is_not_settled_at_close_is_there_for_the_next_member(adapter: RedisListAdapter, raw: Any) -> None:
    topic = unique()
    async with reading(adapter, topic, lease=600) as source:
        await adapter.send([outgoing(topic, number) for number in range(3)])
        await receive(source, 2)
    assert await keys_of(raw, topic) == {topic.encode()}
    async with reading(adapter, topic) as heir:
        assert [delivery.body for delivery in await receive(heir, 3)] == [b"0", b"1", b"2"]


async def test_after_a_stop_a_message_that_was_held_still_comes_before_those_of_its_key(
    redis_broker: RedisBroker,
) -> None:
    lists = every_redis.redis_list(redis_broker)
    bus = lists.bus(order="strict")

    @bus.on("*")
    async def fail(event: Any) -> None:
        raise Retry(after=60)

    async with bus:
        await bus.publish_many([OnPlayerSeatedDown(player_id=number) for number in range(3)], key="k")
        async with bus.serving():
            stats = bus.stats["bus"]
            await every_broker.until(lambda: stats.received == 3 and stats.retried == 1)
    recorder = every_broker.Recorder().record()
    async with recorder.serving(lists.bus(order="strict")):
        got = await recorder.wait_for(3)
    assert [event.player_id for _, event, _ in got] == [0, 1, 2]


@pytest.mark.parametrize("executed", [True, False])
async def test_a_settlement_whose_answer_was_lost_takes_no_equal_value_with_it(
    adapter: RedisListAdapter, raw: Any, monkeypatch: pytest.MonkeyPatch, executed: bool
) -> None:
    """The connection breaks after an acknowledgement and a read: an equal value was moved that nobody has seen."""
    topic = unique()
    await raw.rpush(topic, b"5 EUR")
    async with reading(adapter, topic) as source:
        (first,) = await receive(source, 1)
        [held] = source._lists
        pipeline = adapter._client.pipeline

        async def broken(commands: Any) -> list[Any]:
            if executed:
                await pipeline(commands)
            return [ConnectionError("the answer was lost") for _ in commands]

        with monkeypatch.context() as patched:
            patched.setattr(adapter._client, "pipeline", broken)
            assert await source.settle([(first, ACK)]) == [Settled.FAILED]
            assert await source.settle([(first, ACK)]) == [Settled.FAILED]
        await raw.rpush(held.taken(source._member), b"5 EUR")
        assert await source.settle([(first, ACK)]) == [Settled.DONE]
        held.missing = True  # as after a broken read
        (second,) = await receive(source, 1)
        assert await source.settle([(second, ACK)]) == [Settled.DONE]
        assert held.held.total() == 0
        assert await raw.llen(held.taken(source._member)) == 0
    assert not [key for key in await keys_of(raw, topic) if b"taken" in key]
