"""Looking at messages without taking them from anybody, on every broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import pytest
from tests.every_broker import Broker

from brokerkit import NotFound, Unroutable, UnsupportedFeature, adapters
from brokerkit._config._settings import ConnectionSettings
from brokerkit._messages._delivery import ACK, Delivery
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit.adapters.api import Adapter, Subscription

HEADERS = {"trace": "abc", "binary": b"\xff\x00"}


@asynccontextmanager
async def opened(broker: Broker) -> AsyncGenerator[Adapter]:
    settings = ConnectionSettings.model_validate(dict(broker.settings))
    adapter = adapters.make(settings.connection())
    async with asyncio.timeout(50):
        await adapter.open()
        try:
            yield adapter
        finally:
            await adapter.close()


def outgoing(topic: str, number: int, *, is_queue: bool = False) -> Outgoing:
    # One group for each message: SQS FIFO hands out no more of a group while some of it is out.
    return Outgoing(
        topic=topic,
        body=str(number).encode(),
        name="OnTest",
        id=f"id-{topic}-{number}",
        key=f"key-{number}",
        headers=HEADERS,
        is_queue=is_queue,
    )


async def sent(adapter: Adapter, topic: str, numbers: range, *, is_queue: bool = False) -> None:
    results = await adapter.send([outgoing(topic, number, is_queue=is_queue) for number in numbers])
    assert all(isinstance(result, Receipt) for result in results), results


async def seen(browse: AsyncGenerator[Delivery, None], limit: int | None = None) -> list[Delivery]:
    got: list[Delivery] = []
    async with aclosing(browse):
        async for delivery in browse:
            got.append(delivery)
            if len(got) == limit:
                break
    return got


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [int(delivery.body or b"") for delivery in deliveries]


async def consumed(adapter: Adapter, topic: str, count: int, *, is_queue: bool) -> list[Delivery]:
    """Take everything out as a service would."""

    async def lost(_: object, *, gone: bool = True) -> None: ...

    source = adapter.subscribe(Subscription(topics=(topic,), group="wallet", is_queue=is_queue), lost)
    await source.open()
    got: list[Delivery] = []
    while len(got) < count:
        got += await source.receive(count - len(got))
    await source.settle([(delivery, ACK) for delivery in got])
    await source.stop()
    await source.close()
    return got


@pytest.mark.parametrize("is_queue", [False, True], ids=["topic", "queue"])
async def test_looking_twice_shows_the_same_and_a_service_still_gets_all_of_it(broker: Broker, is_queue: bool) -> None:
    async with opened(broker) as adapter:
        topic = adapter.derived(broker.topic(), "wallet", "dlq") if is_queue else broker.topic()
        promised = adapter.capabilities(topic)
        kind = promised.browse_queue if is_queue else promised.browse
        await adapter.ensure([topic], is_queue=is_queue, create=True)
        if kind == "new":
            assert await seen(adapter.browse([topic], is_queue=is_queue)) == []
            return
        await sent(adapter, topic, range(12), is_queue=is_queue)
        first = await seen(adapter.browse([topic], is_queue=is_queue))
        part = await seen(adapter.browse([topic], is_queue=is_queue), limit=3)
        again = await seen(adapter.browse([topic], is_queue=is_queue))
        assert sorted(numbers(first)) == sorted(numbers(again)) == list(range(12))
        assert len(part) == 3
        if promised.order == "process":
            assert numbers(first) == list(range(12))
            assert numbers(part) == [0, 1, 2]
        if promised.order == "process" and kind == "free":
            assert numbers(again) == list(range(12))
        one = next(delivery for delivery in first if delivery.body == b"7")
        assert one.topic == topic
        assert one.id == f"id-{topic}-7"
        assert one.key in ("key-7", b"key-7")
        assert {name: _bytes(one.headers[name]) for name in HEADERS} == {"trace": b"abc", "binary": b"\xff\x00"}
        got = await consumed(adapter, topic, 12, is_queue=is_queue)
        assert sorted(numbers(got)) == list(range(12))
        if kind == "free" and promised.attempts == "deliveries":
            assert {delivery.count for delivery in got} == {1}


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


async def test_following_shows_what_is_new_in_order_until_it_is_closed(broker: Broker) -> None:
    async with opened(broker) as adapter:
        topic = broker.topic()
        await adapter.ensure([topic], is_queue=False, create=True)
        kind = adapter.capabilities(topic).browse
        if kind == "touches" or broker.name == "redis-list":
            with pytest.raises(UnsupportedFeature, match="following a queue"):
                await seen(adapter.browse([topic], follow=True))
            return
        if kind == "free":
            await sent(adapter, topic, range(1000, 1003))
        async with aclosing(adapter.browse([topic], past=False, follow=True)) as browse:
            first = asyncio.ensure_future(anext(browse))
            number = 0
            while not first.done():
                # RabbitMQ refuses what no queue takes: the look has not begun yet.
                [result] = await adapter.send([outgoing(topic, number)])
                assert isinstance(result, Receipt | Unroutable)
                number += 1
                await asyncio.wait([first], timeout=0.1)
            found = [int((await first).body or b"")]
            # Partitions are read side by side: the first that comes need not be the first that was sent.
            while set(found) != set(range(min(found), number)):
                found.append(int((await anext(browse)).body or b""))
            assert len(found) == len(set(found))
            waiting = asyncio.ensure_future(anext(browse))
            await asyncio.sleep(0)  # so that it has begun
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        if kind == "free":
            async with aclosing(adapter.browse([topic], follow=True)) as browse:
                there = [int((await anext(browse)).body or b"") for _ in range(3 + number)]
                assert sorted(there) == [*range(number), *range(1000, 1003)]
                await sent(adapter, topic, range(2000, 2001))
                assert (await anext(browse)).body == b"2000"


async def test_a_missing_topic_is_an_error_and_not_an_empty_look(broker: Broker) -> None:
    if not broker.topics_must_exist:
        return
    async with opened(broker) as adapter:
        for is_queue in (False, True):
            with pytest.raises(NotFound):
                await seen(adapter.browse([broker.topic("missing")], is_queue=is_queue))
