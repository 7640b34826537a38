"""The RabbitMQ adapter at the seam, against a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import aio_pika
import pytest
from tests.brokers.rabbitmq import LARGEST_MESSAGE, RabbitBroker

from brokerkit._errors import (
    AccessDenied,
    Closed,
    ConfigError,
    ConnectionLost,
    InvalidMessage,
    MessageTooLarge,
    NotFound,
    Unroutable,
    UnsupportedFeature,
)
from brokerkit._messages._delivery import ACK, RELEASE, Delivery, RetryLater, Settled
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._url import Url
from brokerkit.adapters.api import Connection, Subscription
from brokerkit.adapters.rabbitmq import RabbitAdapter, _cursor, _publisher, _source
from brokerkit.adapters.rabbitmq._cursor import RabbitCursor
from brokerkit.adapters.rabbitmq._link import GIVES_BACK_FREELY, server_version
from brokerkit.adapters.rabbitmq._source import RabbitSource

TIMEOUT = 30.0


class Lost:
    """Stands for the core: notes what it loses."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.called = asyncio.Event()

    async def __call__(self, deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
        self.deliveries.extend(deliveries)
        self.called.set()


class Proxy:
    """Stands between client and broker, and can cut the connections or let nothing through."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        credentials = self._target.netloc.rpartition("@")[0]
        return urlunsplit(self._target._replace(netloc=f"{credentials}@127.0.0.1:{port}"))

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        self._open.clear()

    async def close(self) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers |= {writer, far_writer}
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._tasks.add(asyncio.create_task(self._pump(source, sink)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self._open.wait()
                sink.write(data)
                await sink.drain()
        sink.close()


class Bench:
    """Adapters and sources of one test, and the broker seen without them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lost = Lost()
        self._closing: list[Callable[[], Awaitable[object]]] = []

    def topic(self) -> str:
        return f"test.{uuid4().hex}"

    async def adapter(self, url: str | None = None, **options: object) -> RabbitAdapter:
        adapter = RabbitAdapter(Connection(url=Url.parse(url or self.url), options=options))
        self._closing.append(adapter.close)
        await adapter.open()
        return adapter

    async def source(self, adapter: RabbitAdapter, *topics: str, open: bool = True, **changes: Any) -> RabbitSource:
        settings = {"group": "wallet", "provision": "all"} | changes
        source = adapter.subscribe(Subscription(topics=topics, **settings), self.lost)
        self._closing.append(source.close)
        if open:
            await source.open()
        return source

    async def proxy(self) -> tuple[Proxy, str]:
        proxy = Proxy(self.url)
        self._closing.append(proxy.close)
        return proxy, await proxy.start()

    async def raw(self) -> aio_pika.abc.AbstractChannel:
        connection = await aio_pika.connect(self.url)
        self._closing.append(connection.close)
        return await connection.channel(on_return_raises=True)

    async def close(self) -> None:
        for close in reversed(self._closing):
            await close()


@pytest.fixture
async def bench(rabbit_broker: RabbitBroker) -> AsyncIterator[Bench]:
    bench = Bench(rabbit_broker.url)
    yield bench
    await bench.close()


def outgoing(topic: str, **changes: Any) -> Outgoing:
    return Outgoing(**({"topic": topic, "body": b"{}", "name": "Paid", "id": uuid4().hex} | changes))


async def send(adapter: RabbitAdapter, *messages: Outgoing) -> None:
    for result in await adapter.send(messages):
        assert isinstance(result, Receipt), result


async def take(source: RabbitSource, count: int) -> list[Delivery]:
    """Receive exactly so many."""
    found: list[Delivery] = []
    async with asyncio.timeout(TIMEOUT):
        while len(found) < count:
            found += await source.receive(count - len(found))
    return found


async def fetch(cursor: RabbitCursor, count: int) -> list[Delivery]:
    """Fetch exactly so many."""
    found: list[Delivery] = []
    async with asyncio.timeout(TIMEOUT):
        while len(found) < count:
            found += await cursor.fetch(count - len(found))
    return found


async def reconnected(source: RabbitSource, count: int) -> list[Delivery]:
    """Receive like the core does: again, after a lost connection."""
    found: list[Delivery] = []
    async with asyncio.timeout(TIMEOUT):
        while len(found) < count:
            try:
                found += await source.receive(count - len(found))
            except ConnectionLost:
                await asyncio.sleep(0.05)
    return found


async def settle(source: RabbitSource, deliveries: Iterable[Delivery], outcome: Any = ACK) -> None:
    deliveries = list(deliveries)
    assert await source.settle([(one, outcome) for one in deliveries]) == [Settled.DONE] * len(deliveries)


async def waiting(bench: Bench, queue: str, count: int) -> None:
    """Return when so many messages lie ready in a queue."""
    channel = await bench.raw()
    async with asyncio.timeout(TIMEOUT):
        while (await channel.declare_queue(queue, passive=True)).declaration_result.message_count != count:
            await asyncio.sleep(0.02)


def gives_back_freely(one: Delivery) -> bool:
    """Whether the broker that gave a message does not count what is only given back."""
    return server_version(one.native.channel) >= GIVES_BACK_FREELY


def bodies(deliveries: Iterable[Delivery]) -> list[bytes | None]:
    return [one.body for one in deliveries]


# Messages


async def test_a_message_arrives_unchanged(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    headers = {f"h{i}": str(i) for i in range(32)} | {
        "": "empty name",
        "data": "",
        "ünï 'q\" ": b"\xff",
        "n" * 300: "long",
    }
    message = outgoing(
        topic,
        body=bytes(range(256)),
        key="k",
        headers=headers,
        routing_key="poker.done",
        type="T",
        content_type="text/x",
    )
    before = int(time.time())
    receipts = await adapter.send([message])
    assert receipts == [Receipt(topic, message.id)]
    [one] = await take(source, 1)
    assert (one.body, one.topic, one.key, one.id) == (message.body, topic, "k", message.id)
    assert (one.routing_key, one.type, one.count) == ("poker.done", "T", 1)
    assert {n: v for n, v in one.headers.items() if not n.startswith("bk-")} == headers | {"content-type": "text/x"}
    assert one.time is not None
    assert before <= one.time <= time.time()
    assert aio_pika.IncomingMessage(one.native).body == message.body


@pytest.mark.parametrize("body", [b"", None, b"\0", bytes(300_000)])
async def test_any_body_arrives(bench: Bench, body: bytes | None) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    await send(adapter, outgoing(topic, body=body))
    assert bodies(await take(source, 1)) == [body]


async def test_a_plain_clients_message_arrives(bench: Bench) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    source = await bench.source(adapter, topic)
    exchange = await channel.get_exchange(topic, ensure=False)
    await exchange.publish(aio_pika.Message(b"plain", headers={"n": 5, "t": {"a": [1]}}), routing_key="OnGameDone")
    [one] = await take(source, 1)
    assert (one.body, one.routing_key, one.key, one.type) == (b"plain", "OnGameDone", None, None)
    assert one.headers == {"n": "5", "t": '{"a": [1]}'}


async def test_a_plain_client_can_read_what_was_sent(bench: Bench) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    await adapter.ensure([topic], is_queue=False, create=True)
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(topic, "Paid")
    await send(adapter, outgoing(topic, id="m1", type="T", content_type="application/json", headers={"h": "v"}))
    message = await queue.get()
    assert message.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
    assert (message.message_id, message.type, message.content_type) == ("m1", "T", "application/json")
    assert (message.routing_key, message.headers) == ("Paid", {"h": "v"})


async def test_a_batch_keeps_its_order(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    expected = [str(i).encode() for i in range(500)]
    await send(adapter, *[outgoing(topic, body=body) for body in expected])
    assert bodies(await take(source, 500)) == expected


async def test_two_sends_of_one_id_never_mix_up_their_results(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    channel = await bench.raw()
    await adapter.ensure([topic], is_queue=False, create=True)
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(topic, "bound")
    good, bad = outgoing(topic, id="same", name="bound"), outgoing(topic, id="same", name="unbound")
    both = await asyncio.gather(adapter.send([good, bad, good]), adapter.send([bad, good]))
    assert [[type(result) for result in results] for results in both] == [
        [Receipt, Unroutable, Receipt],
        [Unroutable, Receipt],
    ]


# Results that are errors


async def test_a_missing_topic_harms_no_other_message(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    await bench.source(adapter, topic)
    results = await adapter.send(
        [outgoing(topic), outgoing("no.such.exchange"), outgoing("no.queue", is_queue=True), outgoing(topic)]
    )
    assert [type(result) for result in results] == [Receipt, NotFound, NotFound, Receipt]
    # And the same again: a refused channel is replaced.
    assert isinstance((await adapter.send([outgoing("no.such.exchange")]))[0], NotFound)


async def test_a_topic_without_any_group_is_unroutable(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    await adapter.ensure([topic], is_queue=False, create=True)
    [result] = await adapter.send([outgoing(topic)])
    assert isinstance(result, Unroutable)


async def test_what_the_wire_cannot_hold_is_refused_alone(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    results = await adapter.send(
        [
            outgoing(topic, body=b"1"),
            outgoing(topic, headers={"h": "\ud800"}),
            outgoing(topic, headers={"h": 5}),
            outgoing(topic, name="\ud800"),
            outgoing(topic, headers={"h": "\ud800" * 50_000}),
            outgoing(topic, body=b"2"),
        ]
    )
    assert [type(result) for result in results] == [Receipt, *[InvalidMessage] * 4, Receipt]
    assert bodies(await take(source, 2)) == [b"1", b"2"]


async def test_headers_larger_than_a_frame_are_refused_before_they_cost_the_connection(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    fits, not_quite = {"h": "v" * 130_000}, {"h": "v" * 131_072}
    ok, refused = await adapter.send([outgoing(topic, headers=fits), outgoing(topic, headers=not_quite)])
    assert isinstance(ok, Receipt)
    assert isinstance(refused, MessageTooLarge)
    assert (refused.limit, refused.size > 131_072) == (131_072, True)
    assert len((await take(source, 1))[0].headers["h"]) == 130_000


async def test_the_brokers_limit_is_learnt_from_its_first_refusal(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    await bench.source(adapter, topic, max_in_flight=1)
    too_large = outgoing(topic, body=bytes(LARGEST_MESSAGE + 1))
    [result] = await adapter.send([too_large])
    assert isinstance(result, MessageTooLarge)
    assert (result.size, result.limit) == (LARGEST_MESSAGE + 1, LARGEST_MESSAGE)
    sent: list[object] = []
    monkeypatch.setattr(_publisher.Publisher, "_publish", sent.append)
    assert isinstance((await adapter.send([too_large]))[0], MessageTooLarge)
    assert not sent


async def test_sending_after_close_says_so(bench: Bench) -> None:
    adapter = await bench.adapter()
    await adapter.close()
    await adapter.close()
    assert [type(result) for result in await adapter.send([outgoing("x")])] == [Closed]


# Settling


async def test_what_is_not_acknowledged_comes_back(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    await send(adapter, *[outgoing(topic, body=str(i).encode()) for i in range(6)])
    found = await take(source, 6)
    # Not in order, and with a gap: none of the others may be acknowledged along.
    await settle(source, [found[4], found[0], found[2]])
    await source.stop()
    await source.close()
    again = await take(await bench.source(adapter, topic), 3)
    assert bodies(again) == [b"1", b"3", b"5"]
    assert [one.count for one in again] == [1 if gives_back_freely(again[0]) else 2] * 3


@pytest.mark.parametrize("order", ["key", "strict"])
@pytest.mark.parametrize("stopped", [False, True])
async def test_acknowledgements_just_before_close_are_kept(bench: Bench, order: str, stopped: bool) -> None:
    # One by one they are more than the broker's channel has under way to a quorum queue at a time.
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic, order=order)
    await send(adapter, *[outgoing(topic) for _ in range(200)])
    found = await take(source, 200)
    if stopped:
        await source.stop()
    for one in reversed(found):
        await settle(source, [one])
    await source.close()
    fresh = await bench.source(adapter, topic, order=order)
    await send(adapter, outgoing(topic, body=b"next"))
    assert bodies(await take(fresh, 1)) == [b"next"]


async def test_settling_twice_never_reaches_the_broker(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    await send(adapter, outgoing(topic), outgoing(topic))
    first, second = await take(source, 2)
    await settle(source, [first])
    assert await source.settle([(first, ACK), (first, RELEASE)]) == [Settled.LOST, Settled.LOST]
    assert await source.extend([first, second]) == [Settled.LOST, Settled.DONE]
    # The channel would be dead by now.
    await settle(source, [second])
    await send(adapter, outgoing(topic))
    await take(source, 1)


async def test_a_released_message_comes_back_at_once(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    await send(adapter, outgoing(topic))
    await settle(source, await take(source, 1), RELEASE)
    [one] = await take(source, 1)
    assert one.count == (1 if gives_back_freely(one) else 2)


async def test_a_durable_retry_comes_back_to_this_group_alone(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source, other = await bench.source(adapter, topic), await bench.source(adapter, topic, group="crm")
    await send(adapter, outgoing(topic, id="m", routing_key="poker.done", key="k", headers={"h": "v"}))
    [one], [settings_of_url] = await take(source, 1), await take(other, 1)
    copy = outgoing(topic, id="copy", key=one.key, headers=dict(one.headers) | {"bk-failures": "1"})
    began = time.monotonic()
    await settle(source, [one], RetryLater(1.5, copy))
    [again] = await take(source, 1)
    assert 0.9 < time.monotonic() - began < 9  # and not after the next level, 10 s
    assert (again.id, again.topic, again.key, again.routing_key, again.count) == ("copy", topic, "k", "poker.done", 1)
    assert again.headers["bk-failures"] == "1"
    assert again.time == one.time
    await settle(source, [again])
    await settle(other, [settings_of_url])
    for queue in (f"{topic}.wallet", f"{topic}.crm", f"{topic}.wallet.retry.1s"):
        await waiting(bench, queue, 0)


async def test_a_durable_retry_survives_the_process(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    await send(adapter, outgoing(topic))
    [one] = await take(source, 1)
    await settle(source, [one], RetryLater(1, outgoing(topic, body=b"copy")))
    await source.close()
    await adapter.close()
    fresh = await bench.adapter()
    assert bodies(await take(await bench.source(fresh, topic), 1)) == [b"copy"]


async def test_longer_waits_take_longer_queues(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    await send(adapter, *[outgoing(topic) for _ in range(3)])
    waits = (59.0, 60.0, 90_000.0)
    pairs = [(one, RetryLater(after, outgoing(topic))) for one, after in zip(await take(source, 3), waits, strict=True)]
    assert await source.settle(pairs) == [Settled.DONE] * 3
    for label in ("10s", "1m", "1h"):
        await waiting(bench, f"{topic}.wallet.retry.{label}", 1)


async def test_a_retry_that_cannot_be_stored_keeps_the_original(bench: Bench) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    source = await bench.source(adapter, topic)
    await send(adapter, outgoing(topic), outgoing(topic))
    first, second = await take(source, 2)
    await settle(source, [first], RetryLater(60, outgoing(topic)))
    await channel.queue_delete(f"{topic}.wallet.retry.1m")
    retry = RetryLater(60, outgoing(topic))
    assert await source.settle([(second, retry)]) == [Settled.FAILED]
    await settle(source, [second], retry)
    await waiting(bench, f"{topic}.wallet.retry.1m", 1)


# Groups, members, order


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


# Queues and exchanges of others


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


# Provisioning


async def test_group_creates_the_queue_but_never_the_topic(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    with pytest.raises(NotFound, match=topic):
        await bench.source(adapter, topic, provision="group")
    await adapter.ensure([topic], is_queue=False, create=True)
    await bench.source(adapter, topic, provision="group")
    await waiting(bench, f"{topic}.wallet", 0)


async def test_check_creates_nothing_and_asks_for_everything(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    missing = topic
    for created in (None, "topic", "group"):
        if created == "topic":
            await adapter.ensure([topic], is_queue=False, create=True)
            missing = f"{topic}.wallet"
        elif created == "group":
            await bench.source(adapter, topic, provision="group")
            missing = f"{topic}.wallet.retry.1s"
        with pytest.raises(NotFound, match=missing):
            await bench.source(adapter, topic, provision="check")


async def test_off_looks_at_nothing(bench: Bench) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    with pytest.raises(NotFound):
        await bench.source(adapter, topic, provision="off")
    # Neither exchange nor delay queues: the queue is enough to read.
    await channel.declare_queue(f"{topic}.wallet", exclusive=False, auto_delete=True)
    source = await bench.source(adapter, topic, provision="off")
    await channel.default_exchange.publish(aio_pika.Message(b"x"), routing_key=f"{topic}.wallet")
    [one] = await take(source, 1)
    assert await source.settle([(one, RetryLater(60, outgoing(topic)))]) == [Settled.FAILED]


@pytest.mark.parametrize("provision", ["off", "check", "group"])
async def test_a_broadcast_source_creates_no_exchange(bench: Bench, provision: str) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    with pytest.raises(NotFound, match=topic):
        await bench.source(adapter, topic, provision=provision, broadcast=True)
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await channel.declare_exchange(topic, passive=True)
    await adapter.ensure([topic], is_queue=False, create=True)
    source = await bench.source(adapter, topic, provision=provision, broadcast=True)
    await send(adapter, outgoing(topic))
    await take(source, 1)


# Connecting and losing the connection


async def test_nobody_there_is_a_lost_connection(bench: Bench) -> None:
    adapter = RabbitAdapter(Connection(url=Url.parse("amqp://u:hidden@127.0.0.1:1/"), connect_timeout=2))
    with pytest.raises(ConnectionLost) as caught:
        await adapter.open()
    assert "hidden" not in str(caught.value)
    [result] = await adapter.send([outgoing("x")])
    assert isinstance(result, ConnectionLost)
    source = adapter.subscribe(Subscription(topics=("x",), group="g"), bench.lost)
    with pytest.raises(ConnectionLost):
        await source.open()
    await source.close()
    await adapter.close()


async def test_a_silent_host_is_given_up_after_the_connect_timeout(bench: Bench) -> None:
    proxy, url = await bench.proxy()
    proxy.freeze()
    adapter = RabbitAdapter(Connection(url=Url.parse(url), connect_timeout=0.3))
    with pytest.raises(ConnectionLost, match=r"0\.3 s"):
        await adapter.open()
    await adapter.close()


async def test_a_wrong_password_is_denied_and_never_shown(
    bench: Bench, rabbit_broker: RabbitBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = Url.parse(rabbit_broker.wrong_password_url)
    adapter = RabbitAdapter(Connection(url=url))
    with pytest.raises(AccessDenied) as caught:
        await adapter.open()
    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {adapter!r} {caplog.text}"
    assert url.password
    assert url.password not in shown
    assert url.host(0)[0] in str(caught.value)
    await adapter.close()


async def test_a_missing_virtual_host_is_named(bench: Bench) -> None:
    adapter = RabbitAdapter(Connection(url=Url.parse(f"{bench.url.rstrip('/')}/nowhere")))
    with pytest.raises(NotFound, match="nowhere"):
        await adapter.open()
    await adapter.close()


@pytest.mark.parametrize(
    ("scheme", "options", "text"),
    [
        ("amqp", {"hartbeat": "5"}, "heartbeat"),
        ("amqp", {"heartbeat": "soon"}, "soon"),
        ("amqp", {"heartbeat": 70_000}, "65534"),
        ("amqp", {"auth": "magic"}, "plain"),
        ("amqp", {"name": 5}, "not text"),
        ("amqp", {"ssl_context": ssl.create_default_context()}, "amqps"),
        ("amqps", {"no_verify_ssl": "perhaps"}, "perhaps"),
        ("amqps", {"cafile": "no/such/file"}, "does not exist"),
    ],
)
def test_a_wrong_option_is_found_before_connecting(scheme: str, options: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        RabbitAdapter(Connection(url=Url.parse(f"{scheme}://localhost"), options=options))


async def test_options_from_a_url_are_text_and_reach_the_client(bench: Bench) -> None:
    options: dict[str, Any] = {
        "heartbeat": "7",
        "name": "me & you",
        "happy_eyeballs_delay": "0.25",
        "client_properties": {"a": "b"},
    }
    adapter = await bench.adapter(**options)
    topic = bench.topic()
    await bench.source(adapter, topic)
    await send(adapter, outgoing(topic))
    transport = (await adapter._publisher.connection()).transport
    assert transport is not None
    assert transport.connection.connection_tune.heartbeat == 7


async def test_a_cut_connection_loses_what_was_out_and_the_next_receive_reconnects(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    proxy, url = await bench.proxy()
    behind = await bench.adapter(url)
    source = await bench.source(behind, topic, max_in_flight=4)
    await send(adapter, *[outgoing(topic, body=str(i).encode()) for i in range(4)])
    found = await take(source, 2)
    proxy.cut()
    async with asyncio.timeout(TIMEOUT):
        await bench.lost.called.wait()
    # The other two had not been handed out: nobody needs to hear of them.
    assert bench.lost.deliveries == found
    assert await source.settle([(one, ACK) for one in found]) == [Settled.LOST] * 2
    with pytest.raises(ConnectionLost):
        await source.receive(10)
    again = await reconnected(source, 4)
    assert bodies(again) == [b"0", b"1", b"2", b"3"]
    assert await source.settle([(one, ACK) for one in found]) == [Settled.LOST] * 2
    await settle(source, again)


async def test_a_settlement_that_outlives_its_channel_never_touches_the_next_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    proxy, url = await bench.proxy()
    behind = await bench.adapter(url)
    source = await bench.source(behind, topic)
    await send(adapter, outgoing(topic))
    [one] = await take(source, 1)
    is_queue, publishing = asyncio.Event(), asyncio.Event()

    async def publish(publisher: object, letters: Sequence[object]) -> list[None]:
        publishing.set()
        await is_queue.wait()
        return [None] * len(letters)

    with monkeypatch.context() as patch:
        patch.setattr(_publisher.Publisher, "send", publish)
        settling = asyncio.create_task(source.settle([(one, RetryLater(60, outgoing(topic)))]))
        await publishing.wait()
        proxy.cut()
        [again] = await reconnected(source, 1)
        assert again.token == one.token
        is_queue.set()
        assert await settling == [Settled.LOST]
    assert await source.extend([again]) == [Settled.DONE]
    await settle(source, [again])


async def test_a_settlement_ends_when_its_channel_does(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    proxy, url = await bench.proxy()
    source = await bench.source(await bench.adapter(url), topic)
    await send(adapter, *[outgoing(topic) for _ in range(400)])
    found = await take(source, 400)
    # The first one is still being handled, so each of the others needs a frame of its own, and the client's queue fills.
    settling = asyncio.create_task(source.settle([(one, ACK) for one in found[1:]]))
    await asyncio.sleep(0)
    proxy.cut()
    async with asyncio.timeout(TIMEOUT):
        assert len(await settling) == 399


async def test_sends_during_a_cut_all_end_and_the_next_send_reconnects(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    proxy, url = await bench.proxy()
    behind = await bench.adapter(url)
    batch = [outgoing(topic, body=bytes(5000)) for _ in range(400)]
    sending = asyncio.create_task(behind.send(batch))
    await take(source, 1)
    proxy.cut()
    async with asyncio.timeout(TIMEOUT):
        results = await sending
    assert len(results) == 400
    assert all(isinstance(result, Receipt | ConnectionLost) for result in results)
    assert any(isinstance(result, ConnectionLost) for result in results)
    await send(behind, outgoing(topic))


async def test_a_send_without_confirmation_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = bench.topic()
    proxy, url = await bench.proxy()
    behind = await bench.adapter(url)
    await bench.source(await bench.adapter(), topic)
    await send(behind, outgoing(topic))
    monkeypatch.setattr(_publisher, "CONFIRM_TIMEOUT", 0.3)
    proxy.freeze()
    async with asyncio.timeout(TIMEOUT):
        [result] = await behind.send([outgoing(topic)])
    assert isinstance(result, ConnectionLost)
    assert "may or may not" in str(result)


async def test_a_deleted_queue_is_made_again(bench: Bench) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    source = await bench.source(adapter, topic, provision="all")
    receiving = asyncio.create_task(source.receive(10))
    await channel.queue_delete(f"{topic}.wallet")
    with pytest.raises(ConnectionLost, match="it is gone"):
        await asyncio.wait_for(receiving, TIMEOUT)
    assert await asyncio.wait_for(source.receive(10), TIMEOUT) == []  # the core learns that the broker is back
    receiving = asyncio.create_task(source.receive(10))
    async with asyncio.timeout(TIMEOUT):
        while not isinstance((await adapter.send([outgoing(topic)]))[0], Receipt):
            await asyncio.sleep(0.02)
    assert len(await asyncio.wait_for(receiving, TIMEOUT)) == 1


async def test_a_deleted_queue_leaves_the_deliveries_of_the_others_alone(bench: Bench) -> None:
    kept, deleted, adapter, channel = bench.topic(), bench.topic(), await bench.adapter(), await bench.raw()
    source = await bench.source(adapter, kept, deleted)
    await send(adapter, outgoing(kept), outgoing(deleted), outgoing(kept))
    taken = await take(source, 3)
    await channel.queue_delete(f"{deleted}.wallet")
    with pytest.raises(ConnectionLost, match=re.escape(f"{deleted}.wallet; it is gone")):
        await asyncio.wait_for(source.receive(10), TIMEOUT)
    assert [one.topic for one in bench.lost.deliveries] == [deleted]
    # What runs meanwhile is settled on the channel on which it came.
    expected = [Settled.LOST if one.topic == deleted else Settled.DONE for one in taken]
    assert await source.settle([(one, ACK) for one in taken]) == expected
    assert await asyncio.wait_for(source.receive(10), TIMEOUT) == []  # the core learns that the queue is back
    await send(adapter, outgoing(deleted), outgoing(kept))
    again = await take(source, 2)
    assert {(one.topic, one.count) for one in again} == {(deleted, 1), (kept, 1)}
    await settle(source, again)
    await source.close()
    for topic in (kept, deleted):
        await waiting(bench, f"{topic}.wallet", 0)


async def test_a_queue_that_may_not_be_made_again_is_waited_for_while_others_are_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_source, "_LOOK_EVERY", 0.2)
    kept, deleted, adapter, channel = bench.topic(), bench.topic(), await bench.adapter(), await bench.raw()
    await (await bench.source(adapter, kept, deleted)).close()
    source = await bench.source(adapter, kept, deleted, provision="off")
    await send(adapter, outgoing(kept))
    held = await take(source, 1)
    await channel.queue_delete(f"{deleted}.wallet")
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(source.receive(10), TIMEOUT)
    for _ in range(2):
        with pytest.raises(ConnectionLost, match=re.escape(f"{deleted}.wallet") + ".*waiting for it"):
            await asyncio.wait_for(source.receive(10), TIMEOUT)
    assert await source.settle([(one, ACK) for one in held]) == [Settled.DONE]
    await send(adapter, outgoing(kept))

    async def received() -> Sequence[Delivery]:
        while True:
            with contextlib.suppress(ConnectionLost):
                return await source.receive(10)

    assert [one.topic for one in await asyncio.wait_for(received(), TIMEOUT)] == [kept]
    queue = await channel.declare_queue(f"{deleted}.wallet", durable=True)
    assert await asyncio.wait_for(received(), TIMEOUT) == []  # the core learns that the queue is back
    await queue.bind(deleted, "#")
    await send(adapter, outgoing(deleted))
    assert len(await take(source, 1)) == 1


@pytest.mark.parametrize("provision", ["group", "check"])
@pytest.mark.parametrize("broadcast", [False, True], ids=["group", "broadcast"])
async def test_an_exchange_that_is_missing_while_the_source_reconnects_is_waited_for(
    bench: Bench, provision: str, broadcast: bool
) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    proxy, url = await bench.proxy()
    await channel.declare_exchange(topic, "topic", durable=True)
    delays = [f"{topic}.wallet.retry.{label}" for label in ("1s", "10s", "1m", "10m", "1h")]
    await adapter.ensure(delays, is_queue=True, create=True)
    settings: dict[str, Any] = {"broadcast": True, "group": None} if broadcast else {}
    if not broadcast:
        await (await bench.source(adapter, topic)).close()
    source = await bench.source(await bench.adapter(url), topic, provision=provision, **settings)
    await channel.exchange_delete(topic)
    proxy.cut()
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(source.receive(1), TIMEOUT)
    for _ in range(2):
        with pytest.raises(ConnectionLost, match=f"no exchange '{re.escape(topic)}'"):
            await asyncio.wait_for(source.receive(1), TIMEOUT)
    exchange = await channel.declare_exchange(topic, "topic", durable=True)
    assert await asyncio.wait_for(source.receive(1), TIMEOUT) == []  # the core learns that the broker is back
    if provision == "check" and not broadcast:
        queue = await channel.get_queue(f"{topic}.wallet")
        await queue.bind(topic, "#")  # whoever provisions by himself binds by himself
    await exchange.publish(aio_pika.Message(b"after"), routing_key="Paid")
    assert bodies(await take(source, 1)) == [b"after"]


async def test_an_exchange_and_a_queue_that_are_deleted_together_are_waited_for(bench: Bench) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    await channel.declare_exchange(topic, "topic", durable=True)
    source = await bench.source(adapter, topic, provision="group")
    await channel.exchange_delete(topic)
    await channel.queue_delete(f"{topic}.wallet")
    with pytest.raises(ConnectionLost, match="it is gone"):
        await asyncio.wait_for(source.receive(1), TIMEOUT)
    with pytest.raises(ConnectionLost, match=f"no exchange '{re.escape(topic)}'"):
        await asyncio.wait_for(source.receive(1), TIMEOUT)
    exchange = await channel.declare_exchange(topic, "topic", durable=True)
    assert await asyncio.wait_for(source.receive(1), TIMEOUT) == []
    await exchange.publish(aio_pika.Message(b"after"), routing_key="Paid")
    assert bodies(await take(source, 1)) == [b"after"]


async def test_an_exchange_that_is_missing_at_the_start_ends_the_source(bench: Bench) -> None:
    topic = bench.topic()
    source = await bench.source(await bench.adapter(), topic, provision="group", open=False)
    with pytest.raises(NotFound, match=f"no exchange '{re.escape(topic)}'"):
        await source.open()


async def test_a_lost_handler_that_still_runs_is_waited_for_before_reconnecting(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    proxy, url = await bench.proxy()
    behind = await bench.adapter(url)
    done = asyncio.Event()

    async def lost(deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
        await done.wait()

    source = behind.subscribe(Subscription(topics=(topic,), group="wallet", provision="all"), lost)
    await source.open()
    await send(adapter, outgoing(topic))
    await take(source, 1)
    proxy.cut()
    with pytest.raises(ConnectionLost):
        await source.receive(1)
    again = asyncio.create_task(source.receive(1))
    await waiting(bench, f"{topic}.wallet", 1)
    assert not again.done()
    done.set()
    assert await asyncio.wait_for(again, TIMEOUT) == []  # the core learns that the broker is back
    await take(source, 1)
    await source.close()


async def test_a_restarted_broker_is_found_again(bench: Bench, rabbit_broker: RabbitBroker) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    await send(adapter, outgoing(topic, body=b"before"))
    await take(source, 1)
    await asyncio.to_thread(rabbit_broker.restart)
    assert bodies(await reconnected(source, 1)) == [b"before"]
    await send(adapter, outgoing(topic, body=b"after"))
    assert bodies(await reconnected(source, 1)) == [b"after"]


# Stopping


@pytest.mark.parametrize("shared", [False, True])
async def test_stop_ends_a_receive_and_gives_back_what_was_not_handed_out(bench: Bench, shared: bool) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    await send(adapter, *[outgoing(topic, body=str(i).encode()) for i in range(5)])
    found = await take(source, 1)
    await waiting(bench, f"{topic}.wallet", 0)
    if shared:
        other = await bench.source(adapter, topic)
    await source.stop()
    assert await source.receive(10) == []
    if not shared:  # Nobody waits for it: it goes back in order with what may follow.
        await settle(source, found)
        await source.close()
        await waiting(bench, f"{topic}.wallet", 4)
        other = await bench.source(adapter, topic)
    assert bodies(await take(other, 4)) == [b"1", b"2", b"3", b"4"]
    if shared:
        await settle(source, found)


async def test_stop_ends_a_receive_that_waits(bench: Bench) -> None:
    adapter = await bench.adapter()
    source = await bench.source(adapter, bench.topic())
    receiving = asyncio.create_task(source.receive(1))
    await asyncio.sleep(0)
    await source.stop()
    assert await asyncio.wait_for(receiving, TIMEOUT) == []


async def test_stop_ends_a_receive_that_reconnects(bench: Bench) -> None:
    proxy, url = await bench.proxy()
    source = await bench.source(await bench.adapter(url), bench.topic())
    proxy.cut()
    with pytest.raises(ConnectionLost):
        await source.receive(1)
    proxy.freeze()
    receiving = asyncio.create_task(source.receive(1))
    await asyncio.sleep(0)
    await source.stop()
    assert await asyncio.wait_for(receiving, 8) == []  # sooner than the connect timeout


async def test_close_frees_everything(bench: Bench) -> None:
    before = asyncio.all_tasks()
    adapter = await bench.adapter()
    source = await bench.source(adapter, bench.topic())
    assert ("reading" in repr(source), "connected" in repr(adapter)) == (True, True)
    for _ in range(2):
        await source.close()
        await adapter.close()
    assert ("stopped" in repr(source), "closed" in repr(adapter)) == (True, True)
    async with asyncio.timeout(TIMEOUT):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.01)
    gc.collect()
    assert not bench.lost.deliveries


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
