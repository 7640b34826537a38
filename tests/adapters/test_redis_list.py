"""Redis lists at the seam, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests import every_broker
from tests.adapters.redis_seam import (
    BODIES,
    WEIRD,
    confirmed,
    connection,
    ignore_lost,
    nothing_comes,
    numbers,
    opened,
    outgoing,
    raw_client,
    reading,
    receive,
    texts,
    unique,
)
from tests.brokers.redis import RedisBroker

from brokerkit import Bus, ConfigError, Retry
from brokerkit._errors import (
    AccessDenied,
    BrokerkitError,
    ConnectionLost,
    InvalidMessage,
    Unroutable,
    UnsupportedFeature,
)
from brokerkit._messages._delivery import ACK, RELEASE, RetryLater, Settled
from brokerkit._messages._outgoing import Receipt
from brokerkit.adapters.api import ReadFrom, Subscription
from brokerkit.adapters.redis import _client
from brokerkit.adapters.redis.list import RedisListAdapter
from brokerkit.events.evenbet import OnPlayerSeatedDown

SCHEME = "redis+list"


@pytest.fixture
async def adapter(redis_broker: RedisBroker) -> AsyncIterator[RedisListAdapter]:
    async with opened(RedisListAdapter(connection(redis_broker.url, SCHEME))) as adapter:
        assert isinstance(adapter, RedisListAdapter)
        yield adapter


@pytest.fixture
async def raw(redis_broker: RedisBroker) -> AsyncIterator[Any]:
    async with raw_client(redis_broker.url) as client:
        yield client


async def keys_of(raw: Any, topic: str) -> set[bytes]:
    return {key async for key in raw.scan_iter(f"*{topic}*")}


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
    lists = every_broker.redis_list(redis_broker)
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
