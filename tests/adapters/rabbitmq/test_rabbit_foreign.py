"""Queues and exchanges that somebody else has made, and walks through dead letters, at the seam, on a real broker."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from tests.adapters.rabbitmq.seam import (
    TIMEOUT,
    Bench,
    bodies,
    gives_back_freely,
    outgoing,
    reconnected,
    send,
    settle,
    take,
    waiting,
)

from brokerkit._errors import NotFound, UnsupportedFeature
from brokerkit._messages._delivery import RELEASE, Delivery, RetryLater
from brokerkit.adapters.rabbitmq import _cursor
from brokerkit.adapters.rabbitmq._cursor import RabbitCursor


async def fetch(cursor: RabbitCursor, count: int) -> list[Delivery]:
    """Fetch exactly so many."""
    found: list[Delivery] = []
    async with asyncio.timeout(TIMEOUT):
        while len(found) < count:
            found += await cursor.fetch(count - len(found))
    return found


@pytest.mark.parametrize("kind", ["quorum", "classic"])
async def test_an_existing_queue_is_read_as_it_is(bench: Bench, kind: str) -> None:
    queue, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": kind, "x-max-length": 1000})
    source = await bench.source(adapter, queue, is_queue=True, group=None, provision="group")
    await channel.default_exchange.publish(aio_pika.Message(b"1"), routing_key=queue)
    [one] = await take(source, 1)
    await settle(source, [one], RetryLater(1, outgoing(queue, body=b"2")))
    [again] = await take(source, 1)
    assert (again.body, again.topic, again.routing_key, again.count) == (b"2", queue, queue, 1)
    await settle(source, [again], RELEASE)
    [third] = await take(source, 1)
    assert third.count == (0 if kind == "classic" else 1 if gives_back_freely(third) else 2)


async def test_a_message_of_a_connection_that_broke_counts_as_delivered(bench: Bench) -> None:
    proxy, url = await bench.proxy()
    topic, adapter = bench.topic(), await bench.adapter(url)
    source = await bench.source(adapter, topic)
    await send(adapter, outgoing(topic))
    [one] = await take(source, 1)
    assert one.count == 1
    proxy.cut()
    [again] = await reconnected(source, 1)
    assert again.count == 2


async def test_limits_of_a_queue_of_somebody_else_are_told_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    queue, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    arguments: dict[str, Any] = {
        "x-queue-type": "quorum", "x-delivery-limit": 5, "x-message-ttl": 60_000, "x-max-length": 9, "x-expires": 90_000
    }  # fmt: skip
    await channel.declare_queue(queue, durable=True, arguments=arguments)
    for _ in range(2):
        await (await bench.source(adapter, queue, is_queue=True, group=None, max_deliveries=25)).close()
        told = [record.getMessage() for record in caplog.records if queue in record.getMessage()]
        caplog.clear()
        assert [name for text in told for name in arguments if f"({name}" in text] == [*arguments][1:]


async def test_dead_letters_are_kept_in_a_queue_and_can_be_read(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    name = adapter.derived(topic, "wallet", "dlq")
    with pytest.raises(NotFound, match=name):
        await adapter.ensure([name], is_queue=True, create=False)
    for _ in range(2):
        await adapter.ensure([name], is_queue=True, create=True)
    await send(adapter, outgoing(name, is_queue=True, routing_key="poker.done"))
    source = await bench.source(adapter, name, is_queue=True, group=None, provision="check", open=False)
    with pytest.raises(NotFound, match="retry"):
        await source.open()
    source = await bench.source(adapter, name, is_queue=True, group=None, provision="group")
    [one] = await take(source, 1)
    assert one.routing_key == "poker.done"


@pytest.mark.parametrize("looked_at", [2_500, 1_300], ids=["to the end", "up to a limit"])
async def test_a_walk_keeps_one_window_on_a_channel_and_gives_the_windows_back_in_order(
    bench: Bench, looked_at: int
) -> None:
    adapter = await bench.adapter()
    name = adapter.derived(bench.topic(), "wallet", "dlq")
    await adapter.ensure([name], is_queue=True, create=True)
    await send(adapter, *(outgoing(name, is_queue=True, body=b"%d" % number) for number in range(2_500)))
    cursor = adapter.cursor(name)
    await cursor.open()
    found: list[Delivery] = []
    while len(found) < looked_at:
        batch = await cursor.fetch(min(500, looked_at - len(found)))
        await cursor.remove([one for one in batch if int(one.body or b"") % 10 == 0])
        found += batch
    assert sorted(int(one.body or b"") for one in found) == list(range(looked_at))
    kept = {int(one.body or b""): id(one.native.channel) for one in found if int(one.body or b"") % 10}
    sizes = Counter(kept.values())  # in the order of the windows
    assert max(sizes.values()) <= 1_000
    assert len(sizes) == -(-looked_at * 9 // 10 // 1_000)
    await cursor.close()
    left = [number for number in range(2_500) if number % 10 or number >= looked_at]
    async with asyncio.timeout(TIMEOUT):
        while True:  # the broker gives back what a channel held after it has closed it
            again = adapter.cursor(name)
            await again.open()
            if again.unseen == len(left):
                break
            await again.close()
    numbers = [int(one.body or b"") for one in await fetch(again, len(left))]
    assert sorted(numbers) == left
    # Of one refusal, the broker gives the messages back in any order.
    order = list(sizes)  # the last window also holds what was not looked at
    windows = [order.index(kept.get(number, order[-1])) for number in numbers]
    assert windows == sorted(windows)
    assert again.unseen == 0
    await again.close()


async def test_a_walk_through_more_messages_than_its_channels_can_hold_takes_larger_windows(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cursor, "_WINDOW", 10)
    monkeypatch.setattr(_cursor, "_MOST_CHANNELS", 3)
    adapter = await bench.adapter()
    name = adapter.derived(bench.topic(), "wallet", "dlq")
    await adapter.ensure([name], is_queue=True, create=True)
    await send(adapter, *(outgoing(name, is_queue=True, body=b"%d" % number) for number in range(100)))
    cursor = adapter.cursor(name)
    await cursor.open()
    found = await fetch(cursor, 100)
    assert sorted(Counter(id(one.native.channel) for one in found).values()) == [32, 34, 34]
    await cursor.close()
    await waiting(bench, name, 100)


@pytest.mark.parametrize("kind", ["fanout", "headers"])
async def test_exchanges_of_other_types_are_read(bench: Bench, kind: str) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    exchange = await channel.declare_exchange(topic, kind, auto_delete=True)
    await adapter.ensure([topic], is_queue=False, create=True)
    source = await bench.source(adapter, topic, provision="group")
    await exchange.publish(aio_pika.Message(b"x"), routing_key="any")
    assert bodies(await take(source, 1)) == [b"x"]


async def test_a_direct_exchange_is_refused_instead_of_staying_silent(bench: Bench) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    await channel.declare_exchange(topic, "direct", auto_delete=True)
    for broadcast in (False, True):
        with pytest.raises(UnsupportedFeature, match="queue="):
            await bench.source(adapter, topic, provision="group", broadcast=broadcast)


async def test_the_brokers_own_exchange_can_be_a_topic(bench: Bench) -> None:
    adapter, group = await bench.adapter(), uuid4().hex
    source = await bench.source(adapter, "amq.topic", group=group)
    await send(adapter, outgoing("amq.topic"))
    await take(source, 1)
