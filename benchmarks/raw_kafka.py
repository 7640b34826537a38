"""Kafka by hand: the best loops that confluent-kafka allows with the same safety (acks from all, commits after handling)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.work import PAUSE, Meter, Stopwatch, Testbed, Work


def producer(address: str) -> Producer:
    """A producer that is as safe as brokerkit's."""
    return Producer(
        {
            "bootstrap.servers": address,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 0,
            "partitioner": "murmur2_random",
        }
    )


async def create(at: Testbed, _reader: str) -> None:
    """A topic of four partitions."""
    admin = AdminClient({"bootstrap.servers": at.address})
    for made in admin.create_topics([NewTopic(at.topic, num_partitions=4)]).values():
        await asyncio.wrap_future(made)


async def drop(at: Testbed, _reader: str) -> None:
    """Delete the topic."""
    admin = AdminClient({"bootstrap.servers": at.address})
    for deleted in admin.delete_topics([at.topic]).values():
        await asyncio.wrap_future(deleted)


async def fill(at: Testbed, work: Work, count: int) -> None:
    """Put messages there."""
    await publish(at, work, count, Stopwatch())


def _consumer(address: str, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": address,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": True,
            "enable.auto.offset.store": False,
            "auto.commit.interval.ms": 200,
            "fetch.queue.backoff.ms": 100,
            "partition.assignment.strategy": "cooperative-sticky",
        }
    )


async def consume(at: Testbed, work: Work, meter: Meter) -> None:
    """One thread polls a batch, parses and handles each message, and stores what is done."""
    await _in_thread(partial(_consume, at, work, meter))


def _consume(at: Testbed, work: Work, meter: Meter) -> None:
    consumer, read, tick = _consumer(at.address, "raw"), work.model.model_validate_json, meter.tick
    consumer.subscribe([at.topic])
    while meter.left > 0:
        first = consumer.poll(0.1)
        if first is None:
            continue
        done: dict[int, int] = {}
        for message in (first, *consumer.consume(499, 0)):
            if message.error() is None and dict(message.headers() or ())["event"] == work.name.encode():
                tick(read(message.value()))
                done[message.partition()] = message.offset() + 1  # type: ignore[index, operator]
        consumer.store_offsets(offsets=[TopicPartition(at.topic, number, offset) for number, offset in done.items()])
    consumer.close()


async def consume_batch(at: Testbed, work: Work, meter: Meter) -> None:
    """The same with a handler that gets all events of a poll."""
    await _in_thread(partial(_consume_batch, at, work, meter))


def _consume_batch(at: Testbed, work: Work, meter: Meter) -> None:
    consumer, read, tick_all = _consumer(at.address, "raw"), work.model.model_validate_json, meter.tick_all
    consumer.subscribe([at.topic])
    while meter.left > 0:
        first = consumer.poll(0.1)
        if first is None:
            continue
        done: dict[int, int] = {}
        events: list[Any] = []
        for message in (first, *consumer.consume(499, 0)):
            if message.error() is None and dict(message.headers() or ())["event"] == work.name.encode():
                events.append(read(message.value()))
                done[message.partition()] = message.offset() + 1  # type: ignore[index, operator]
        tick_all(events)
        consumer.store_offsets(offsets=[TopicPartition(at.topic, number, offset) for number, offset in done.items()])
    consumer.close()


async def _in_thread(loop: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as threads:
        await asyncio.get_running_loop().run_in_executor(threads, loop)


async def publish(at: Testbed, work: Work, count: int, watch: Stopwatch) -> None:
    """Produce and flush."""
    client, confirmed = producer(at.address), 0

    def delivered(error: object, _message: object) -> None:
        nonlocal confirmed
        confirmed += error is None

    headers = {"event": work.name}
    client.list_topics(at.topic)
    with watch:
        for number in range(count):
            while True:
                try:
                    client.produce(at.topic, work.body, key=str(number % 1000), headers=headers, on_delivery=delivered)
                    break
                except BufferError:
                    client.poll(0.01)
            if number % 500 == 0:
                client.poll(0)
        client.flush()
    assert confirmed == count


async def latency(at: Testbed, work: Work, count: int) -> list[float]:
    """One message at a time, from the call of produce to the parsed event."""
    client, consumer = producer(at.address), _consumer(at.address, "raw-latency")
    consumer.subscribe([at.topic])
    figures: list[float] = []

    def loop() -> None:
        while not consumer.assignment():
            consumer.poll(0.1)
        for _ in range(count):
            begun = time.perf_counter()
            client.produce(at.topic, work.body, headers={"event": work.name})
            client.poll(0)
            while (message := consumer.poll(1.0)) is None:
                pass
            work.model.model_validate_json(message.value() or b"")
            figures.append(time.perf_counter() - begun)
            time.sleep(PAUSE)
        client.flush()
        consumer.close()

    await asyncio.to_thread(loop)
    return figures
