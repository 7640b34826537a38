"""What `exactly_once = true` refuses, and its refusal on all brokers without transactions."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from brokerkit import ConfigError, Message, MessageTooLarge, UnsupportedFeature
from brokerkit.dedupe import Dedupe, MemoryStore
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests import every_broker
from tests.brokers.kafka import KafkaBroker
from tests.conftest import MADE_BY
from tests.every_broker import Broker, until
from tests.exactly_once.scene import PAID, SEATED, Scene


async def test_a_message_that_is_too_large_is_an_error_where_it_is_published(broker: Broker, tmp_path: Path) -> None:
    scene = Scene(broker, tmp_path)
    errors: list[BaseException] = []

    @scene.bus.on(SEATED)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        try:
            await scene.bus.publish(Message(PAID, b"x" * 2_000_000), to="paid")
        except MessageTooLarge as error:
            errors.append(error)
        [result] = await scene.bus.publish_many([Message(PAID, b"x" * 2_000_000)], to="paid")
        assert isinstance(result, MessageTooLarge)
        await scene.pay(message)

    await scene.deal(0)
    async with scene.bus, scene.bus.serving():
        await scene.over()
        assert await scene.paid() == ["deal-0-paid"]
    assert len(errors) == 1


async def test_another_broker_is_refused_where_a_handler_publishes_to_it(broker: Broker, tmp_path: Path) -> None:
    scene = Scene(broker, tmp_path, retry={"attempts": 1})
    scene.bus = scene.make(other={"url": f"memory://{uuid.uuid4().hex}", "topic": "elsewhere"})
    errors: list[BaseException] = []

    @scene.bus.on(SEATED)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        await scene.pay(message)
        try:
            await scene.bus.publish(PAID, {"playerId": 1}, to="other")
        except UnsupportedFeature as error:
            errors.append(error)
            raise

    await scene.deal(0)
    async with scene.bus, scene.bus.serving():
        await until(lambda: scene.bus.stats["deals"].dead_lettered == 1)
        await scene.over()
        assert await scene.paid() == []
    assert "'other'" in str(errors[0]) and "outbox" in str(errors[0])


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        ({"broadcast": True}, UnsupportedFeature, "use a group"),
        ({"dead_letter": "file:///tmp/letters.jsonl"}, UnsupportedFeature, "leave out dead_letter"),
        ({"dead_letter": "memory://other?topic=dead"}, UnsupportedFeature, "leave out dead_letter"),
        ({"dedupe": "memory://"}, ConfigError, "dedupe"),
    ],
)
async def test_what_does_not_go_together_with_transactions_is_refused_at_the_start(
    broker: Broker, tmp_path: Path, source: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        scene = Scene(broker, tmp_path, **source)
        scene.bus.on(SEATED)(nothing)
        async with scene.bus, scene.bus.serving():
            pass


async def test_a_handler_with_a_dedupe_store_is_refused_at_the_start(broker: Broker, tmp_path: Path) -> None:
    scene = Scene(broker, tmp_path)
    scene.bus.on(SEATED, dedupe=Dedupe(MemoryStore()))(nothing)
    with pytest.raises(ConfigError, match="does not go together with dedupe"):
        async with scene.bus, scene.bus.serving():
            pass


async def nothing(event: OnPlayerSeatedDown) -> None:
    raise AssertionError("nothing is published")


@pytest.mark.parametrize("name", sorted(set(MADE_BY) - {"memory", "kafka"}))
def test_every_other_broker_refuses_and_names_the_outbox(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedFeature, match=r"exactly_once \(source 'deals'\).*outbox"):
        Scene(MADE_BY[name](request), tmp_path)


@pytest.mark.parametrize("option", [{"isolation.level": "read_uncommitted"}, {"enable.idempotence": False}])
async def test_options_that_undo_transactions_are_refused_before_anything_is_read(
    kafka_broker: KafkaBroker, tmp_path: Path, option: dict[str, Any]
) -> None:
    scene = Scene(every_broker.kafka(kafka_broker), tmp_path, options=option)
    scene.bus.on(SEATED)(nothing)
    with pytest.raises(ConfigError, match="exactly_once"):
        async with scene.bus, scene.bus.serving():
            pass
