"""Kafka by hand, doing what `publish_many` promises: an id for each message, and a receipt or an error in its place."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from confluent_kafka import KafkaError, Message

from benchmarks.raw_kafka import producer
from benchmarks.work import Stopwatch, Testbed, Work


class _Receipt(NamedTuple):
    topic: str
    id: str
    position: str


class _Place:
    """Where the confirmation of one message goes."""

    __slots__ = ("id", "number", "results")

    def __init__(self, id: str, number: int, results: list[object]) -> None:
        self.id = id
        self.number = number
        self.results = results

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        self.results[self.number] = error or _Receipt(
            message.topic() or "", self.id, f"{message.partition()}@{message.offset()}"
        )


async def publish(at: Testbed, work: Work, count: int, watch: Stopwatch) -> None:
    """Produce and flush, 5,000 at a time."""
    client = producer(at.address)
    client.list_topics(at.topic)
    with watch:
        for first in range(0, count, 5_000):
            batch = range(first, min(first + 5_000, count))
            results: list[object] = [None] * len(batch)
            for place, number in enumerate(batch):
                id = str(uuid.uuid4())
                headers = {"event": work.name, "id": id}
                while True:
                    try:
                        client.produce(
                            at.topic,
                            work.body,
                            key=str(number % 1000),
                            headers=headers,
                            on_delivery=_Place(id, place, results),
                        )
                        break
                    except BufferError:
                        client.poll(0.01)
                if place % 500 == 0:
                    client.poll(0)
            client.flush()
            assert all(isinstance(result, _Receipt) for result in results), results[0]
