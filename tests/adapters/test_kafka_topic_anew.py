"""A topic that is deleted and made anew while it is read: its offsets begin at 0, and nobody tells the client."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until, until_async

from brokerkit import Bus
from brokerkit.adapters.kafka import _watch
from brokerkit.events.evenbet import OnPlayerSeatedDown


class Scene:
    def __init__(self, broker: KafkaBroker) -> None:
        self.broker = broker
        self.topic = f"anew-{uuid.uuid4().hex[:10]}"
        self.handled: list[int | None] = []
        self._client = AdminClient({"bootstrap.servers": broker.address})

    async def create(self, partitions: int = 1) -> None:
        for created in self._client.create_topics([NewTopic(self.topic, partitions)]).values():
            await asyncio.wrap_future(created)
        # The broker says that it is done a moment before it can tell others of the topic.
        await until(lambda: not self._client.list_topics(self.topic).topics[self.topic].error)

    async def delete(self) -> None:
        for deleted in self._client.delete_topics([self.topic]).values():
            await asyncio.wrap_future(deleted)

    async def make_anew(self, partitions: int = 1) -> None:
        await self.delete()

        async def created() -> bool:
            try:
                await self.create(partitions)
            except Exception as error:
                assert "exists" in str(error)  # its deletion is still under way
                return False
            return True

        await until_async(created)

    async def write(self, *numbers: int) -> None:
        producer = self.broker.producer()
        for number in numbers:
            body = json.dumps({"playerId": number, "tableId": 1}).encode()
            producer.produce(self.topic, body, key=str(number), headers={"event": "OnPlayerSeatedDown"})  # type: ignore[arg-type]
        assert await asyncio.to_thread(producer.flush, 20) == 0

    def bus(self, **settings: Any) -> Bus:
        bus = Bus(
            self.broker.url,
            **{"topic": self.topic, "group": "wallet", "format": "evenbet", "stop_timeout": 5.0} | settings,
            options={"heartbeat.interval.ms": 300},
        )

        @bus.on("OnPlayerSeatedDown")
        async def handle(event: OnPlayerSeatedDown) -> None:
            self.handled.append(event.player_id)

        return bus

    def all_handled(self, *numbers: int) -> bool:
        return set(numbers) <= set(self.handled)


@pytest.fixture
async def scene(kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(_watch, "LOOK", 0.3)
    scene = Scene(kafka_broker)
    await scene.create()
    yield scene
    await scene.delete()


async def test_it_is_read_from_its_beginning_and_its_offsets_replace_the_old_ones(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    old, new, later = range(20), range(100, 130), range(200, 203)
    await scene.write(*old)
    async with scene.bus() as bus, bus.serving():
        await until(lambda: scene.all_handled(*old))
        await scene.make_anew()
        # More than before, so that the old offset is one of the new topic, too.
        await scene.write(*new)
        await until(lambda: scene.all_handled(*new))
    assert "was deleted and made anew; it is read from its beginning" in caplog.text
    scene.handled.clear()
    async with scene.bus() as bus, bus.serving():
        await scene.write(*later)
        await until(lambda: scene.all_handled(*later))
    assert sorted(scene.handled, key=str) == list(later)


async def test_a_source_waits_for_a_topic_that_is_gone_and_reads_all_partitions_of_the_new_one(scene: Scene) -> None:
    await scene.write(1, 2, 3)
    async with scene.bus() as bus, bus.serving():
        await until(lambda: scene.all_handled(1, 2, 3))
        await scene.delete()

        async def is_waiting() -> bool:
            health = await bus.health()
            found = health.sources["bus"]
            return not health.ready and found.state == "reconnecting" and f"no topic {scene.topic}" in found.error

        await until_async(is_waiting)
        await scene.create(3)
        new = range(10, 40)
        await scene.write(*new)
        await until(lambda: scene.all_handled(*new))
        assert (await bus.health()).ready


async def test_a_broadcast_source_reads_it_from_its_beginning(scene: Scene) -> None:
    async with scene.bus(group=None, broadcast=True) as bus, bus.serving():
        await scene.write(*range(20))
        await until(lambda: scene.all_handled(*range(20)))
        await scene.make_anew()
        await scene.write(*range(100, 120))
        await until(lambda: scene.all_handled(*range(100, 120)))


async def test_all_members_of_a_group_read_it_from_its_beginning(scene: Scene) -> None:
    await scene.make_anew(4)
    old, new = range(40), range(100, 160)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            bus = await stack.enter_async_context(scene.bus())
            await stack.enter_async_context(bus.serving())
        await scene.write(*old)
        await until(lambda: scene.all_handled(*old))
        await scene.make_anew(4)
        await scene.write(*new)
        await until(lambda: scene.all_handled(*new), seconds=40)


async def test_what_was_in_hand_of_the_old_topic_is_not_settled_on_the_new_one(scene: Scene) -> None:
    begun, free = asyncio.Event(), asyncio.Event()
    bus = scene.bus(concurrency=1)

    @bus.on("OnPlayerSeatedDown")
    async def wait(event: OnPlayerSeatedDown) -> None:
        if event.player_id == 19:
            begun.set()
            await free.wait()

    await scene.write(*range(20))
    async with bus, bus.serving():
        await begun.wait()
        await scene.make_anew()
        await scene.write(*range(100, 130))
        free.set()
        await until(lambda: scene.all_handled(*range(100, 130)))
    scene.handled.clear()
    async with scene.bus() as bus, bus.serving():
        await scene.write(200)
        await until(lambda: scene.all_handled(200))
    assert scene.handled == [200]
