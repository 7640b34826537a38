"""Lag behind transactions: what cannot be read does not wait, and markers are behind whoever has read up to them."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from confluent_kafka import Producer
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until, until_async

from brokerkit import Bus
from brokerkit.adapters.kafka import KafkaAdapter
from brokerkit.adapters.kafka._consumer import PAUSE_AFTER
from brokerkit.adapters.kafka._lag import LagQuery
from brokerkit.events.evenbet import OnPlayerSeatedDown

NAME = {"event": "OnPlayerSeatedDown"}


class Scene:
    def __init__(self, broker: KafkaBroker) -> None:
        self.broker = broker
        self.topic = f"transactions-{uuid.uuid4().hex[:10]}"
        self.handled: list[int | None] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.producer = Producer({"bootstrap.servers": broker.address, "transactional.id": uuid.uuid4().hex})

    def bus(self, **settings: Any) -> Bus:
        bus = Bus(
            self.broker.url,
            topic=self.topic,
            group="wallet",
            provision="all",
            format="json",
            name_from="header:event",
            options={"heartbeat.interval.ms": 300},
            **settings,
        )

        @bus.on("OnPlayerSeatedDown")
        async def handle(event: OnPlayerSeatedDown) -> None:
            await self.gate.wait()
            self.handled.append(event.player_id)

        return bus

    def write(self, *numbers: int) -> None:
        for number in numbers:
            body = json.dumps({"playerId": number, "tableId": 1}).encode()
            self.producer.produce(self.topic, body, key=str(number), headers=NAME)  # type: ignore[arg-type]
        self.producer.flush()

    def transaction(self, *numbers: int, commit: bool) -> None:
        self.producer.begin_transaction()
        self.write(*numbers)
        if commit:
            self.producer.commit_transaction()
        else:
            self.producer.abort_transaction()

    async def committed_lag(self, bus: Bus) -> int:
        """What another process sees, which knows nothing but what is committed."""
        adapter = bus.adapter()
        assert isinstance(adapter, KafkaAdapter)
        browse = LagQuery(adapter._settings, group="wallet")
        try:
            extents = await browse.extents([self.topic])
        finally:
            browse.close()
        return sum(max(each.end - (each.committed or each.begin), 0) for each in extents.values())


@pytest.fixture
async def scene(kafka_broker: KafkaBroker) -> AsyncIterator[Scene]:
    scene = Scene(kafka_broker)
    async with scene.bus():
        await asyncio.to_thread(scene.producer.init_transactions)
        yield scene


async def lag(bus: Bus) -> int | None:
    return (await bus.health(lag=True)).sources["bus"].lag


async def no_lag(scene: Scene, bus: Bus) -> None:
    """For this process at once, for others with the next commit."""

    async def gone() -> bool:
        return await lag(bus) == 0 and await scene.committed_lag(bus) == 0

    await until_async(gone)


@pytest.mark.parametrize("commit", [True, False], ids=["committed", "aborted"])
async def test_a_transaction_at_the_end_of_a_partition_leaves_no_lag(scene: Scene, *, commit: bool) -> None:
    scene.transaction(1, 2, 3, commit=True)
    scene.transaction(4, 5, 6, commit=commit)
    bus = scene.bus()
    async with bus, bus.serving():
        await until(lambda: len(scene.handled) == (6 if commit else 3))
        await no_lag(scene, bus)


async def test_a_topic_of_nothing_but_aborted_messages_has_no_lag(scene: Scene) -> None:
    scene.transaction(1, 2, 3, commit=False)
    bus = scene.bus()
    async with bus, bus.serving():
        await no_lag(scene, bus)
    assert scene.handled == []


async def test_what_is_in_an_open_transaction_does_not_wait_and_comes_when_it_is_committed(scene: Scene) -> None:
    scene.transaction(1, 2, 3, commit=True)
    scene.producer.begin_transaction()
    scene.write(4, 5)
    bus = scene.bus()
    async with bus, bus.serving():
        await until(lambda: len(scene.handled) == 3)
        await no_lag(scene, bus)
        scene.producer.commit_transaction()
        await until(lambda: sorted(scene.handled, key=str) == [1, 2, 3, 4, 5])
        await no_lag(scene, bus)


async def test_a_group_that_begins_now_gets_what_a_transaction_that_is_open_now_commits_later(scene: Scene) -> None:
    scene.transaction(1, commit=True)
    scene.producer.begin_transaction()
    scene.write(2)
    bus = scene.bus(start="latest")
    async with bus, bus.serving():
        scene.producer.commit_transaction()
        await until(lambda: scene.handled == [2])


async def test_what_is_being_handled_counts_and_a_pause_hides_no_end(scene: Scene) -> None:
    scene.gate.clear()
    scene.transaction(*range(40), commit=True)
    bus = scene.bus(max_in_flight=4)
    async with bus, bus.serving():
        await until_async(lambda: in_flight(bus))
        # Long enough without a free slot for the partitions to be paused, which throws away what was fetched.
        await asyncio.sleep(PAUSE_AFTER + 0.5)
        assert (await lag(bus) or 0) >= 40
        scene.gate.set()
        await until(lambda: len(scene.handled) == 40)
        await no_lag(scene, bus)
    assert sorted(scene.handled, key=str) == sorted(range(40), key=str)


async def in_flight(bus: Bus) -> bool:
    return (await bus.health()).sources["bus"].in_flight == 4
