"""Graceful stops under a backlog on every broker: nothing is lost, and nothing that is done comes again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from brokerkit import Bus, Handlers, Message
from tests.endurance import FULL, figures
from tests.every_broker import Broker, until

ROUNDS = 20
KEYS = 40


async def test_a_stop_under_a_backlog_loses_and_repeats_nothing(broker: Broker) -> None:
    if broker.at_most_once:
        pytest.skip("not promised: Pub/Sub is at most once, and what waits at a stop is lost")
    slow = "endpoint" in broker.settings  # ElasticMQ and moto
    rounds = ROUNDS if FULL or not (slow or broker.name == "kafka") else 3
    each = 40 if slow else 200
    done: Counter[int] = Counter()
    handlers = Handlers()

    @handlers._on("*")
    async def note(_: object, message: Message) -> None:
        await asyncio.sleep(random.uniform(0, 0.005))
        done[int(message.body or b"")] += 1

    def member() -> Bus:
        bus = broker.bus(format="json", concurrency=20, lease=30.0, unknown="ack")
        bus.include(handlers)
        return bus

    async def serve(stop: asyncio.Event) -> None:
        async with member() as bus, bus.serving():
            await stop.wait()

    total = (rounds + 1) * each
    async with member() as publisher, publisher.serving():
        pass  # Now the group is known.
    async with member() as publisher:
        sent = await publisher.publish_many(
            [Message("Backlog", b"%d" % number, key=f"key-{number % KEYS}") for number in range(total)]
        )
    assert not [result for result in sent if isinstance(result, Exception)]
    handled = []
    for turn in range(rounds):
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as members:
            for _ in range(1 + turn % 3):
                members.create_task(serve(stop))
            enough = min(len(done) + each // 2, total)
            await until(lambda enough=enough: len(done) >= enough, seconds=60)
            stop.set()
        handled.append(len(done))
    async with member() as bus, bus.serving():
        await until(lambda: len(done) == total, seconds=60)
    figures(f"stops {broker.name}: {rounds} stops, {total} messages, handled at each stop {handled}")
    assert {number: times for number, times in done.items() if times != 1} == {}
