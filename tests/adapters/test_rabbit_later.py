"""RabbitMQ: what is published for later keeps its routing key, for any number of seconds; priorities sort a queue."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import aio_pika
import pytest
from tests.brokers.rabbitmq import RabbitBroker
from tests.every_broker import Broker, until
from tests.every_broker import rabbitmq as every_rabbitmq

from brokerkit import Bus, Message, NotFound
from brokerkit._clock import wall_time


@pytest.fixture
def broker(rabbit_broker: RabbitBroker) -> Broker:
    return every_rabbitmq(rabbit_broker)


async def test_each_comes_at_its_second_with_its_own_routing_key(broker: Broker, rabbit_broker: RabbitBroker) -> None:
    waits = {"now": 0.0, "one": 0.6, "two": 2.0, "three": 2.5, "five": 5.0}
    got = dict[str, float]()
    bus = broker.bus(format="json")

    @bus.on("*")
    async def handle(event: object, message: Message) -> None:
        got[message.name] = wall_time()
        assert not [header for header in message.headers if header.startswith("bk-")]

    async with await aio_pika.connect(rabbit_broker.url) as connection, bus, bus.serving():
        # A program that takes only some messages, by the routing key.
        channel = await connection.channel()
        other = await channel.declare_queue(exclusive=True)
        await other.bind(broker.topic(), "three")
        begun = wall_time()
        for name, after in waits.items():
            await bus.publish(Message(name, b"{}"), after=after)
        await until(lambda: len(got) == len(waits), seconds=60)
        async with asyncio.timeout(30):
            taken = await other.get()
            assert (taken.routing_key, taken.body) == ("three", b"{}")
    for name, after in waits.items():
        assert got[name] >= begun + after - 0.1


async def test_waiting_queues_that_somebody_deleted_are_made_again(broker: Broker, rabbit_broker: RabbitBroker) -> None:
    got = list[str]()
    bus = broker.bus(format="json")

    @bus.on("*")
    async def handle(event: object, message: Message) -> None:
        got.append(message.name)

    async with await aio_pika.connect(rabbit_broker.url) as connection, bus, bus.serving():
        await bus.publish(Message("first", b"{}"), after=1)
        await until(lambda: got == ["first"], seconds=60)
        channel = await connection.channel()
        await channel.exchange_delete(f"{broker.topic()}-later.0")
        await channel.queue_delete(f"{broker.topic()}-later.0")
        with suppress(NotFound):
            await bus.publish(Message("second", b"{}"), after=1)
        await bus.publish(Message("second", b"{}"), after=1)
        await until(lambda: got[1:2] == ["second"], seconds=60)


async def test_higher_priorities_come_first_where_the_queue_sorts(broker: Broker, rabbit_broker: RabbitBroker) -> None:
    queue = f"{broker.topic()}-sorted"
    async with await aio_pika.connect(rabbit_broker.url) as connection, broker.bus(format="json") as bus:
        channel = await connection.channel()
        declared = await channel.declare_queue(queue, durable=True, arguments={"x-max-priority": 10})
        await declared.bind(broker.topic(), "#")
        for name, options in [("low", {"priority": 1}), ("none", {}), ("high", {"priority": 9})]:
            given: dict[str, Any] = options
            await bus.publish(Message(name, b"{}"), **given)
        got = list[str]()
        reading = Bus(rabbit_broker.url, queue=queue, format="json", max_in_flight=1)

        @reading.on("*")
        async def handle(event: object, message: Message) -> None:
            got.append(message.name)

        async with reading, reading.serving():
            await until(lambda: len(got) == 3, seconds=60)
        await declared.delete()
    assert got == ["high", "low", "none"]
