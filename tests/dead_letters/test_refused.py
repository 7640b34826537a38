"""Dead letters that a real broker refuses for a while: nothing is settled or lost, and it is tried until it works."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import aio_pika
import pytest
import redis.asyncio
from aiobotocore.session import get_session
from confluent_kafka.admin import AdminClient, NewTopic

from brokerkit import Bus, Message, Notice, RetryPolicy
from tests.brokers.aws import client_options
from tests.conftest import MADE_BY
from tests.every_broker import Broker, until

NAME: Final = "OnPlayerSeatedDown"
COUNT: Final = 3


@dataclass(frozen=True)
class Refusing:
    """How a broker is brought to refuse a dead letter, and to take it again.

    Attributes:
        options: for the client, so that it gives up within the test.
        refuse: called while the bus is served.
        allow: undoes it.
    """

    refuse: Callable[[Broker, str], Awaitable[None]]
    allow: Callable[[Broker, str], Awaitable[None]]
    options: dict[str, Any]


def _admin(broker: Broker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.settings["url"].removeprefix("kafka://")})


async def _no_topic(broker: Broker, place: str) -> None:
    admin = _admin(broker)
    for gone in admin.delete_topics([place]).values():
        await asyncio.wrap_future(gone)
    # The broker takes messages for a little while longer.
    while place in (await asyncio.to_thread(admin.list_topics, timeout=10)).topics:
        await asyncio.sleep(0.02)


async def _new_topic(broker: Broker, place: str) -> None:
    admin = _admin(broker)
    for made in admin.create_topics([NewTopic(place, num_partitions=1)]).values():
        await asyncio.wrap_future(made)


def _queue(arguments: dict[str, Any]) -> Callable[[Broker, str], Awaitable[None]]:
    """Have a queue of RabbitMQ with these arguments in place of the one that is there."""

    async def replace(broker: Broker, place: str) -> None:
        async with await aio_pika.connect(broker.settings["url"]) as connection:
            channel = await connection.channel()
            await channel.queue_delete(place)
            await channel.declare_queue(place, durable=True, arguments=arguments)

    return replace


async def _wrong_type(broker: Broker, place: str) -> None:
    async with redis.asyncio.from_url(broker.settings["url"].replace("redis+list", "redis")) as client:
        await client.delete(place)
        await client.hset(place, "some", "thing")  # type: ignore[misc]


async def _no_type(broker: Broker, place: str) -> None:
    async with redis.asyncio.from_url(broker.settings["url"].replace("redis+list", "redis")) as client:
        await client.delete(place)


async def _no_queue(broker: Broker, place: str) -> None:
    async with get_session().create_client("sqs", **client_options(broker.settings["endpoint"])) as sqs:
        await sqs.delete_queue(QueueUrl=(await sqs.get_queue_url(QueueName=place))["QueueUrl"])


async def _new_queue(broker: Broker, place: str) -> None:
    async with get_session().create_client("sqs", **client_options(broker.settings["endpoint"])) as sqs:
        await sqs.create_queue(QueueName=place)


REFUSING: Final = {
    "kafka": Refusing(_no_topic, _new_topic, {"topic.metadata.propagation.max.ms": 200, "delivery.timeout.ms": 4_000}),
    "rabbitmq": Refusing(_queue({"x-max-length": 0, "x-overflow": "reject-publish"}), _queue({}), {}),
    "redis-streams": Refusing(_wrong_type, _no_type, {}),
    "redis-list": Refusing(_wrong_type, _no_type, {}),
    "sqs": Refusing(_no_queue, _new_queue, {}),
}


@pytest.fixture(params=list(REFUSING))
def refusing(request: pytest.FixtureRequest) -> tuple[Broker, Refusing]:
    return MADE_BY[request.param](request), REFUSING[request.param]


def _bus(broker: Broker, refusing: Refusing, notices: list[Notice]) -> Bus:
    bus = broker.bus(
        retry=RetryPolicy(attempts=1), options={**broker.settings.get("options", {}), **refusing.options}, lease=2.0
    )
    bus.add_hook(notices.append)

    @bus.on(NAME)
    async def fail(_: object) -> None:
        raise RuntimeError("broken")

    return bus


def _times(notices: list[Notice], kind: str) -> int:
    return sum(notice.kind == kind for notice in notices)


async def test_letters_are_tried_again_until_the_broker_takes_them(refusing: tuple[Broker, Refusing]) -> None:
    broker, how = refusing
    place = broker.bus().adapter().derived(broker.topic(), "wallet", "dlq")
    notices: list[Notice] = []
    bus = _bus(broker, how, notices)
    async with asyncio.timeout(60), bus, bus.serving():
        await how.refuse(broker, place)
        messages = [
            Message(NAME, json.dumps({"playerId": number}).encode(), id=f"id-{number}") for number in range(COUNT)
        ]
        await bus.publish_many(messages)
        await until(lambda: _times(notices, "dead_letter_refused") >= 2 * COUNT, seconds=40)
        assert _times(notices, "dead_letter") == bus.stats["bus"].dead_lettered == 0
        health = await bus.health()
        assert (health.ready, health.sources["bus"].state) == (False, "blocked")
        [reason] = health.reasons
        assert reason.startswith("source bus: blocked: dead letters: ")
        await how.allow(broker, place)
        await until(lambda: bus.stats["bus"].dead_lettered == COUNT, seconds=40)
        assert (await bus.health()).reasons == ()
    assert bus.stats["bus"].lost == 0
    letters = await broker.dead_letters(COUNT)
    assert sorted(letter.body or b"" for letter in letters) == sorted(message.body or b"" for message in messages)


async def test_a_stop_ends_in_time_and_the_messages_come_again(refusing: tuple[Broker, Refusing]) -> None:
    broker, how = refusing
    place = broker.bus().adapter().derived(broker.topic(), "wallet", "dlq")
    notices: list[Notice] = []
    bus = _bus(broker, how, notices)
    async with asyncio.timeout(60):
        async with bus, bus.serving():
            await how.refuse(broker, place)
            await bus.publish_many([Message(NAME, b"{}", id=f"id-{number}") for number in range(COUNT)])
            await until(lambda: _times(notices, "dead_letter_refused") >= COUNT, seconds=40)
        assert bus.stats["bus"].dead_lettered == 0
        await how.allow(broker, place)
        async with bus, bus.serving():
            await until(lambda: bus.stats["bus"].dead_lettered == COUNT, seconds=40)
    assert len(await broker.dead_letters(COUNT)) == COUNT
