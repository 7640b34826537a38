"""What confluent-kafka cannot decode is a dead letter, and no defect in a callback leaves a source waiting for ever."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests import kafka_wire
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until

from brokerkit import BrokerkitError, Bus, Message, PublishError
from brokerkit.adapters.kafka._delivery import KafkaDelivery
from brokerkit.adapters.kafka._source import KafkaSource
from brokerkit.events.evenbet import OnPlayerSeatedDown

EVENT = (b"event", b"OnPlayerSeatedDown")


def body(number: int) -> bytes:
    return json.dumps({"playerId": number, "tableId": 1}).encode()


class Scene:
    def __init__(self, broker: KafkaBroker) -> None:
        self.broker = broker
        self.topic = f"unreadable-{uuid.uuid4().hex[:10]}"
        self.handled: list[int | None] = []

    def bus(self, **settings: Any) -> Bus:
        named = {"topic": self.topic, "group": "wallet", "format": "json", "name_from": "header:event", **settings}
        bus = Bus(self.broker.url, provision="all", stop_timeout=2, **named)

        @bus.on("OnPlayerSeatedDown")
        async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
            self.handled.append(event.player_id)

        return bus

    async def write(self, number: int, *headers: tuple[bytes, bytes]) -> None:
        await kafka_wire.produce(self.broker.address, self.topic, body(number), headers=[EVENT, *headers])


@pytest.fixture
async def scene(kafka_broker: KafkaBroker) -> AsyncIterator[Scene]:
    scene = Scene(kafka_broker)
    async with scene.bus():
        yield scene


async def test_a_header_name_that_is_no_text_makes_a_dead_letter_and_holds_up_nobody(scene: Scene) -> None:
    await scene.write(1)
    await scene.write(2, (b"before", b"b"), (b"caf\xe9", b"v\xff"), (b"\xff", b""), (b"after", b"a"))
    await scene.write(3, (b"fine", b"\xff\xfe"))
    bus = scene.bus()
    async with bus, bus.serving():
        await until(lambda: len(scene.handled) == 2 and bus.stats["bus"].dead_lettered == 1)
        [letter] = [letter async for letter in bus.dead_letters()]
        health = await bus.health(lag=True)
    assert scene.handled == [1, 3]
    assert (letter.error_type, letter.message.name, letter.message.body) == (
        "DecodeError",
        "OnPlayerSeatedDown",
        body(2),
    )
    kept = {name: value for name, value in letter.message.headers.items() if name != "content-type"}
    assert kept == {
        "event": "OnPlayerSeatedDown",
        "before": "b",
        "unreadable-header-1": b"v\xff",
        "unreadable-header-2": "",
        "after": "a",
    }
    assert health.ready
    assert health.sources["bus"].lag == 0


async def test_it_is_noticed_too_by_a_process_that_has_read_many_before(scene: Scene) -> None:
    """An interpreter that has specialised the call no longer looks whether it failed."""
    for number in range(100):
        await scene.write(number)
    bad = range(100, 110)
    for number in bad:
        await scene.write(number, (b"caf\xe9", b"value"), (b"after", b"a"))
    bus = scene.bus()
    async with bus, bus.serving():
        await until(lambda: len(scene.handled) == 100 and bus.stats["bus"].dead_lettered == len(bad))
        letters = [letter async for letter in bus.dead_letters()]
    assert sorted(json.loads(letter.message.body or b"")["playerId"] for letter in letters) == list(bad)


async def test_it_can_be_looked_at_and_is_replayed_as_far_as_it_was_read(scene: Scene) -> None:
    await scene.write(1, (b"caf\xe9", b"value"))
    bus = scene.bus()
    async with bus:
        looked = [delivery async for delivery in bus.adapter().browse([scene.topic])]
        async with bus.serving():
            await until(lambda: bus.stats["bus"].dead_lettered == 1)
            assert await bus.dead_letters().replay() == 1
            await until(lambda: scene.handled == [1])
    assert [(each.body, each.headers["event"]) for each in looked] == [(body(1), b"OnPlayerSeatedDown")]


@asynccontextmanager
async def serving(bus: Bus) -> AsyncIterator[asyncio.Future[None]]:
    async with bus:
        serving = asyncio.ensure_future(bus.serve())
        yield serving
        serving.cancel()
        await asyncio.wait([serving])


def fail(*_: object, **__: object) -> Any:
    raise RuntimeError("on purpose")


async def test_a_defect_while_a_delivery_is_built_ends_the_source_and_commits_nothing_behind_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.write(1)
    with monkeypatch.context() as broken:
        broken.setattr(KafkaDelivery, "__init__", fail)
        async with serving(scene.bus()) as ended:
            await asyncio.wait([ended], timeout=30)
            assert isinstance(ended.exception(), BrokerkitError)
            await scene.write(2)
    async with serving(scene.bus()):
        await until(lambda: scene.handled == [1, 2])


async def test_a_defect_while_partitions_are_given_up_ends_the_source(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(scene.bus()) as ended:
        await scene.write(1)
        await until(lambda: scene.handled == [1])

        async def broken(*_: object, **__: object) -> Sequence[tuple[str, int, int]]:
            return fail()  # type: ignore[no-any-return]

        monkeypatch.setattr(KafkaSource, "revoked", broken)
        async with serving(scene.bus()):
            await asyncio.wait([ended], timeout=30)
            assert isinstance(ended.exception(), BrokerkitError)
            monkeypatch.undo()


async def test_a_defect_in_a_confirmation_fails_the_publish_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene.bus() as bus:
        monkeypatch.setattr("brokerkit.adapters.kafka._producer.Receipt", fail)
        async with asyncio.timeout(10):
            with pytest.raises(PublishError, match="on purpose"):
                await bus.publish(OnPlayerSeatedDown(player_id=1, table_id=1))
