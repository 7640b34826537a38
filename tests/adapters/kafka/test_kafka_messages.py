"""Publishing to Kafka and receiving from it, at the seam, on a real broker."""

import asyncio
import time
import uuid
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message
from tests.adapters.kafka.seam import message, opened, reading, send, take
from tests.brokers.kafka import KafkaBroker

from brokerkit._errors import ConnectionLost, InvalidMessage, MessageTooLarge, NotFound
from brokerkit._messages._outgoing import Receipt
from brokerkit.adapters.kafka import KafkaAdapter

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
    async with opened(kafka_broker, **{"delivery.timeout.ms": 6_000}) as kafka:
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
