"""A clean stop gives messages back to RabbitMQ in their order, and counts none of them as failed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from tests.brokers.rabbitmq import RabbitBroker
from tests.every_broker import until

from brokerkit import Bus, Message
from brokerkit._messages._outgoing import Outgoing
from brokerkit._url import Url
from brokerkit.adapters._browsing import ignore_lost
from brokerkit.adapters.api import ACK, Connection, Delivery, Subscription
from brokerkit.adapters.rabbitmq import RabbitAdapter
from brokerkit.adapters.rabbitmq._source import RabbitSource

COUNT = 8


class Member:
    """A bus that notes what it begins with; the messages of the key `stuck` never end where `sticks` is set."""

    def __init__(self, url: str, *, sticks: bool = False, **settings: Any) -> None:
        self.numbers: list[int] = []
        self.bus = Bus(url, format="json", concurrency=2, stop_timeout=0.1, **settings)

        @self.bus.on("*")
        async def handle(event: dict[str, int], message: Message) -> None:
            self.numbers.append(event["number"])
            if sticks and message.key == "stuck":
                await asyncio.sleep(3_600)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Bus]:
        async with self.bus, self.bus.serving():
            yield self.bus


async def fill(bus: Bus) -> None:
    """Messages of one key, and one of another key behind them, which tells when all have arrived."""
    await bus.publish_many([Message("n", b'{"number": %d}' % number, key="stuck") for number in range(COUNT)])
    await bus.publish(Message("n", b'{"number": %d}' % COUNT, key="free"))


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"topic": f"test.{uuid4().hex}", "group": "wallet", "provision": "all"}


async def test_one_key_keeps_its_order_over_several_stops(
    rabbit_broker: RabbitBroker, settings: dict[str, Any]
) -> None:
    for number in range(3):
        member = Member(rabbit_broker.url, sticks=True, **settings)
        async with member.serving() as bus:
            if number == 0:
                await fill(bus)
                await until(lambda member=member: member.numbers == [0, COUNT])
            else:
                await until(lambda member=member: member.numbers == [0])
    last = Member(rabbit_broker.url, **settings)
    async with last.serving():
        await until(lambda: len(last.numbers) == COUNT)
    assert last.numbers == list(range(COUNT))


async def test_what_is_behind_a_running_message_reaches_another_member_after_it(
    rabbit_broker: RabbitBroker, settings: dict[str, Any]
) -> None:
    first, second = Member(rabbit_broker.url, sticks=True, **settings), Member(rabbit_broker.url, **settings)
    async with contextlib.AsyncExitStack() as other:
        async with first.serving() as bus:
            await fill(bus)
            await until(lambda: first.numbers == [0, COUNT])
            await other.enter_async_context(second.serving())
        await until(lambda: len(second.numbers) == COUNT)
    assert second.numbers == list(range(COUNT))


@pytest.mark.parametrize("kind", ["quorum", "classic"])
async def test_a_queue_of_somebody_else_keeps_its_order_too(rabbit_broker: RabbitBroker, kind: str) -> None:
    queue = f"test.{uuid4().hex}"
    settings = {"queue": queue, "name_from": "header:event", "key_from": "header:key"}
    async with await aio_pika.connect(rabbit_broker.url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": kind})
        for number in range(COUNT + 1):
            headers = {"event": "n", "key": "stuck" if number < COUNT else "free"}
            message = aio_pika.Message(b'{"number": %d}' % number, headers=headers)
            await channel.default_exchange.publish(message, routing_key=queue)
    first, second = Member(rabbit_broker.url, sticks=True, **settings), Member(rabbit_broker.url, **settings)
    async with first.serving():
        await until(lambda: first.numbers == [0, COUNT])
    async with second.serving():
        await until(lambda: len(second.numbers) == COUNT)
    assert second.numbers == list(range(COUNT))


async def test_a_stop_during_a_pause_gives_back_in_order_what_nobody_else_reads(rabbit_broker: RabbitBroker) -> None:
    topic = f"test.{uuid4().hex}"
    subscription = Subscription(topics=(topic,), group="wallet", provision="all", max_in_flight=COUNT)
    adapter = RabbitAdapter(Connection(url=Url.parse(rabbit_broker.url)))
    await adapter.open()
    bodies = [str(number).encode() for number in range(COUNT)]
    async with asyncio.timeout(60):
        source = adapter.subscribe(subscription, ignore_lost)
        await source.open()
        await adapter.send([Outgoing(topic=topic, body=body, name="n", id=f"{topic}.{body!r}") for body in bodies])
        begun = list[Delivery]()
        while len(begun) < COUNT // 2:
            begun += await source.receive(COUNT // 2 - len(begun))
        assert isinstance(source, RabbitSource)
        await until(lambda: len(source._unsettled) == COUNT)
        await source.pause_reading()
        await source.stop()
        await source.close()
        again, found = adapter.subscribe(subscription, ignore_lost), list[bytes | None]()
        await again.open()
        while len(found) < COUNT:
            batch = await again.receive(COUNT)
            found += [one.body for one in batch]
            await again.settle([(one, ACK) for one in batch])
        await again.stop()
        await again.close()
    await adapter.close()
    assert found == bodies


async def test_a_stop_gives_back_in_order_where_more_messages_wait_in_the_queue(rabbit_broker: RabbitBroker) -> None:
    topic, held = f"test.{uuid4().hex}", COUNT // 2
    subscription = Subscription(topics=(topic,), group="wallet", provision="all", max_in_flight=held)
    adapter = RabbitAdapter(Connection(url=Url.parse(rabbit_broker.url)))
    await adapter.open()
    bodies = [str(number).encode() for number in range(COUNT)]
    async with asyncio.timeout(90):
        for number in range(6):
            source = adapter.subscribe(subscription, ignore_lost)
            await source.open()
            if number == 0:
                await adapter.send(
                    [Outgoing(topic=topic, body=body, name="n", id=f"{topic}.{body!r}") for body in bodies]
                )
            begun = list[Delivery]()
            while len(begun) < held:
                begun += await source.receive(held - len(begun))
            assert [one.body for one in begun] == bodies[:held]
            await source.stop()
            await source.close()
    await adapter.close()
