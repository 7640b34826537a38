"""Messages on a real RabbitMQ that the client library cannot decode."""

from __future__ import annotations

import asyncio
import struct
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from contextlib import aclosing
from uuid import uuid4

import aio_pika
import pytest
from tests.adapters.raw_amqp import (
    CORRELATION_ID,
    HEADERS,
    MESSAGE_ID,
    TIMESTAMP,
    RawPublisher,
    field,
    header,
    long_text,
    plain_header,
    short,
    table,
)
from tests.brokers.rabbitmq import RabbitBroker
from tests.cli.program import PROGRAM
from tests.every_broker import until

from brokerkit import Bus, Message, RetryPolicy
from brokerkit._url import Url
from brokerkit.adapters.api import Connection
from brokerkit.adapters.rabbitmq import RabbitAdapter
from brokerkit.adapters.rabbitmq._frames import RAW_HEADER, RAW_METHOD
from brokerkit.events.evenbet import OnPlayerSeatedDown

SEATED = "OnPlayerSeatedDown"
BAD = b'{"playerId": 666}'
EVENT = field(b"event", b"S", long_text(SEATED.encode()))
MICROSECONDS = struct.pack(">Q", 1_772_000_000_000_000)
NAME = b"bad"

HEADER_OF: dict[str, bytes] = {
    "microseconds": header(BAD, HEADERS | MESSAGE_ID | TIMESTAMP, table(EVENT), short(NAME), MICROSECONDS),
    "before the year 1": header(
        BAD, HEADERS | MESSAGE_ID | TIMESTAMP, table(EVENT), short(NAME), struct.pack(">q", -62_135_596_801)
    ),
    "beyond any clock": header(BAD, HEADERS | MESSAGE_ID | TIMESTAMP, table(EVENT), short(NAME), b"\x7f" + b"\xff" * 7),
    "a time in a header": header(
        BAD, HEADERS | MESSAGE_ID, table(EVENT, field(b"sent", b"T", MICROSECONDS)), short(NAME)
    ),
    "a time in a nested table": header(
        BAD, HEADERS | MESSAGE_ID, table(EVENT, field(b"t", b"F", table(field(b"s", b"T", MICROSECONDS)))), short(NAME)
    ),
    # RabbitMQ 4 sorts headers by their names.
    "a header's name": header(
        BAD, HEADERS | MESSAGE_ID, table(field(b"caf\xe9", b"S", long_text(b"1")), EVENT), short(NAME)
    ),
    "a property": header(BAD, HEADERS | CORRELATION_ID | MESSAGE_ID, table(EVENT), short(b"caf\xe9"), short(NAME)),
}


@pytest.fixture
def topic(rabbit_broker: RabbitBroker) -> str:
    return f"test.{uuid4().hex}"


def make(url: str, topic: str, handled: Counter[str | None]) -> Bus:
    bus = Bus(
        url,
        topic=topic,
        group="wallet",
        provision="all",
        format="json",
        name_from="header:event",
        retry=RetryPolicy(attempts=2, first=0.01),
    )

    @bus.on(SEATED)
    async def seated(event: OnPlayerSeatedDown, message: Message) -> None:
        handled[message.id] += 1

    return bus


async def put(url: str, topic: str, *bad: tuple[bytes, bytes]) -> list[str]:
    """Publish good messages around the bad ones, given as routing key and header; the ids of the good ones."""
    good = [f"good{number}" for number in range(10)]
    body = b'{"playerId": 1}'
    async with RawPublisher(url) as publisher:
        for place, identity in enumerate(good):
            await publisher.publish(topic, SEATED.encode(), plain_header(body, identity, SEATED), body)
            if place == 0:
                for routing_key, raw in bad:
                    await publisher.publish(topic, routing_key, raw, BAD)
    return good


@pytest.mark.parametrize("case", HEADER_OF)
async def test_a_message_that_cannot_be_decoded_is_a_dead_letter_and_the_others_are_handled_once(
    rabbit_broker: RabbitBroker, topic: str, case: str
) -> None:
    handled: Counter[str | None] = Counter()
    async with make(rabbit_broker.url, topic, handled) as bus, bus.serving():
        good = await put(rabbit_broker.url, topic, (SEATED.encode(), HEADER_OF[case]))
        stats = bus.stats["bus"]
        await until(lambda: stats.handled + stats.dead_lettered == 11, seconds=20)
        letters = [letter async for letter in bus.dead_letters()]
    assert handled == Counter(good)
    [letter] = letters
    assert (letter.message.body, letter.error_type, letter.attempts) == (BAD, "DecodeError", 0)
    assert (letter.message.name, letter.message.id) == (SEATED, "bad")
    assert "cannot be read as a whole" in letter.error
    assert letter.message.headers["event"] == SEATED
    raw = letter.message.headers[RAW_HEADER]
    assert (raw.encode() if isinstance(raw, str) else raw) == HEADER_OF[case]


async def test_a_routing_key_that_is_no_text_is_a_dead_letter_too(rabbit_broker: RabbitBroker, topic: str) -> None:
    handled: Counter[str | None] = Counter()
    async with make(rabbit_broker.url, topic, handled) as bus, bus.serving():
        good = await put(rabbit_broker.url, topic, (b"caf\xe9", plain_header(BAD, "bad", SEATED)))
        stats = bus.stats["bus"]
        await until(lambda: stats.handled + stats.dead_lettered == 11, seconds=20)
        [letter] = [letter async for letter in bus.dead_letters()]
    assert handled == Counter(good)
    assert letter.message.body == BAD
    assert "routing_key is not UTF-8: b'caf\\xe9'" in letter.error
    assert b"\x04caf\xe9" in letter.message.headers[RAW_METHOD]  # type: ignore[operator]


async def test_a_replayed_letter_is_handled_by_what_can_be_read_of_it(rabbit_broker: RabbitBroker, topic: str) -> None:
    handled: Counter[str | None] = Counter()
    async with make(rabbit_broker.url, topic, handled) as bus, bus.serving():
        await put(rabbit_broker.url, topic, (SEATED.encode(), HEADER_OF["microseconds"]))
        await until(lambda: bus.stats["bus"].dead_lettered == 1, seconds=20)
        assert await bus.dead_letters().replay() == 1
        await until(lambda: handled["bad"] == 1, seconds=20)
        assert [letter async for letter in bus.dead_letters()] == []


async def test_every_look_shows_it(rabbit_broker: RabbitBroker, topic: str) -> None:
    """A queue with it is inspected, a bridge hands on the others, and letters that somebody else put there are shown."""
    url, queue = rabbit_broker.url, f"{topic}.queue"
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(topic, aio_pika.ExchangeType.TOPIC, durable=True)
        await (await channel.declare_queue(queue, durable=True)).bind(exchange, "#")
        letters = await channel.declare_queue(f"{topic}.wallet.dlq", durable=True, arguments={"x-queue-type": "quorum"})
        await letters.bind(exchange, "#")
    await put(url, topic, (SEATED.encode(), HEADER_OF["a header's name"]))

    inspect = await asyncio.create_subprocess_exec(
        PROGRAM, "inspect", url, "--queue", queue, "--yes", stdout=PIPE, stderr=STDOUT
    )
    shown, _ = await inspect.communicate()
    assert (inspect.returncode, b"looked at 11 messages" in shown) == (0, True), shown.decode()
    assert b"warning: 1 message cannot be decoded; each becomes a dead letter: " in shown, shown.decode()

    async with make(url, topic, Counter()) as bus:
        found = [letter async for letter in bus.dead_letters()]
        assert [letter.message.body for letter in found].count(BAD) == 1
        assert len(found) == 11
        assert await bus.dead_letters().purge() == 11


async def test_a_follower_goes_on_behind_it(rabbit_broker: RabbitBroker, topic: str) -> None:
    url = rabbit_broker.url
    adapter = RabbitAdapter(Connection(url=Url.parse(url)))
    await adapter.open()
    try:
        await adapter.ensure([topic], is_queue=False, create=True)
        async with aclosing(adapter.browse([topic], past=False, follow=True)) as browse, asyncio.timeout(30):
            first = asyncio.ensure_future(anext(browse))
            while not first.done():  # the exclusive queue of the look is bound at some time
                async with RawPublisher(url) as publisher:
                    await publisher.publish(topic, b"first", plain_header(b"1", "first", SEATED), b"1")
                await asyncio.wait([first], timeout=0.2)
            await put(url, topic, (b"caf\xe9", HEADER_OF["a property"]))
            seen = [await anext(browse) for _ in range(10)]
    finally:
        await adapter.close()
    assert [one.body for one in seen].count(BAD) == 1
