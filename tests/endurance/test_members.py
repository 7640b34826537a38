"""Members of a Kafka group that come and go under load, with both group protocols: nothing is lost or handled twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from itertools import count

import pytest

from brokerkit import Bus, Handlers, Message
from tests.brokers.kafka import KafkaBroker
from tests.endurance import FULL, figures
from tests.every_broker import kafka, until

TURNS = 20 if FULL else 4


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_members_come_and_go_under_load(kafka_broker: KafkaBroker, protocol: str) -> None:
    broker = kafka(kafka_broker)
    done: Counter[int] = Counter()
    order: dict[str, list[int]] = {}
    handlers = Handlers()

    @handlers._on("*")
    async def note(_: object, message: Message) -> None:
        await asyncio.sleep(random.uniform(0, 0.01))
        number = int(message.body or b"")
        done[number] += 1
        order.setdefault(str(message.key), []).append(number)

    def member() -> Bus:
        options: dict[str, object] = {"group.protocol": protocol}
        if protocol == "classic":
            options["heartbeat.interval.ms"] = 300  # so that a rebalance is heard of at once
        bus = broker.bus(format="json", concurrency=20, unknown="ack", options=options)
        bus.include(handlers)
        return bus

    async def serve(stop: asyncio.Event) -> None:
        async with member() as bus, bus.serving():
            await stop.wait()

    sent = 0
    published = asyncio.Event()

    async def publish() -> None:
        nonlocal sent
        async with broker.bus(format="json") as bus:
            for number in count():
                await bus.publish(Message("Load", b"%d" % number, key=f"key-{number % 30}"))
                sent = number + 1
                if published.is_set():
                    return

    async with asyncio.TaskGroup() as tasks:
        publisher = tasks.create_task(publish())
        stays = asyncio.Event()
        tasks.create_task(serve(stays))
        await until(lambda: len(done) > 0)
        for turn in range(TURNS):
            leaves = asyncio.Event()
            joined = [tasks.create_task(serve(leaves)) for _ in range(1 + turn % 2)]
            seen = len(done)
            await until(lambda seen=seen: len(done) > seen + 200, seconds=30)
            leaves.set()
            await asyncio.wait(joined)
        published.set()
        await publisher
        await until(lambda: len(done) == sent, seconds=30)
        stays.set()
    figures(f"members {protocol}: {TURNS} times 1 or 2 members joined and left, {sent} messages")
    assert {number: times for number, times in done.items() if times != 1} == {}
    assert {key: numbers for key, numbers in order.items() if numbers != sorted(numbers)} == {}
