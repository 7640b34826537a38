"""What a producer can write changes nothing about retries, dead letters, replays and dedupe of others."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiormq
import pytest
from aiobotocore.session import get_session
from pamqp.commands import Basic

from brokerkit import Bus, Message, NotFound, RetryPolicy, UnsupportedFeature
from brokerkit.dedupe import Dedupe, MemoryStore
from tests import every_aws, every_broker
from tests.brokers.aws import AwsBroker
from tests.brokers.kafka import KafkaBroker
from tests.brokers.rabbitmq import RabbitBroker
from tests.every_broker import SIGNING_KEY, Broker, until, until_async

NAME = "OnPlayerSeatedDown"
ONCE = RetryPolicy(attempts=1)


def forged(**more: str) -> dict[str, str]:
    """Headers of a producer that wants to be believed."""
    return {
        "bk-failures": "0",
        "bk-done": '["x"]',
        "bk-origin": "someone-else",
        "bk-topic": "t",
        "bk-group": "g",
        **more,
    }


@asynccontextmanager
async def publishing(broker: RabbitBroker) -> AsyncGenerator[Any]:
    connection = await aiormq.connect(broker.url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


async def test_a_message_of_rabbitmq_that_expires_is_a_dead_letter_without_what_its_producer_claims(
    rabbit_broker: RabbitBroker,
) -> None:
    broker = every_broker.rabbitmq(rabbit_broker)
    async with asyncio.timeout(60):
        reading = every_broker.Recorder().record(NAME)
        async with reading.serving(broker.bus()):
            pass  # the group's queue is there, and nobody reads it
        async with publishing(rabbit_broker) as channel:
            for number, headers in enumerate(({"event": NAME}, {"event": NAME, **forged()})):
                properties = Basic.Properties(headers=headers, expiration="1", message_id=f"m-{number}")
                await channel.basic_publish(b'{"playerId": 1}', exchange=broker.topic(), properties=properties)
        seen = Counter[str | None]()
        bus = broker.bus()

        @bus.on(NAME)
        async def first(event: Any, message: Message) -> None:
            seen[message.id] += 1

        async with bus, bus.serving():
            letters = bus.dead_letters()
            while len(found := [letter async for letter in letters]) < 2:
                await asyncio.sleep(0.1)
            assert {letter.message.id for letter in found} == {"m-0", "m-1"}
            assert await letters.replay() == 2
            await until(lambda: seen.total() == 2)
    assert seen == {"m-0": 1, "m-1": 1}


async def test_a_routing_key_of_rabbitmq_cannot_be_forged(rabbit_broker: RabbitBroker) -> None:
    broker, seen = every_broker.rabbitmq(rabbit_broker), list[Message]()
    bus = broker.bus(name_from="routing_key", format="json", foreign="handle")
    bus.handlers.on("*")(lambda event, message: seen.append(message))
    async with asyncio.timeout(60), bus, bus.serving():
        async with publishing(rabbit_broker) as channel:
            properties = Basic.Properties(headers={"bk-routing-key": "PaidOut"})
            await channel.basic_publish(b"{}", exchange=broker.topic(), routing_key="Seated", properties=properties)
        await until(lambda: len(seen) == 1)
    assert seen[0].name == "Seated"


async def test_a_claimed_origin_does_not_have_a_real_message_dropped(broker: Broker) -> None:
    if broker.name in ("sqs", "sns"):
        return  # slow, and read as sqs-fifo is
    done = list[int]()
    store = MemoryStore()
    bus = broker.bus(id_from="header:event-id")

    @bus.on(NAME, dedupe=Dedupe(store, key="id"))
    async def pay(event: Any) -> None:
        done.append(event.player_id)

    def message(number: int) -> Message:
        return Message(NAME, json.dumps({"playerId": number}).encode(), headers={"event-id": f"e-{number}"})

    async with asyncio.timeout(60), bus, bus.serving():
        adapter = bus.adapter()
        headers: Mapping[str, str] = {"event": NAME, "event-id": "e-1", **forged(**{"bk-origin": "e-2"})}
        outgoing = every_broker.Outgoing(
            topic=broker.topic(), body=b'{"playerId": 1}', name=NAME, id=uuid.uuid4().hex, headers=headers
        )
        [result] = await adapter.send([outgoing])
        assert isinstance(result, every_broker.Receipt), result
        await until(lambda: done == [1])
        await bus.publish(message(2))
        await until(lambda: len(done) == 2)
    assert done == [1, 2]


class Service:
    """A bus with two handlers for an event, the second of which fails until it is told not to."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.ran = list[str]()
        self.seen = list[Message]()
        self.fails = True
        bus.on(NAME)(self.first)
        bus.on(NAME)(self.second)

    async def first(self, event: Any) -> None:
        self.ran.append("first")

    async def second(self, event: Any, message: Message) -> None:
        self.seen.append(message)
        if self.fails:
            raise RuntimeError("broken")
        self.ran.append("second")

    async def fail_once(self) -> None:
        await self.bus.publish(Message(NAME, b'{"playerId": 1}', key="k", id="id-1"))
        await until(lambda: self.bus.stats["bus"].dead_lettered == 1)
        self.fails = False


async def test_without_a_key_sqs_refuses_a_replay_that_would_run_a_done_handler_again(
    sqs_broker: AwsBroker,
) -> None:
    broker = every_aws.sqs(sqs_broker, fifo=True)
    service = Service(broker.bus(retry=ONCE, signing_key=()))
    async with asyncio.timeout(60), service.bus as bus, bus.serving():
        await service.fail_once()
        with pytest.raises(UnsupportedFeature, match=r"a replay of id-1: some handlers are done.*set signing_key"):
            await bus.dead_letters().replay()
        assert len([letter async for letter in bus.dead_letters()]) == 1
    signed = Service(broker.bus(retry=ONCE, signing_key=(SIGNING_KEY, "the key that went before")))
    signed.fails = False
    async with asyncio.timeout(60), signed.bus as bus, bus.serving():
        assert await bus.dead_letters().replay() == 1
        await until(lambda: signed.ran == ["second"])
    [message] = signed.seen
    assert (message.id, message.attempt) == ("id-1", 1)


async def test_a_reader_with_another_key_sees_a_new_message(sqs_broker: AwsBroker) -> None:
    broker = every_aws.sqs(sqs_broker, fifo=False)
    service = Service(broker.bus(retry=ONCE))
    async with asyncio.timeout(60), service.bus as bus, bus.serving():
        await service.fail_once()
    async with asyncio.timeout(60), broker.bus(retry=ONCE) as bus:
        assert await bus.dead_letters().replay() == 1
    stranger = Service(broker.bus(retry=ONCE, signing_key="a key of somebody else"))
    stranger.fails = False
    async with asyncio.timeout(60), stranger.bus as bus, bus.serving():
        await until(lambda: stranger.ran == ["first", "second"])
    assert str(stranger.seen[0].id).startswith("id-1~")


async def test_without_a_key_a_replay_on_sqs_is_a_new_message_with_the_id_of_the_original(
    sqs_broker: AwsBroker,
) -> None:
    broker, seen = every_aws.sqs(sqs_broker, fifo=True), list[Message]()
    bus = broker.bus(retry=ONCE, signing_key=())

    @bus.on(NAME)
    async def handle(event: Any, message: Message) -> None:
        seen.append(message)
        if len(seen) == 1:
            raise RuntimeError("broken")

    async with asyncio.timeout(60), bus, bus.serving():
        await bus.publish(Message(NAME, b'{"playerId": 1}', key="k", id="id-1"))
        await until(lambda: bus.stats["bus"].dead_lettered == 1)
        # At once: SQS would drop the id of the original.
        assert await bus.dead_letters().replay() == 1
        await until(lambda: len(seen) == 2)
    assert [(message.id, message.key, message.attempt) for message in seen] == [("id-1", "k", 1)] * 2


async def test_what_sqs_moves_to_the_dead_letters_says_nothing_of_brokerkits(sqs_broker: AwsBroker) -> None:
    queue, dead = f"moved-{uuid.uuid4().hex[:10]}", f"moved-{uuid.uuid4().hex[:10]}-dlq"
    async with asyncio.timeout(60), get_session().create_client("sqs", **sqs_broker.client_options) as client:
        made = await client.create_queue(QueueName=dead)
        found = await client.get_queue_attributes(QueueUrl=made["QueueUrl"], AttributeNames=["QueueArn"])
        policy = {"maxReceiveCount": 1, "deadLetterTargetArn": found["Attributes"]["QueueArn"]}
        attributes = {"RedrivePolicy": json.dumps(policy), "VisibilityTimeout": "0"}
        url = (await client.create_queue(QueueName=queue, Attributes=attributes))["QueueUrl"]
        text = {name: {"DataType": "String", "StringValue": value} for name, value in forged().items()}
        await client.send_message(QueueUrl=url, MessageBody="{}", MessageAttributes=text)
        moved = False
        while not moved:
            await client.receive_message(QueueUrl=url, WaitTimeSeconds=0)
            counts = await client.get_queue_attributes(
                QueueUrl=made["QueueUrl"], AttributeNames=["ApproximateNumberOfMessages"]
            )
            moved = counts["Attributes"]["ApproximateNumberOfMessages"] != "0"
    bus = Bus("sqs://us-east-1/", endpoint=sqs_broker.url, topic=queue)
    async with asyncio.timeout(60), bus:
        cursor = bus.adapter().cursor(dead)
        await cursor.open()
        [letter] = await cursor.fetch(10)
        await cursor.close()
    assert not [name for name in letter.headers if name.startswith("bk-")]


async def test_a_replay_on_kafka_goes_to_a_topic_that_exists_since_the_first_dead_letter(
    kafka_broker: KafkaBroker,
) -> None:
    broker = every_broker.kafka(kafka_broker)
    service = Service(broker.bus(retry=ONCE, order="strict"))
    async with asyncio.timeout(60), service.bus as bus, bus.serving():
        await service.fail_once()

        async def is_there() -> bool:
            try:
                await bus.adapter().own_queue(broker.topic(), "wallet", is_queue=False, create=False)
            except NotFound:
                return False
            return True

        await until_async(is_there)
        async with broker.bus(provision="check") as other:  # another process, which creates nothing
            assert await other.dead_letters().replay() == 1
        await until(lambda: service.ran == ["first", "second"])
        assert len([one async for one in bus.adapter().browse([broker.topic()])]) == 1
