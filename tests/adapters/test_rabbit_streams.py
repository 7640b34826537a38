"""RabbitMQ streams, read as a group reads a topic."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aio_pika
import pytest
from tests.adapters.raw_amqp import HEADERS, TIMESTAMP, RawPublisher, field, header, long_text, table
from tests.brokers.rabbitmq import RabbitBroker
from tests.every_broker import until, until_async

from brokerkit import Bus, Message, Reject, Retry, RetryPolicy, UnsupportedFeature
from brokerkit._url import Url
from brokerkit.adapters.api import Connection
from brokerkit.adapters.rabbitmq import RabbitAdapter, _queue
from brokerkit.adapters.rabbitmq._facts import QueueFacts, describe_queue
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.testing import Proxy

SEATED = "OnPlayerSeatedDown"


class Stream:
    """A stream that somebody else declared, and publishes to."""

    def __init__(self, broker: RabbitBroker, channel: aio_pika.abc.AbstractChannel) -> None:
        self.url = broker.url
        self.name = f"test.{uuid4().hex}"
        self.channel = channel

    async def publish(self, *numbers: int) -> None:
        for number in numbers:
            message = aio_pika.Message(
                json.dumps({"playerId": number}).encode(), headers={"event": SEATED}, message_id=str(number)
            )
            await self.channel.default_exchange.publish(message, routing_key=self.name)

    async def declare(self, kind: str = "stream") -> None:
        limits = {"x-max-length-bytes": 100_000_000, "x-max-age": "1D"} if kind == "stream" else {}
        await self.channel.declare_queue(self.name, durable=True, arguments={"x-queue-type": kind, **limits})

    async def make_anew(self) -> None:
        await self.channel.queue_delete(self.name)
        await self.declare()

    async def count(self, queue: str) -> int:
        found = await self.channel.declare_queue(queue, passive=True)
        return found.declaration_result.message_count or 0

    def bus(self, handled: list[int], url: str = "", **changes: Any) -> Bus:
        settings = {"group": "wallet", "retry": RetryPolicy(attempts=3, first=0.01)} | changes
        bus = Bus(url or self.url, queue=self.name, format="json", name_from="header:event", **settings)

        @bus.on(SEATED)
        async def seated(event: OnPlayerSeatedDown, message: Message) -> None:
            number = json.loads(message.body or b"")["playerId"]
            handled.append(number)
            if number < 0:
                raise Reject
            if 100 <= number < 200 and message.attempt == 1:
                raise Retry(after=2.0)
            if number == 999:
                await asyncio.Event().wait()

        return bus


@pytest.fixture
async def stream(rabbit_broker: RabbitBroker) -> AsyncIterator[Stream]:
    async with await aio_pika.connect(rabbit_broker.url) as connection:
        stream = Stream(rabbit_broker, await connection.channel())
        await stream.declare()
        yield stream


async def read(stream: Stream, expected: Iterable[int], *, publish: Iterable[int] = (), **changes: Any) -> list[int]:
    """Serve until so many messages were handled, each of them at least once; what was handled."""
    handled: list[int] = []
    wanted = set(expected)
    async with asyncio.timeout(60), stream.bus(handled, **changes) as bus, bus.serving():
        await stream.publish(*publish)
        await until(lambda: wanted <= set(handled), seconds=50)
        await until(lambda: bus.stats["bus"].received == len(handled), seconds=50)
    return handled


async def test_a_group_begins_at_the_first_message_and_goes_on_where_it_was(stream: Stream) -> None:
    await stream.publish(1, 2, 3)
    assert await read(stream, range(1, 6), publish=(4, 5)) == [1, 2, 3, 4, 5]
    await stream.publish(6)
    assert await read(stream, (6, 7), publish=(7,)) == [6, 7]
    assert await read(stream, range(1, 8), group="audit") == [1, 2, 3, 4, 5, 6, 7]


async def test_a_group_that_begins_at_the_latest_message_keeps_that_place(stream: Stream) -> None:
    await stream.publish(1, 2)
    assert await read(stream, (), start="latest") == []
    await stream.publish(3)
    assert await read(stream, (3,), start="latest") == [3]


@pytest.mark.parametrize("start", ["earliest", "latest"])
async def test_a_stream_that_is_deleted_and_made_anew_is_read_from_its_first_message(
    stream: Stream, start: str
) -> None:
    handled: list[int] = []
    async with asyncio.timeout(60), stream.bus(handled, start=start) as bus, bus.serving():
        await stream.publish(*range(1000, 1010))
        await until(lambda: len(handled) == 10)
        await stream.make_anew()
        # More than before, so that the old offset is one of the new stream, too.
        await stream.publish(*range(2000, 2020))
        await until(lambda: set(handled) >= set(range(2000, 2020)))
    await stream.make_anew()  # while nobody reads it
    await stream.publish(*range(3000, 3025))
    assert await read(stream, range(3000, 3025), start=start) == list(range(3000, 3025))


async def test_a_source_waits_for_a_stream_or_queue_that_is_gone(stream: Stream, rabbit_broker: RabbitBroker) -> None:
    handled: list[int] = []
    queue = Stream(rabbit_broker, stream.channel)
    await queue.declare("quorum")
    for one, kind in ((stream, "stream"), (queue, "quorum")):
        handled.clear()
        async with asyncio.timeout(60), one.bus(handled) as bus, bus.serving():
            await one.publish(1)
            await until(lambda: handled == [1])
            await one.channel.queue_delete(one.name)

            async def is_waiting(bus: Bus = bus) -> bool:
                found = (await bus.health()).sources["bus"]
                return found.state == "reconnecting" and "waiting for it" in found.error

            await until_async(is_waiting)
            await one.declare(kind)
            await one.publish(2)
            await until(lambda: handled == [1, 2])


async def test_many_messages_come_in_order_once(stream: Stream) -> None:
    await stream.publish(*range(1000, 1600))
    handled = await read(stream, range(1000, 1600), max_in_flight=50, concurrency=1)
    assert handled == list(range(1000, 1600))
    await stream.publish(1)
    assert await read(stream, (1,)) == [1]


async def test_a_failing_message_becomes_a_copy_and_holds_nothing_up(stream: Stream) -> None:
    await stream.publish(1, 100, 2)
    handled: list[int] = []
    async with asyncio.timeout(60), stream.bus(handled, hold=0.0) as bus, bus.serving():
        await until(lambda: len(handled) == 3, seconds=20)
        assert handled == [1, 100, 2]
        # Its offset is committed: only the copy is left, which the group alone gets.
        await until(lambda: bus.stats["bus"].retried == 1, seconds=20)
        await until(lambda: handled == [1, 100, 2, 100], seconds=30)
    assert await read(stream, (3,), publish=(3,)) == [3]
    assert await read(stream, (1, 100, 2, 3), group="audit") == [1, 100, 2, 3]


async def test_a_copy_that_waits_survives_its_process(stream: Stream) -> None:
    await stream.publish(100)
    handled: list[int] = []
    async with asyncio.timeout(60), stream.bus(handled, hold=0.0) as bus, bus.serving():
        await until(lambda: handled == [100], seconds=20)
        await until(lambda: bus.stats["bus"].retried == 1, seconds=20)
    assert await read(stream, (100,)) == [100]


async def test_what_cannot_be_handled_is_a_dead_letter_and_stays_in_the_stream(stream: Stream) -> None:
    await stream.publish(1, -1, 2)
    handled: list[int] = []
    async with asyncio.timeout(60), stream.bus(handled) as bus, bus.serving():
        await until(lambda: bus.stats["bus"].dead_lettered == 1, seconds=20)
        await until(lambda: handled == [1, -1, 2], seconds=20)
        [letter] = [letter async for letter in bus.dead_letters()]
        assert (letter.message.body, letter.error_type) == (b'{"playerId": -1}', "Reject")
    assert await read(stream, (3,), publish=(3,)) == [3]


async def test_what_was_begun_and_not_done_comes_again(stream: Stream) -> None:
    await stream.publish(1, 999, 2)
    handled: list[int] = []
    async with asyncio.timeout(60), stream.bus(handled, concurrency=1, stop_timeout=0.5) as bus, bus.serving():
        await until(lambda: handled == [1, 999], seconds=20)
    handled.clear()
    async with asyncio.timeout(60), stream.bus(handled, stop_timeout=0.5) as bus, bus.serving():
        await until(lambda: handled == [999, 2], seconds=20)


async def test_one_process_of_a_group_reads_and_another_takes_over(stream: Stream) -> None:
    await stream.publish(1, 2)
    first: list[int] = []
    second: list[int] = []
    async with asyncio.timeout(100), stream.bus(second) as other:
        async with stream.bus(first) as bus, bus.serving():
            await until(lambda: first == [1, 2], seconds=20)
            serving = other.serving()
            await serving.__aenter__()
            assert (await other.health()).ready
            await stream.publish(3)
            await until(lambda: first == [1, 2, 3], seconds=20)
            assert second == []
        await stream.publish(4)
        await until(lambda: second == [4], seconds=40)
        await serving.__aexit__(None, None, None)


async def test_a_broken_connection_is_made_anew_where_it_was(stream: Stream) -> None:
    parts = urlsplit(stream.url)
    handled: list[int] = []
    async with asyncio.timeout(100), Proxy(parts.hostname or "", parts.port or 0) as proxy:
        url = parts._replace(netloc=f"{parts.username}:{parts.password}@{proxy.address}").geturl()
        await stream.publish(1, 2)
        async with stream.bus(handled, url) as bus, bus.serving():
            await until(lambda: handled == [1, 2], seconds=20)
            while (await bus.health()).sources["bus"].in_flight:
                await asyncio.sleep(0.05)
            proxy.cut()
            await stream.publish(3)
            await until(lambda: handled == [1, 2, 3], seconds=60)


async def test_a_look_takes_nothing_and_ends(stream: Stream) -> None:
    await stream.publish(1, 2, 3)
    adapter = RabbitAdapter(Connection(url=Url.parse(stream.url)))
    await adapter.open()
    try:
        for _ in range(2):
            async with asyncio.timeout(30), aclosing(adapter.browse([stream.name], is_queue=True)) as browse:
                seen = [one async for one in browse]
            assert [json.loads(one.body or b"")["playerId"] for one in seen] == [1, 2, 3]
            assert [one.position for one in seen] == [(0, 0), (0, 1), (0, 2)]
            assert all("x-stream-offset" not in one.headers for one in seen)
    finally:
        await adapter.close()
    assert await read(stream, (1, 2, 3)) == [1, 2, 3]


async def test_a_stream_without_a_group_or_beside_a_queue_is_refused(stream: Stream) -> None:
    for changes, error in (({"group": None}, "without a group"), ({"also": True}, "together with queues")):
        queues = [stream.name]
        if changes.pop("also", None):
            queues.append((await stream.channel.declare_queue(f"{stream.name}.plain", durable=True)).name)
        bus = Bus(stream.url, queue=queues, format="json", **({"group": "wallet"} | changes))  # type: ignore[arg-type]

        @bus.on(SEATED)
        async def seated(event: OnPlayerSeatedDown) -> None: ...

        async with asyncio.timeout(30), bus:
            with pytest.raises(UnsupportedFeature, match=error):
                async with bus.serving():
                    pass


async def test_a_stream_that_cannot_be_told_from_a_queue_ends_the_source(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def may_not_ask(*_: object) -> QueueFacts:
        return QueueFacts("")

    monkeypatch.setattr(_queue, "describe_queue", may_not_ask)
    async with asyncio.timeout(60), stream.bus([]) as bus:
        async with bus.serving(on_source_failure="log"):
            await stream.publish(1)
            while (found := (await bus.health()).sources["bus"]).state != "failed":
                await asyncio.sleep(0.05)
        assert "right to configure" in found.error


async def test_a_message_of_a_stream_that_cannot_be_decoded_is_a_dead_letter(stream: Stream) -> None:
    body = b'{"playerId": 666}'
    event = field(b"event", b"S", long_text(SEATED.encode()))
    late = struct.pack(">Q", 1_772_000_000_000_000)
    async with RawPublisher(stream.url) as publisher:
        await publisher.publish("", stream.name.encode(), header(body, HEADERS | TIMESTAMP, table(event), late), body)
    handled: list[int] = []
    async with asyncio.timeout(60), stream.bus(handled) as bus, bus.serving():
        await stream.publish(1)
        await until(lambda: handled == [1] and bus.stats["bus"].dead_lettered == 1, seconds=20)
        [letter] = [letter async for letter in bus.dead_letters()]
        assert letter.message.body == body
    assert await read(stream, (2,), publish=(2,)) == [2]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"x-queue-type": "stream", "x-max-age": "7D", "x-stream-max-segment-size-bytes": 500_000}, "stream"),
        (
            {"x-queue-type": "quorum", "x-delivery-limit": 5, "x-dead-letter-exchange": "", "x-expires": 60_000},
            "quorum",
        ),
        ({"x-queue-type": "quorum", "x-message-ttl": 60_000, "x-delivery-limit": -1}, "quorum"),
        ({"x-queue-type": "quorum"}, "quorum"),
        ({"x-queue-type": "classic", "x-max-length": 10, "x-overflow": "reject-publish"}, "classic"),
        ({"x-queue-type": "classic", "x-max-priority": 5, "x-single-active-consumer": True}, "classic"),
    ],
)
async def test_type_and_arguments_of_a_queue_are_told(stream: Stream, arguments: dict[str, Any], expected: str) -> None:
    name = f"{stream.name}.other"
    await stream.channel.declare_queue(name, durable=True, arguments=arguments)
    adapter = RabbitAdapter(Connection(url=Url.parse(stream.url)))
    await adapter.open()
    try:
        connection = await adapter._publisher.connection()
        facts = await describe_queue(adapter._link, connection, name)
        assert facts.kind == expected
        del arguments["x-queue-type"]
        if expected != "stream":  # Nobody needs more of a stream.
            assert facts.arguments == arguments
        assert await describe_queue(adapter._link, connection, f"{name}.missing") == QueueFacts("")
    finally:
        await adapter.close()
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await stream.channel.declare_queue(f"{name}.missing", passive=True)
