"""Redis Pub/Sub at the seam, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.adapters.redis_seam import (
    BODIES,
    WEIRD,
    confirmed,
    connection,
    numbers,
    opened,
    outgoing,
    reading,
    receive,
    texts,
    unique,
)
from tests.brokers.redis import RedisBroker

from brokerkit._errors import AccessDenied, ConnectionLost, InvalidMessage
from brokerkit._messages._delivery import ACK, RELEASE, RetryLater, Settled
from brokerkit._messages._outgoing import Receipt
from brokerkit.adapters.redis import pubsub
from brokerkit.adapters.redis.pubsub import RedisPubSubAdapter

SCHEME = "redis+pubsub"


@pytest.fixture
async def adapter(redis_broker: RedisBroker) -> AsyncIterator[RedisPubSubAdapter]:
    async with opened(RedisPubSubAdapter(connection(redis_broker.url, SCHEME))) as adapter:
        assert isinstance(adapter, RedisPubSubAdapter)
        yield adapter


async def test_a_message_goes_through_unchanged(adapter: RedisPubSubAdapter) -> None:
    topic = unique()
    async with reading(adapter, topic) as source:
        for body in BODIES:
            message = outgoing(topic, body=body, key="key", headers=WEIRD, content_type="application/json")
            assert await adapter.send([message]) == [Receipt(topic, "id-0", receivers=1)]
            deliveries = await receive(source, 1)
            (delivery,) = deliveries
            assert (delivery.body, delivery.topic, delivery.key, delivery.id) == (body, topic, "key", "id-0")
            assert texts(deliveries) == WEIRD | {"content-type": "application/json"}
            assert (delivery.position, delivery.count) == (None, 0)


async def test_plain_messages_come_as_they_are_and_patterns_tell_the_channel(
    adapter: RedisPubSubAdapter, raw: Any
) -> None:
    topic = unique()
    async with reading(adapter, topic, f"{topic}.*") as source:
        assert await raw.publish(topic, b'{"a": 1}') == 1
        assert await raw.publish(f"{topic}.sub", b"\xff") == 1
        plain, matched = await receive(source, 2)
        assert (plain.body, plain.topic, plain.headers, plain.id) == (b'{"a": 1}', topic, {}, None)
        assert (matched.body, matched.topic) == (b"\xff", f"{topic}.sub")
        assert matched.native == [b"pmessage", f"{topic}.*".encode(), f"{topic}.sub".encode(), b"\xff"]


async def test_every_source_gets_everything_and_nobody_listening_is_no_error(adapter: RedisPubSubAdapter) -> None:
    topic = unique()
    assert await adapter.send([outgoing(topic)]) == [Receipt(topic, "id-0", receivers=0)]
    settings: dict[str, Any] = {"group": "same", "max_in_flight": 2_000}
    async with reading(adapter, topic, **settings) as left, reading(adapter, topic, **settings) as right:
        results = await adapter.send([outgoing(topic, number) for number in range(1_200)])
        assert confirmed(results)
        for source in (left, right):
            got = await receive(source, 1_200)
            assert numbers(got) == list(range(1_200))


async def test_what_does_not_fit_into_the_buffer_is_dropped_and_counted(
    adapter: RedisPubSubAdapter, caplog: pytest.LogCaptureFixture
) -> None:
    topic = unique()
    async with reading(adapter, topic, max_in_flight=10) as source:
        await adapter.send([outgoing(topic, number) for number in range(25)])
        async with asyncio.timeout(20):
            while source.dropped < 15:
                await asyncio.sleep(0)
        assert "10 buffered, 15 dropped, 0 gaps" in repr(source)
        assert len(await source.receive(100)) == 10
        assert caplog.text.count("faster than they are handled") == 1


async def test_everything_settles_and_a_later_retry_is_counted_as_dropped(adapter: RedisPubSubAdapter) -> None:
    topic = unique()
    async with reading(adapter, topic) as source:
        await adapter.send([outgoing(topic, number) for number in range(3)])
        first, second, third = await receive(source, 3)
        outcomes = [(first, ACK), (second, RELEASE), (third, RetryLater(1, outgoing(topic)))]
        assert await source.settle(outcomes) == [Settled.DONE] * 3
        assert await source.extend([first]) == [Settled.DONE]
        assert await source.lag() is None
        assert source.dropped == 1


async def test_stop_returns_a_waiting_receive_at_once(adapter: RedisPubSubAdapter) -> None:
    async with reading(adapter, unique()) as source:
        waiting = asyncio.create_task(source.receive(1))
        await asyncio.sleep(0)
        await source.stop()
        async with asyncio.timeout(pubsub.QUIET / 2):
            assert await waiting == []
        assert await source.receive(1) == []
        assert "stopped" in repr(source)


async def test_a_cut_connection_is_told_counted_and_subscribed_again(adapter: RedisPubSubAdapter, raw: Any) -> None:
    topic = unique()
    async with reading(adapter, topic) as source:
        await adapter.send([outgoing(topic, 1)])
        await raw.client_kill_filter(_type="pubsub")
        # What came before the cut is not lost with it.
        assert [delivery.body for delivery in await receive(source, 1)] == [b"1"]
        with pytest.raises(ConnectionLost):
            await source.receive(1)
        waiting = asyncio.create_task(source.receive(1))
        async with asyncio.timeout(20):
            while (await adapter.send([outgoing(topic, 2)]))[0] == Receipt(topic, "id-2", receivers=0):
                await asyncio.sleep(0.01)
        assert await waiting == []  # only says that the connection is back
        assert [delivery.body for delivery in await receive(source, 1)] == [b"2"]
        assert source.gaps == 1


async def test_a_server_that_falls_silent_is_found_out(
    adapter: RedisPubSubAdapter, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pubsub, "QUIET", 0.7)
    topic = unique()
    async with reading(adapter, topic) as source:
        # Quiet, but alive: it answers.
        for _ in range(3):
            assert await source.receive(1) == []
        await raw.client_pause(5_000)
        with pytest.raises(ConnectionLost, match="no answer"):
            for _ in range(5):
                await source.receive(1)
        await raw.client_unpause()


async def test_a_bad_message_fails_alone(adapter: RedisPubSubAdapter) -> None:
    results = await adapter.send([outgoing("a"), outgoing("a", headers={"x": "\ud800"}), outgoing("a")])
    assert [type(result) for result in results] == [Receipt, InvalidMessage, Receipt]


async def test_errors_are_told_apart(redis_broker: RedisBroker) -> None:
    for url, kind in ((redis_broker.wrong_password_url, AccessDenied), ("redis://127.0.0.1:1", ConnectionLost)):
        adapter = RedisPubSubAdapter(connection(url, SCHEME))
        with pytest.raises(kind):
            await adapter.open()
        (result,) = await adapter.send([outgoing("t")])
        assert isinstance(result, kind)
        await adapter.close()


async def test_opening_and_closing_leaves_no_connection_and_no_task(redis_broker: RedisBroker, raw: Any) -> None:
    before, tasks = len(await raw.client_list()), len(asyncio.all_tasks())
    for _ in range(5):
        async with opened(RedisPubSubAdapter(connection(redis_broker.url, SCHEME))) as adapter:
            async with reading(adapter, unique()) as source:
                pass
            await source.close()
    assert len(asyncio.all_tasks()) == tasks
    async with asyncio.timeout(20):
        while len(await raw.client_list()) > before:
            await asyncio.sleep(0.01)


def test_it_promises_little() -> None:
    promises = RedisPubSubAdapter(connection("redis://h", SCHEME)).capabilities()
    assert not (promises.at_least_once or promises.confirmed_publish or promises.dead_letters or promises.stable_id)
    assert promises.groups == "none"
