"""Groups, their members and order on RabbitMQ, at the seam, on a real broker."""

from __future__ import annotations

import asyncio

import aio_pika
import pytest
from tests.adapters.rabbitmq.seam import Bench, bodies, outgoing, send, settle, take, waiting

from brokerkit._errors import Unroutable, UnsupportedFeature
from brokerkit._messages._delivery import ACK, RELEASE, RetryLater, Settled
from brokerkit.adapters.api import Subscription


async def test_every_group_gets_everything_and_its_members_share_it(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    one, two = await bench.source(adapter, topic, max_in_flight=5), await bench.source(adapter, topic, max_in_flight=5)
    other = await bench.source(adapter, topic, group="crm")
    await send(adapter, *[outgoing(topic, body=str(i).encode()) for i in range(10)])
    shared = bodies(await take(one, 5)) + bodies(await take(two, 5))
    assert sorted(map(str, shared)) == sorted(map(str, bodies(await take(other, 10))))


async def test_several_topics_are_read_as_one_source(bench: Bench) -> None:
    first, second, adapter = bench.topic(), bench.topic(), await bench.adapter()
    source = await bench.source(adapter, first, second)
    await send(adapter, *[outgoing(topic) for topic in (first, second) for _ in range(3)])
    found = await take(source, 6)
    assert sorted(one.topic for one in found) == sorted([first] * 3 + [second] * 3)
    await settle(source, found)
    assert await source.lag() == 0


async def test_no_more_than_max_in_flight_is_taken(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic, max_in_flight=3)
    await send(adapter, *[outgoing(topic) for _ in range(10)])
    await take(source, 3)
    await waiting(bench, f"{topic}.wallet", 7)
    assert await source.lag() == 7


async def test_strict_order_leaves_the_whole_queue_to_one_member(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    first = await bench.source(adapter, topic, order="strict", max_in_flight=4)
    second = await bench.source(adapter, topic, order="strict", max_in_flight=100)
    await send(adapter, *[outgoing(topic, body=str(i).encode()) for i in range(22)])
    found = await take(first, 3)
    await first.stop()
    # One of them still runs: nothing may overtake it yet, and what is released keeps its place.
    await settle(first, found[1:], RELEASE)
    receiving = asyncio.create_task(take(second, 21))
    await waiting(bench, f"{topic}.wallet", 6)  # behind a prefetch of four times four
    assert not receiving.done()
    await settle(first, found[:1])
    await first.close()
    assert bodies(await receiving) == [str(i).encode() for i in range(1, 22)]


async def test_strict_order_is_refused_on_a_queue_that_cannot_give_it(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    await bench.source(adapter, topic)
    with pytest.raises(UnsupportedFeature, match="x-single-active-consumer"):
        await bench.source(adapter, topic, order="strict")


async def test_a_broadcast_reaches_every_process_and_leaves_nothing_behind(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    sources = [await bench.source(adapter, topic, broadcast=True, group=None) for _ in range(2)]
    await send(adapter, outgoing(topic))
    for source in sources:
        [one] = await take(source, 1)
        await settle(source, [one], RetryLater(1, outgoing(topic, body=b"again")))
        assert bodies(await take(source, 1)) == [b"again"]
        await source.close()
    assert isinstance((await adapter.send([outgoing(topic)]))[0], Unroutable)


async def test_a_broadcast_of_an_existing_queue_is_refused(bench: Bench) -> None:
    adapter = await bench.adapter()
    with pytest.raises(UnsupportedFeature):
        adapter.subscribe(Subscription(topics=("q",), is_queue=True, broadcast=True), bench.lost)


async def test_a_reader_that_asks_for_more_than_its_prefetch_gets_it_in_order(bench: Bench) -> None:
    # The queue goes away with its last consumer, and takes what it has along.
    adapter, channel, queue = await bench.adapter(), await bench.raw(), bench.topic()
    await channel.declare_queue(queue, auto_delete=True)
    source = await bench.source(adapter, queue, group=None, is_queue=True, provision="off", max_in_flight=10)
    for number in range(100):
        await channel.default_exchange.publish(aio_pika.Message(str(number).encode()), queue)
    taken = await take(source, 60)
    assert [one.body for one in taken] == [str(number).encode() for number in range(60)]
    assert await source.settle([(one, ACK) for one in taken[:35]]) == [Settled.DONE] * 35
    taken += await take(source, 40)
    assert [one.body for one in taken] == [str(number).encode() for number in range(100)]
    assert await source.settle([(one, ACK) for one in taken[35:]]) == [Settled.DONE] * 65
    assert await source.lag() == 0


async def test_with_a_single_active_consumer_the_prefetch_leaves_room(bench: Bench) -> None:
    adapter, topic = await bench.adapter(), bench.topic()
    source = await bench.source(adapter, topic, max_in_flight=10, order="strict")
    await send(adapter, *(outgoing(topic, body=str(number).encode()) for number in range(60)))
    taken = await take(source, 40)
    rest = asyncio.ensure_future(source.receive(1))
    await source.settle([(one, ACK) for one in taken])
    assert [one.body for one in [*taken, *await rest]] == [str(number).encode() for number in range(41)]
