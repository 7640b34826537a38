"""What a paused source has fetched and not handed over, and all that comes, goes to the other members of its group."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import AsyncExitStack

import aio_pika
import pytest
from tests import every_aws, every_broker
from tests.brokers.rabbitmq import RabbitBroker
from tests.every_broker import Broker, Recorder, until

from brokerkit import Bus
from brokerkit.events.evenbet import OnPlayerSeatedDown

COUNT = 60

MADE_BY = {
    "rabbitmq": lambda request: every_broker.rabbitmq(request.getfixturevalue("rabbit_broker")),
    "sqs": lambda request: every_aws.sqs(request.getfixturevalue("sqs_broker"), fifo=False),
}


@pytest.fixture(params=MADE_BY)
def sharing(request: pytest.FixtureRequest) -> Broker:
    """Brokers where messages would wait for a member that has fetched them."""
    return MADE_BY[request.param](request)


async def test_the_other_members_of_the_group_get_what_a_paused_one_does_not_take(sharing: Broker) -> None:
    first, second, running, finish = Recorder(), Recorder().record(), asyncio.Event(), asyncio.Event()

    @first.handlers.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown) -> None:
        running.set()
        await finish.wait()
        first.note("", event, None)  # type: ignore[arg-type]

    paused = sharing.bus(concurrency=1, max_in_flight=COUNT)
    async with AsyncExitStack() as stack, asyncio.timeout(120):
        await stack.enter_async_context(first.serving(paused))
        await paused.publish_many([OnPlayerSeatedDown(player_id=number) for number in range(COUNT)])
        await running.wait()
        await paused.pause()
        await paused.publish_many([OnPlayerSeatedDown(player_id=number) for number in range(COUNT, 2 * COUNT)])
        here = paused.runtime.consumers["bus"].state
        await stack.enter_async_context(second.serving(sharing.bus()))
        await until(lambda: len(second.got) >= 2 * COUNT - here.in_flight, seconds=60)
        finish.set()
        await until(lambda: len(first.got) == 1)
        assert here.in_flight <= COUNT
        await paused.resume()
        await until(lambda: len(first.got) + len(second.got) >= 2 * COUNT, seconds=60)
    seen = {event.player_id for _, event, _ in (*first.got, *second.got)}
    assert seen == set(range(2 * COUNT))


async def test_neither_does_a_queue_of_somebody_else_wait_for_a_paused_source(rabbit_broker: RabbitBroker) -> None:
    name, got = f"q{uuid.uuid4().hex[:10]}", list[int]()
    bus = Bus(rabbit_broker.url, queue=name, name_from="header:event")

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown) -> None:
        got.append(event.player_id or 0)

    async with asyncio.timeout(120), await aio_pika.connect(rabbit_broker.url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(name, durable=True)

        async def publish(*numbers: int) -> None:
            for number in numbers:
                body = json.dumps({"playerId": number}).encode()
                message = aio_pika.Message(body, headers={"event": "OnPlayerSeatedDown"})
                await channel.default_exchange.publish(message, routing_key=name)

        async def waiting() -> tuple[int | None, int | None]:
            found = (await channel.declare_queue(name, passive=True)).declaration_result
            return found.message_count, found.consumer_count

        async with bus, bus.serving():
            await publish(1, 2)
            await until(lambda: len(got) == 2)
            await bus.pause()
            await publish(3, 4, 5)
            assert await waiting() == (3, 0)
            await bus.resume()
            await until(lambda: len(got) == 5)
    assert got == [1, 2, 3, 4, 5]
