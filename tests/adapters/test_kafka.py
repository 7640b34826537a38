"""The Kafka adapter at the seam, on a real broker."""

import asyncio
import logging
import re
import threading
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message
from confluent_kafka.admin import AdminClient
from tests.brokers.kafka import KafkaBroker

from brokerkit._errors import (
    AccessDenied,
    Closed,
    ConfigError,
    ConnectionLost,
    InvalidMessage,
    MessageTooLarge,
    NotFound,
)
from brokerkit._messages._delivery import ACK, RELEASE, Delivery, RetryLater, Settled
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._url import Url
from brokerkit.adapters.api import Connection, Subscription
from brokerkit.adapters.kafka import KafkaAdapter
from brokerkit.adapters.kafka._consumer import PAUSE_AFTER
from brokerkit.adapters.kafka._source import KafkaSource

WEIRD = {
    "": "empty name",
    "empty value": "",
    " spaces ": "  in both  ",
    "quotes \"double\" and 'single'": '"',
    "data": "a name that means something elsewhere",
    "key": "so does this",
    "naïve ☃ 牌": "ünïcødé ♠♥",
    "line\nbreak": "a\r\nb\tc",
    "n" * 300: "v" * 3_000,
    "bytes": bytes(range(256)),
} | {f"header-{number}": str(number) for number in range(32)}


def adapter(broker: KafkaBroker, **options: object) -> KafkaAdapter:
    return KafkaAdapter(Connection(url=Url.parse(broker.url), options=options))


@asynccontextmanager
async def opened(broker: KafkaBroker, **options: object) -> AsyncGenerator[KafkaAdapter, None]:
    if options.get("group.protocol") != "consumer":
        # A second member is let in when the first one's heartbeat has told it so; three seconds otherwise.
        options = {"heartbeat.interval.ms": 300, **options}
    kafka = adapter(broker, **options)
    await kafka.open()
    try:
        yield kafka
    finally:
        await kafka.close()


@pytest.fixture
async def kafka(kafka_broker: KafkaBroker) -> AsyncIterator[KafkaAdapter]:
    async with opened(kafka_broker) as one:
        yield one


@pytest.fixture
async def topic(kafka: KafkaAdapter) -> str:
    """A topic with four partitions."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    await kafka.ensure([name], is_queue=False, create=True)
    return name


class Lost:
    """What the core would do about deliveries that are no longer ours."""

    def __init__(self, then: Callable[[Sequence[Delivery]], Awaitable[None]] | None = None) -> None:
        self.deliveries: list[Delivery] = []
        self.called = asyncio.Event()
        self._then = then

    async def __call__(self, deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
        self.deliveries += deliveries
        self.called.set()
        if self._then is not None:
            await self._then(deliveries)


def group_of(topic: str) -> str:
    """The group that `reading` uses: one for each test, so that none waits for members of another."""
    return f"readers-{topic[-8:]}"


def retry_of(topic: str, level: str) -> str:
    return f"{topic}.{group_of(topic)}.retry.{level}"


@asynccontextmanager
async def reading(
    kafka: KafkaAdapter, *topics: str, lost: Lost | None = None, group: str = "", **settings: Any
) -> AsyncGenerator[KafkaSource, None]:
    wanted = Subscription(topics=topics, group=group or group_of(topics[0]), **settings)
    source = kafka.subscribe(wanted, lost or Lost())
    await source.open()
    try:
        yield source
    finally:
        await source.close()


def message(topic: str, body: bytes | None = b"{}", **fields: Any) -> Outgoing:
    named: dict[str, Any] = {"name": "test", "id": uuid.uuid4().hex, **fields}
    return Outgoing(topic=topic, body=body, **named)


async def send(kafka: KafkaAdapter, *messages: Outgoing) -> list[Receipt]:
    results = await kafka.send(messages)
    receipts = [result for result in results if isinstance(result, Receipt)]
    assert receipts == results
    return receipts


async def take(source: KafkaSource, count: int) -> list[Delivery]:
    """Exactly so many messages."""
    taken: list[Delivery] = []
    async with asyncio.timeout(30):
        while len(taken) < count:
            taken += await source.receive(count - len(taken))
    return taken


async def nothing_comes(source: KafkaSource, seconds: float) -> bool:
    """Whether no message arrives for so long. The source is stopped then."""
    receiving = asyncio.ensure_future(source.receive(100))
    await asyncio.wait({receiving}, timeout=seconds)
    came = receiving.done()
    await source.stop()
    await receiving
    return not came


async def ack(source: KafkaSource, deliveries: Sequence[Delivery]) -> list[Settled]:
    return await source.settle([(delivery, ACK) for delivery in deliveries])


def bodies(deliveries: Sequence[Delivery]) -> list[bytes | None]:
    return [delivery.body for delivery in deliveries]


# Publishing and receiving


async def test_a_message_goes_through_unchanged(kafka: KafkaAdapter, topic: str) -> None:
    before = time.time()
    body = bytes(range(256))
    (receipt,) = await send(
        kafka, message(topic, body, id="m-1", key="table-9", headers=WEIRD, content_type="application/json")
    )
    async with reading(kafka, topic) as source:
        (got,) = await take(source, 1)
        assert (got.body, got.topic, got.key, got.id) == (body, topic, b"table-9", "m-1")
        expected = {name: value.encode() if isinstance(value, str) else value for name, value in WEIRD.items()}
        assert {**expected, "bk-id": b"m-1", "content-type": b"application/json"} == dict(got.headers)
        assert got.time is not None and abs(got.time - before) < 30
        assert isinstance(got.position, tuple) and receipt.position == f"{got.position[0]}@{got.position[1]}"
        assert isinstance(got.native, Message)
        assert (receipt.topic, receipt.id, got.count) == (topic, "m-1", 0)


async def test_null_and_empty_stay_apart(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, None, key=b"k"), message(topic, b"", key=b"k"), message(topic, b"", key=""))
    async with reading(kafka, topic) as source:
        got = await take(source, 3)
        assert {(one.key, one.body) for one in got} == {(b"k", None), (b"k", b""), (b"", b"")}


async def test_a_plain_producers_message_is_delivered(
    kafka_broker: KafkaBroker, kafka: KafkaAdapter, topic: str
) -> None:
    plain = kafka_broker.producer()
    plain.produce(topic, b"plain", headers=[("twice", b"1"), ("twice", b"2"), ("null", None)])
    plain.flush()
    async with reading(kafka, topic) as source:
        (got,) = await take(source, 1)
        assert (got.body, got.key, got.id, dict(got.headers)) == (b"plain", None, None, {"twice": b"2", "null": b""})
        assert got.stable_id is not None and got.stable_id.startswith(f"{topic}/")


async def test_messages_of_one_key_keep_their_order(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, *(message(topic, b"%d" % number, key=f"k{number % 7}") for number in range(700)))
    async with reading(kafka, topic) as source:
        got = await take(source, 700)
    for key in {one.key for one in got}:
        numbers = [int(one.body or b"") for one in got if one.key == key]
        assert numbers == sorted(numbers) and len(numbers) == 100


async def test_receive_returns_no_more_than_asked_for(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, *(message(topic) for _ in range(50)))
    async with reading(kafka, topic) as source:
        first = await source.receive(3)
        assert 0 < len(first) <= 3
        assert len(await take(source, 50 - len(first))) == 50 - len(first)


@pytest.mark.parametrize(
    "headers",
    [{"name": "\ud800"}, {"\ud800": "value"}, {"name": 1}, {1: "value"}, {"name": None}, {"na\0me": "value"}],
    ids=["surrogate value", "surrogate name", "number", "number as name", "none", "NUL in a name"],
)
async def test_a_header_that_is_no_text_fails_alone(kafka: KafkaAdapter, topic: str, headers: Any) -> None:
    good, bad, last = await kafka.send([message(topic), message(topic, headers=headers), message(topic)])
    assert isinstance(good, Receipt) and isinstance(last, Receipt)
    assert isinstance(bad, InvalidMessage)


async def test_a_key_that_is_no_text_is_refused(kafka: KafkaAdapter, topic: str) -> None:
    (result,) = await kafka.send([message(topic, key="\ud800")])
    assert isinstance(result, InvalidMessage)


async def test_size_at_the_clients_limit_passes_and_one_more_is_refused(kafka_broker: KafkaBroker, topic: str) -> None:
    async with opened(kafka_broker, **{"message.max.bytes": "5000"}) as kafka:
        headers = {"a": "v" * 100, "bb": "w"}
        (refused,) = await kafka.send([message(topic, b"x" * 5_000, id="1", key="k", headers=headers)])
        assert isinstance(refused, MessageTooLarge) and refused.limit == 5_000
        fits = 5_000 - (refused.size - 5_000)
        at_limit, over, small = await kafka.send(
            [message(topic, b"x" * size, id="1", key="k", headers=headers) for size in (fits, fits + 1, 1)]
        )
        assert isinstance(at_limit, Receipt) and isinstance(small, Receipt)
        assert isinstance(over, MessageTooLarge) and (over.size, over.limit) == (5_001, 5_000)


async def test_a_message_too_large_for_the_topic_fails_alone(kafka_broker: KafkaBroker, kafka: KafkaAdapter) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    await kafka.require_open().create({name: 1}, {"max.message.bytes": "2000"})
    batch = [message(name, b"y" * 270) for _ in range(20)]
    results = await kafka.send([*batch[:10], message(name, b"x" * 3_000), *batch[10:]])
    refused = results.pop(10)
    assert isinstance(refused, MessageTooLarge) and refused.limit == 2_000 and refused.size > 3_000
    assert all(isinstance(result, Receipt) for result in results)


async def test_publishing_to_a_missing_topic_is_not_found(kafka: KafkaAdapter) -> None:
    (result,) = await kafka.send([message(f"missing-{uuid.uuid4().hex}")])
    assert isinstance(result, NotFound)


async def test_a_full_client_queue_is_back_pressure(kafka_broker: KafkaBroker, topic: str) -> None:
    async with opened(kafka_broker, **{"queue.buffering.max.messages": 10}) as kafka:
        assert len(await send(kafka, *(message(topic) for _ in range(200)))) == 200


async def test_cancelling_a_send_leaves_the_adapter_usable(kafka: KafkaAdapter, topic: str) -> None:
    sending = asyncio.ensure_future(kafka.send([message(topic)]))
    await asyncio.sleep(0)
    sending.cancel()
    await asyncio.wait({sending})
    assert len(await send(kafka, message(topic))) == 1


async def test_a_producer_with_a_fatal_error_is_replaced(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic))
    before = kafka._producer  # pyright: ignore[reportPrivateUsage]
    kafka._on_error(KafkaError(KafkaError.UNKNOWN_PRODUCER_ID, "fenced", fatal=True))  # pyright: ignore[reportPrivateUsage]
    assert len(await send(kafka, message(topic))) == 1
    assert kafka._producer is not before  # pyright: ignore[reportPrivateUsage]


async def test_messages_that_the_client_forgets_count_as_lost_and_its_successor_takes_the_next(
    kafka_broker: KafkaBroker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(kafka_broker, **{"delivery.timeout.ms": 1_000}) as kafka:
        await send(kafka, message(topic))
        monkeypatch.setattr(kafka._producer, "produce", lambda *_, **__: None)  # pyright: ignore[reportPrivateUsage]
        async with asyncio.timeout(30):
            [result] = await kafka.send([message(topic)])
        assert isinstance(result, ConnectionLost)
        assert len(await send(kafka, message(topic))) == 1


@pytest.mark.parametrize("name", ["linger.ms", "queue.buffering.max.ms"])
async def test_messages_linger_where_an_option_says_so(kafka_broker: KafkaBroker, topic: str, name: str) -> None:
    async with opened(kafka_broker, **{name: 700}) as kafka:
        begun = asyncio.get_running_loop().time()
        await send(kafka, message(topic))
        assert asyncio.get_running_loop().time() - begun >= 0.7


# Settling


async def test_a_later_ack_never_hides_an_earlier_message(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, *(message(topic, b"%d" % number, key="k") for number in range(5)))
    async with reading(kafka, topic) as source:
        got = await take(source, 5)
        assert await ack(source, [got[0], got[1], got[3], got[4]]) == [Settled.DONE] * 4
    async with reading(kafka, topic) as source:
        assert bodies(await take(source, 3)) == [b"2", b"3", b"4"]


async def test_an_acknowledged_message_does_not_return(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"1", key="k"), message(topic, b"2", key="k"))
    async with reading(kafka, topic) as source:
        got = await take(source, 2)
        assert await ack(source, got) == [Settled.DONE] * 2
        assert await ack(source, got) == [Settled.DONE] * 2
    await send(kafka, message(topic, b"3", key="k"))
    async with reading(kafka, topic) as source:
        assert bodies(await take(source, 1)) == [b"3"]


async def test_a_released_message_goes_to_the_next_member(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"1", key="k"), message(topic, b"2", key="k"))
    lost = Lost()
    async with reading(kafka, topic, lost=lost) as source:
        first, second = await take(source, 2)
        await source.stop()
        assert await source.settle([(first, ACK), (second, RELEASE)]) == [Settled.DONE] * 2
    assert lost.deliveries == []
    async with reading(kafka, topic) as source:
        assert bodies(await take(source, 1)) == [b"2"]


async def test_a_retry_comes_when_it_is_due_and_its_original_is_done(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"first", key="k"))
    async with reading(kafka, topic) as source:
        (got,) = await take(source, 1)
        begun = time.time()
        copy = message("", b"copy", id="m#2", key=got.key, headers={"bk-due": str(begun + 1.2)})
        assert await source.settle([(got, RetryLater(1.2, copy))]) == [Settled.DONE]
        # Others are handled meanwhile.
        await send(kafka, message(topic, b"second", key="k"))
        other = await take(source, 1)
        assert bodies(other) == [b"second"]
        await ack(source, other)
        (again,) = await take(source, 1)
        assert 0.9 < time.time() - begun < 9  # and not after the next level, 10 s
        assert (again.body, again.id, again.key, again.topic, again.is_ours) == (b"copy", "m#2", b"k", topic, True)
        # Once more, from the retry topic, and this time across a restart.
        assert await source.settle([(again, RetryLater(1.0, copy))]) == [Settled.DONE]
    async with reading(kafka, topic) as source:
        assert bodies(await take(source, 1)) == [b"copy"]


async def test_the_longest_level_that_is_not_too_long_is_taken(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic))
    async with reading(kafka, topic) as source:
        (got,) = await take(source, 1)
        await source.settle([(got, RetryLater(700, message("", b"copy")))])
        await source.stop()
    async with reading(kafka, retry_of(topic, "10m"), group="spy", is_queue=True) as spy:
        assert bodies(await take(spy, 1)) == [b"copy"]


async def test_a_copy_that_is_not_confirmed_leaves_the_original_open(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"keep me"))
    async with reading(kafka, topic) as source:
        (got,) = await take(source, 1)
        bad = message("", headers={"\ud800": "x"})
        assert await source.settle([(got, RetryLater(1, bad))]) == [Settled.FAILED]
    async with reading(kafka, topic) as source:
        assert bodies(await take(source, 1)) == [b"keep me"]


async def test_strict_order_has_no_retry_topics(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic))
    async with reading(kafka, topic, order="strict") as source:
        (got,) = await take(source, 1)
        assert await source.settle([(got, RetryLater(60, message("")))]) == [Settled.FAILED]
    with pytest.raises(NotFound):
        await kafka.ensure([retry_of(topic, "1m")], is_queue=True, create=False)


async def test_lag_counts_what_is_not_done(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, *(message(topic, key="k") for _ in range(10)))
    async with reading(kafka, topic) as source:
        assert await source.lag() == 10
        got = await take(source, 4)
        await ack(source, got[:3])
        assert await source.lag() == 7


# Groups, members, partitions


async def test_two_groups_each_get_everything(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"1"), message(topic, b"2"))
    async with reading(kafka, topic, group="one") as one, reading(kafka, topic, group="two") as two:
        assert sorted(map(repr, bodies(await take(one, 2)))) == sorted(map(repr, bodies(await take(two, 2))))


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_a_member_that_loses_partitions_finishes_and_commits_first(
    kafka_broker: KafkaBroker, kafka: KafkaAdapter, topic: str, protocol: str
) -> None:
    async with opened(kafka_broker, **{"group.protocol": protocol}) as member:
        await send(kafka, *(message(topic, b"%d" % number, key=str(number)) for number in range(40)))
        settled: list[Settled] = []

        async def finish(deliveries: Sequence[Delivery]) -> None:
            await asyncio.sleep(0.3)  # A handler that still runs.
            settled.extend(await ack(first, deliveries))

        lost = Lost(finish)
        async with reading(member, topic, lost=lost, provision="all") as first:
            await take(first, 40)
            async with reading(member, topic) as second:
                async with asyncio.timeout(30):
                    await lost.called.wait()
                # What was finished inside the revoke is not delivered again; the new owner reads on from there.
                moved = {one.position[0] for one in lost.deliveries if isinstance(one.position, tuple)}
                assert len(moved) == 2
                fresh = {one.key for one in lost.deliveries}
                receiving = asyncio.ensure_future(second.receive(100))
                while not receiving.done():
                    await send(kafka, *(message(topic, b"new", key=key) for key in fresh))
                    await asyncio.wait({receiving}, timeout=0.2)
                assert set(bodies(await receiving)) == {b"new"}
                assert settled == [Settled.DONE] * len(lost.deliveries)
                # Too late for these.
                assert await ack(first, lost.deliveries) == [Settled.LOST] * len(lost.deliveries)
                assert await first.extend(lost.deliveries[:1]) == [Settled.LOST]


async def test_partitions_that_are_gone_already_are_never_committed(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"1", key="k"), message(topic, b"2", key="k"))
    answers: list[Settled] = []

    async def too_late(deliveries: Sequence[Delivery]) -> None:
        answers.extend(await ack(source, deliveries))

    lost = Lost(too_late)
    async with reading(kafka, topic, lost=lost) as source:
        got = await take(source, 2)
        await source.revoked([(topic, number) for number in range(4)], ours=False)
        assert lost.deliveries == got and answers == [Settled.LOST] * 2
        assert "0 in flight" in repr(source)
    async with reading(kafka, topic) as source:
        assert bodies(await take(source, 2)) == [b"1", b"2"]


async def test_a_drain_that_takes_too_long_is_not_waited_for(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, *(message(topic, key=str(number)) for number in range(20)))
    release = asyncio.Event()

    async def hang(_: Sequence[Delivery]) -> None:
        await release.wait()

    lost = Lost(hang)
    async with reading(kafka, topic, lost=lost, drain_timeout=0.2) as first:
        await take(first, 20)
        async with reading(kafka, topic) as second:
            again = await take(second, 1)
            assert again[0].key in {one.key for one in lost.deliveries}
            assert await ack(first, lost.deliveries) == [Settled.LOST] * len(lost.deliveries)
            release.set()


async def test_latest_begins_where_the_topic_ended_at_open(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"old", key="k"))
    async with reading(kafka, topic, start="latest") as source:
        await send(kafka, message(topic, b"new", key="k"))
        assert bodies(await take(source, 1)) == [b"new"]
    # Nothing was committed by the reader, and still the next one does not begin at the new end.
    async with reading(kafka, topic, start="latest") as source:
        assert bodies(await take(source, 1)) == [b"new"]


async def test_broadcast_gives_every_process_everything_from_now_on(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"old"))
    async with (
        reading(kafka, topic, broadcast=True) as one,
        reading(kafka, topic, broadcast=True) as two,
    ):
        await send(kafka, message(topic, b"new"))
        for source in (one, two):
            got = await take(source, 1)
            assert bodies(got) == [b"new"]
            assert await ack(source, got) == [Settled.DONE]
            assert await source.lag() == 0


async def test_several_topics_are_one_source(kafka: KafkaAdapter, topic: str) -> None:
    other = f"{topic}-other"
    await kafka.ensure([other], is_queue=False, create=True)
    await send(kafka, message(topic, b"1"), message(other, b"2"))
    async with reading(kafka, topic, other) as source:
        assert {(one.topic, one.body) for one in await take(source, 2)} == {(topic, b"1"), (other, b"2")}


# Back pressure, stopping, closing


async def test_a_full_consumer_pauses_and_goes_on_when_slots_are_free(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, *(message(topic, b"%d" % number, key="k") for number in range(10)))
    async with reading(kafka, topic, max_in_flight=4) as source:
        got = await take(source, 4)
        async with asyncio.timeout(10 * PAUSE_AFTER):
            while "paused" not in repr(source._threads[0]):  # pyright: ignore[reportPrivateUsage]
                await asyncio.sleep(0.02)
        await ack(source, got)
        assert bodies(await take(source, 6)) == [b"%d" % number for number in range(4, 10)]


async def test_a_slot_that_is_asked_for_comes_even_above_the_low_water_mark(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, *(message(topic, b"%d" % number, key="k") for number in range(10)))
    async with reading(kafka, topic, max_in_flight=4) as source:
        await take(source, 4)
        async with asyncio.timeout(10 * PAUSE_AFTER):
            while "paused" not in repr(source._threads[0]):  # pyright: ignore[reportPrivateUsage]
                await asyncio.sleep(0.02)
        assert bodies(await take(source, 1)) == [b"4"]


async def test_a_partition_that_went_away_while_paused_is_read_when_it_comes_back(
    kafka: KafkaAdapter, topic: str
) -> None:
    def everywhere(body: bytes) -> list[Outgoing]:
        return [message(topic, body, key=str(number)) for number in range(40)]

    lost = Lost()
    async with reading(kafka, topic, lost=lost) as first:
        (thread,) = first._threads  # pyright: ignore[reportPrivateUsage]
        await send(kafka, *everywhere(b"before"))
        got = await take(first, 40)
        async with asyncio.timeout(40):
            while "paused" not in repr(thread):
                await asyncio.sleep(0.02)
            async with reading(kafka, topic) as second:
                await lost.called.wait()
                await take(second, 1)
                await ack(first, got)
                receiving = asyncio.ensure_future(first.receive(40))
                while "paused" in repr(thread):
                    await asyncio.sleep(0.02)
        await send(kafka, *everywhere(b"after"))
        after = {one.key for one in await receiving if one.body == b"after"}
        async with asyncio.timeout(30):
            while len(after) < 40:
                after |= {one.key for one in await first.receive(40) if one.body == b"after"}


async def test_stop_makes_receive_return_and_deliveries_stay_ours(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"1"))
    async with reading(kafka, topic) as source:
        got = await take(source, 1)
        waiting = asyncio.ensure_future(source.receive(10))
        await asyncio.sleep(0.05)
        await source.stop()
        assert await waiting == []
        assert await source.receive(10) == []
        assert await ack(source, got) == [Settled.DONE]
    async with reading(kafka, topic) as source:
        assert await nothing_comes(source, 2)


async def test_opening_and_closing_leaves_no_thread(kafka_broker: KafkaBroker, topic: str) -> None:
    before = set(threading.enumerate())
    for _ in range(5):
        async with opened(kafka_broker) as kafka, reading(kafka, topic):
            pass
        await kafka.close()
    # The loop's own executor keeps its threads for later.
    assert [thread.name for thread in set(threading.enumerate()) - before if "asyncio" not in thread.name] == []


async def test_closed_means_closed(kafka_broker: KafkaBroker) -> None:
    kafka = adapter(kafka_broker)
    (result,) = await kafka.send([message("any")])
    assert isinstance(result, Closed)
    with pytest.raises(Closed):
        await kafka.ensure(["any"], is_queue=False, create=False)
    assert "closed" in repr(kafka)


async def test_the_broker_restarts_and_everything_goes_on(
    kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokerkit.adapters.kafka.FLUSH", 0.2)
    async with opened(kafka_broker) as kafka, opened(kafka_broker) as impatient:
        name = f"test-{uuid.uuid4().hex[:12]}"
        await kafka.ensure([name], is_queue=False, create=True)
        seen: set[bytes | None] = set()

        async def read(source: KafkaSource) -> None:
            while len(seen) < 200:
                try:
                    got = await source.receive(50)
                except ConnectionLost:
                    continue
                seen.update(bodies(got))
                await ack(source, got)

        async with reading(kafka, name) as source, asyncio.timeout(110):
            consuming = asyncio.ensure_future(read(source))
            await send(kafka, *(message(name, b"%d" % number) for number in range(100)))
            await asyncio.to_thread(kafka_broker.stop)
            sending = asyncio.ensure_future(send(kafka, *(message(name, b"%d" % number) for number in range(100, 200))))
            giving_up = asyncio.ensure_future(impatient.send([message(name)]))
            await asyncio.sleep(0)
            await impatient.close()
            assert isinstance((await giving_up)[0], ConnectionLost)
            await asyncio.to_thread(kafka_broker.start)
            await sending
            await consuming
        assert len(seen) == 200


# Provisioning


async def test_a_missing_topic_is_not_found_at_open(kafka: KafkaAdapter) -> None:
    for provision in ("group", "check"):
        with pytest.raises(NotFound, match="missing-topic"):
            async with reading(kafka, "missing-topic", provision=provision):
                pass


async def test_check_reads_without_retry_topics_and_says_that_nothing_can_be_put_off(
    kafka: KafkaAdapter, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    await send(kafka, message(topic, b"1"))
    async with reading(kafka, topic, provision="check") as source:
        assert retry_of(topic, "1s") in caplog.text
        got = await take(source, 1)
        assert await source.settle([(got[0], RetryLater(60, message("")))]) == [Settled.FAILED]


async def test_a_retry_topic_is_made_when_it_is_needed_with_as_many_partitions_as_the_topic(
    kafka_broker: KafkaBroker, kafka: KafkaAdapter
) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    await kafka.require_open().create({name: 3})
    await send(kafka, message(name), message(name))
    async with reading(kafka, name) as source:
        assert partitions_of(kafka_broker, name) == {name: 3}
        first, second = await take(source, 2)
        copies = [(first, RetryLater(1, message(""))), (second, RetryLater(600, message("")))]
        assert await source.settle(copies) == [Settled.DONE] * 2
        levels = {retry_of(name, level): 3 for level in ("1s", "10m")}
        assert partitions_of(kafka_broker, name) == {name: 3, **levels}


def partitions_of(broker: KafkaBroker, prefix: str) -> dict[str, int]:
    topics = AdminClient({"bootstrap.servers": broker.address}).list_topics(timeout=10).topics
    return {topic: len(found.partitions) for topic, found in topics.items() if topic.startswith(prefix)}


async def test_all_creates_the_topic(kafka: KafkaAdapter) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    for _ in range(2):
        async with reading(kafka, name, provision="all"):
            pass
    await kafka.ensure([name], is_queue=False, create=False)


async def test_off_looks_at_nothing_and_reads_all_the_same(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"1"))
    async with reading(kafka, topic, provision="off") as source:
        got = await take(source, 1)
        assert await source.settle([(got[0], RetryLater(60, message("")))]) == [Settled.FAILED]


async def test_off_and_a_missing_topic_ends_the_source(kafka: KafkaAdapter) -> None:
    async with reading(kafka, f"missing-{uuid.uuid4().hex}", provision="off") as source:
        with pytest.raises(NotFound):
            await asyncio.wait_for(source.receive(1), 30)


async def test_ensure_creates_only_when_allowed(kafka: KafkaAdapter) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    with pytest.raises(NotFound, match=name):
        await kafka.ensure([name], is_queue=True, create=False)
    await kafka.ensure([name, name], is_queue=True, create=True)
    await kafka.ensure([name], is_queue=True, create=True)


@pytest.mark.parametrize("group", ["wallet", "wallet.eu", "Größe 9", "g" * 300])
async def test_derived_names_are_legal(kafka: KafkaAdapter, topic: str, group: str) -> None:
    name = kafka.derived(topic, group, "dlq")
    await kafka.ensure([name], is_queue=True, create=True)


# Errors and options


async def test_an_unreachable_broker_is_connection_lost_in_time() -> None:
    kafka = KafkaAdapter(Connection(url=Url.parse("kafka://127.0.0.1:1"), connect_timeout=1.5))
    begun = time.monotonic()
    with pytest.raises(ConnectionLost, match="did not answer within 1.5 s.*Connection refused"):
        await kafka.open()
    assert time.monotonic() - begun < 9
    await kafka.close()


def with_password(broker: KafkaBroker, password: str, *, protocol: str | None, timeout: float = 10) -> KafkaAdapter:
    url = Url.parse(f"kafka://{broker.user}:{password}@{broker.sasl_address}")
    options = {"security.protocol": protocol} if protocol else {}
    return KafkaAdapter(Connection(url=url, options=options, connect_timeout=timeout))


async def test_a_wrong_password_is_access_denied(kafka_broker: KafkaBroker) -> None:
    wrong = kafka_broker.wrong_password
    kafka = with_password(kafka_broker, wrong, protocol="SASL_PLAINTEXT")
    with pytest.raises(AccessDenied) as caught:
        await kafka.open()
    assert wrong not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {kafka!r}"


async def test_the_right_password_opens(kafka_broker: KafkaBroker, topic: str) -> None:
    kafka = with_password(kafka_broker, kafka_broker.password, protocol="SASL_PLAINTEXT")
    await kafka.open()
    await send(kafka, message(topic, b"1"))
    async with reading(kafka, topic) as source:
        assert bodies(await take(source, 1)) == [b"1"]
        assert kafka_broker.password not in f"{source!r} {source._threads!r} {kafka!r}"  # pyright: ignore[reportPrivateUsage]
    await kafka.close()


async def test_a_password_is_not_sent_in_clear_unless_told_to(kafka_broker: KafkaBroker) -> None:
    kafka = with_password(kafka_broker, kafka_broker.password, protocol=None, timeout=1)
    with pytest.raises(ConnectionLost, match="SSL handshake failed"):
        await kafka.open()


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("kafka://", {}, "at least one broker"),
        ("kafka://localhost/topic", {}, "ends after the hosts"),
        ("kafka://:secret@localhost", {}, "no user"),
        ("kafka://localhost", {"linger.mss": 1}, "linger.mss"),
        ("kafka://localhost", {"linger.ms": "soon"}, "Invalid value"),
        ("kafka://localhost", {"group.id": "mine"}, "the source names the group"),
        ("kafka://localhost", {"stats_cb": 1}, "stats_cb"),
        ("kafka://localhost", {"group.protocol": "consumer", "session.timeout.ms": 6000}, "session.timeout.ms"),
        ("kafka://localhost", {"acks": "1"}, "acks"),
    ],
)
def test_a_wrong_url_or_option_is_refused_before_connecting(url: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        KafkaAdapter(Connection(url=Url.parse(url), options=options))
    assert "secret" not in str(caught.value)


async def test_each_client_gets_its_own_options_only(
    kafka_broker: KafkaBroker, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "brokerkit.adapters.kafka")
    options = {"linger.ms": "1", "acks": "all", "fetch.min.bytes": 1, "session.timeout.ms": "10000", "client.id": "me"}
    async with opened(kafka_broker, **options) as kafka, reading(kafka, topic) as source:
        await send(kafka, message(topic))
        await take(source, 1)
    said = [record for record in caplog.records if record.name.startswith("brokerkit")]
    assert [record.getMessage() for record in said] == []
