"""Many topics on one Kafka bus, large messages, and what is left of a bus that was closed."""

import asyncio
import gc
import json
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import given
from hypothesis import strategies as st
from tests.adapters.kafka.seam import group_of, message, opened, reading, retry_of, send, take
from tests.brokers._ports import free_port
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until

from brokerkit import Bus, RetryPolicy
from brokerkit._errors import MessageTooLarge
from brokerkit._messages._delivery import ACK, RetryLater, Settled
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._url import Url
from brokerkit.adapters.api import Connection
from brokerkit.adapters.kafka import _source
from brokerkit.adapters.kafka._admin import _RECORDS, _split_requests
from brokerkit.adapters.kafka._client import Settings
from brokerkit.adapters.kafka._wire import batch_size
from brokerkit.events.evenbet import OnPlayerSeatedDown

MANY = 300


def fresh(what: str) -> str:
    return f"{what}-{uuid.uuid4().hex[:10]}"


def threads() -> int:
    """Those of client libraries included, and not those of the event loop's own pool, which keeps them for later; 0 where
    the system does not show them.
    """
    shown = Path("/proc/self/task")
    pooled = sum(each.name.startswith("asyncio") for each in threading.enumerate())
    return len(list(shown.iterdir())) - pooled if shown.exists() else 0


@pytest.fixture
def many(kafka_broker: KafkaBroker) -> Iterator[list[str]]:
    topics = [f"{fresh('many')}-{number}" for number in range(MANY)]
    yield topics
    client = AdminClient({"bootstrap.servers": kafka_broker.address})
    for deletion in client.delete_topics(topics, request_timeout=100).values():
        deletion.exception()


@pytest.mark.timeout(240)
async def test_a_bus_of_many_topics_starts_and_its_threads_are_as_many_as_those_of_one(
    kafka_broker: KafkaBroker, many: list[str]
) -> None:
    handled: list[int | None] = []

    def bus(*topics: str) -> Bus:
        options = {"heartbeat.interval.ms": 300}
        one = Bus(
            kafka_broker.url, topic=topics, group=fresh("wallet"), provision="all", format="evenbet", options=options
        )

        @one.on("OnPlayerSeatedDown")
        async def handle(event: OnPlayerSeatedDown) -> None:
            handled.append(event.player_id)

        return one

    async with bus(many[0]) as one, one.serving():
        alone = threads()
    producer = kafka_broker.producer()
    async with bus(*many) as all_of_them, all_of_them.serving():
        for number, topic in enumerate(many):
            body = json.dumps({"playerId": number, "tableId": 1}).encode()
            producer.produce(topic, body, headers={"event": "OnPlayerSeatedDown"})  # type: ignore[arg-type]
        producer.flush()
        await until(lambda: len(handled) == MANY, seconds=100)
        await until(lambda: threads() <= alone + 4)  # those of the producer above
    assert sorted(handled, key=str) == sorted(range(MANY), key=str)


@pytest.mark.parametrize(
    ("topics", "options", "wait"),
    [
        (200, {}, None),
        (201, {}, 502),
        (1_000, {}, 2_500),
        (9_000, {}, 5_000),
        (1_000, {"fetch.wait.max.ms": "50"}, "50"),
        (1_000, {"socket.timeout.ms": "2000"}, None),  # A wait must end before it.
    ],
)
def test_with_many_topics_a_fetch_that_finds_nothing_waits_longer(
    topics: int, options: dict[str, str], wait: object
) -> None:
    settings = Settings(Connection(url=Url.parse("kafka://localhost"), options=options))
    config = settings.configure_consumer(print, group="wallet", commit=True, role="", topics=topics)
    assert config.get("fetch.wait.max.ms") == wait


@given(st.dictionaries(st.text("abc", min_size=1, max_size=8), st.sampled_from([-1, 1, 4, 500, 3_000]), max_size=60))
def test_topics_are_made_in_parts_that_a_controller_takes(topics: dict[str, int]) -> None:
    parts = list(_split_requests(topics))
    assert {name: count for part in parts for name, count in part.items()} == topics
    assert all(parts)
    for part in parts:
        assert len(part) == 1 or sum(3 + max(count, 1) for count in part.values()) <= _RECORDS


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads and handles as Linux shows them")
async def test_a_closed_bus_keeps_no_thread_and_no_connection_until_the_garbage_collector_comes(
    kafka_broker: KafkaBroker,
) -> None:
    def left() -> tuple[int, int]:
        return threads(), len(list(Path("/proc/self/fd").iterdir()))

    topic = fresh("closed")

    async def idempotent() -> None:
        bus = Bus(kafka_broker.url, topic=topic, group="wallet", provision="all", format="evenbet")
        seen = asyncio.Event()

        @bus.on("OnPlayerSeatedDown")
        async def handle(event: OnPlayerSeatedDown) -> None:
            seen.set()

        async with bus, bus.serving():
            await bus.publish(OnPlayerSeatedDown(player_id=1, table_id=1))
            await asyncio.wait_for(seen.wait(), 30)
            await bus.health(lag=True)

    await idempotent()  # What a first use loads and starts for good.
    gc.collect()
    gc.disable()
    try:
        before = left()
        for _ in range(3):
            await idempotent()
        await until(lambda: left()[0] <= before[0] + 1 and left()[1] <= before[1])
    finally:
        gc.enable()


# Retry topics.


async def test_a_retry_topic_that_is_there_is_read_from_the_start(kafka_broker: KafkaBroker) -> None:
    topic = fresh("retried")
    async with opened(kafka_broker) as kafka:
        await kafka.require_open().create({topic: 2, retry_of(topic, "1s"): 2})
        await send(kafka, message(retry_of(topic, "1s"), b"from before"))
        async with reading(kafka, topic) as source:
            assert [one.body for one in await take(source, 1)] == [b"from before"]


async def test_a_retry_reaches_another_member_when_the_one_that_made_its_topic_is_gone(
    kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_source, "FINDING", 0.5)
    topic = fresh("retried")
    async with opened(kafka_broker) as kafka, opened(kafka_broker) as other:
        await kafka.require_open().create({topic: 1})
        async with reading(other, topic) as heir:
            async with reading(kafka, topic, group=group_of(topic)) as maker:
                await send(kafka, message(topic, b"original"))
                receiving = [asyncio.ensure_future(each.receive(1)) for each in (heir, maker)]
                done, _ = await asyncio.wait(receiving, return_when=asyncio.FIRST_COMPLETED, timeout=30)
                [[got]] = [each.result() for each in done]
                owner = heir if receiving[0] in done else maker
                await owner.settle([(got, RetryLater(1.0, message("", b"copy")))])
                if owner is maker:
                    waiting = receiving[0]
                else:
                    waiting = asyncio.ensure_future(heir.receive(1))
                await maker.stop()
                await receiving[1]
            async with asyncio.timeout(30):
                batch = await waiting
                while not batch:
                    batch = await heir.receive(1)
            assert [one.body for one in batch] == [b"copy"]
            assert await heir.settle([(batch[0], ACK)]) == [Settled.DONE]


# Sizes.


async def test_every_size_around_the_limit_of_a_topic_is_taken_or_refused_with_both_numbers(
    kafka_broker: KafkaBroker,
) -> None:
    topic = fresh("sizes")
    async with opened(kafka_broker, **{"message.max.bytes": 2_000_000}) as kafka:
        await kafka.require_open().create({topic: 1}, {"max.message.bytes": "100000"})

        def of(size: int) -> Outgoing:
            return message(topic, b"x" * size, id="id", key="key", headers={"a": "b" * 70, "c": b""})

        fits = 100_000 - (batch_size(of(90_000)) - 90_000)
        for size in range(fits - 3, fits + 20):
            [result] = await kafka.send([of(size)])
            if size <= fits:
                assert isinstance(result, Receipt), (size, result)
            else:
                assert isinstance(result, MessageTooLarge), (size, result)
                assert (result.size, result.limit) == (100_000 + size - fits, 100_000)


@pytest.mark.parametrize("wanted", ["dead letter", "retry"])
async def test_what_fits_only_compressed_is_stored_compressed_as_a_dead_letter_and_as_a_retry(
    kafka_broker: KafkaBroker, tmp_path: Path, wanted: str
) -> None:
    topic, overflow, calls = fresh("large"), tmp_path / "overflow.jsonl", list[int]()
    settings: dict[str, Any] = {"topic": topic, "group": "wallet", "provision": "all", "overflow": str(overflow)}
    policy = RetryPolicy(attempts=2 if wanted == "retry" else 1, first=1, jitter=False)
    bus = Bus(kafka_broker.url, format="json", name_from="header:event", hold=0.1, retry=policy, **settings)
    body = json.dumps({"playerId": 1, "tableId": 1, "note": "a" * 3_000_000}).encode()

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown) -> None:
        calls.append(1)
        raise RuntimeError("no")

    async with bus:
        producer = kafka_broker.producer(**{"message.max.bytes": 10_000_000, "compression.type": "zstd"})
        producer.produce(topic, body, key="k", headers={"event": "OnPlayerSeatedDown"})  # type: ignore[arg-type]
        producer.flush()
        async with bus.serving():
            await until(lambda: bus.stats["bus"].dead_lettered == 1, seconds=60)
            letters = [letter async for letter in bus.dead_letters()]
    assert [len(letter.message.body or b"") for letter in letters] == [len(body)]
    assert len(calls) == policy.attempts
    assert not overflow.exists() or not overflow.stat().st_size


# Addresses.


@pytest.mark.parametrize("dead", [False, True], ids=["alone", "behind a host that is down"])
async def test_a_broker_is_reached_by_its_ipv6_address(kafka_broker: KafkaBroker, *, dead: bool) -> None:
    host, _, port = kafka_broker.address.rpartition(":")

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await source.read(65_536):
                    target.write(data)
            target.close()

        await asyncio.gather(pump(reader, back), pump(there, writer))

    async with await asyncio.start_server(forward, "::1", 0) as server:
        address = f"[::1]:{server.sockets[0].getsockname()[1]}"
        url = f"kafka://127.0.0.1:{free_port()},{address}" if dead else f"kafka://{address}"
        topic = fresh("ipv6")
        async with Bus(url, topic=topic, provision="all", format="evenbet") as bus:
            receipt = await bus.publish(OnPlayerSeatedDown(player_id=1, table_id=1))
        server.close()
    assert receipt.topic == topic
