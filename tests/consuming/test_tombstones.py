"""Messages without a value: handlers that ask for them get None, and elsewhere they are acknowledged and counted."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from brokerkit import Bus, ConfigError, Handlers, Message, Reject
from brokerkit.events.evenbet import OnPlayerSeatedDown, OnUserLoggedIn
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until


def memory() -> Bus:
    return Bus("memory://", topic="states", group="wallet", format="json", name_from="header:event")


async def put(bus: Bus, name: str, body: bytes | None, *, key: str = "k1") -> None:
    headers = {"event": name} if name else {}
    await bus.publish(Message(name, body, key=key, headers=headers))


SEATED = b'{"playerId": 7, "tableId": 1}'


async def test_a_handler_that_asks_for_them_gets_none_and_the_message() -> None:
    bus, seen = memory(), list[tuple[int | None, str]]()

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown | None, message: Message) -> None:
        seen.append((None if event is None else event.player_id, str(message.key)))

    async with bus, bus.serving():
        await put(bus, "OnPlayerSeatedDown", SEATED)
        await put(bus, "OnPlayerSeatedDown", None)
        await until(lambda: len(seen) == 2)
        stats = bus.stats["bus"]
        await until(lambda: stats.handled == 2)
    assert seen == [(7, "k1"), (None, "k1")]
    assert (stats.tombstones, stats.dead_lettered) == (0, 0)


@pytest.mark.parametrize("plain", [True, False], ids=["function", "coroutine"])
@pytest.mark.parametrize("name", ["OnPlayerSeatedDown", "*"])
async def test_without_that_they_are_acknowledged_and_counted(name: str, *, plain: bool) -> None:
    bus, seen = memory(), list[Any]()
    if plain:
        bus.on(name)(lambda event: seen.append(event))  # type: ignore[call-overload]
    else:

        async def handle(event: Any) -> None:
            seen.append(event)

        bus.on(name)(handle)  # type: ignore[call-overload]
    async with bus, bus.serving():
        await put(bus, "OnPlayerSeatedDown", SEATED)
        await put(bus, "OnPlayerSeatedDown", None)
        await put(bus, "SomethingElse", None)
        await put(bus, "", None)
        stats = bus.stats["bus"]
        await until(lambda: stats.tombstones == 3 and stats.handled == 1)
        assert (await bus.health(lag=True)).sources["bus"].lag == 0
    assert len(seen) == 1
    assert (stats.dead_lettered, stats.failed, stats.retried) == (0, 0, 0)


async def test_of_several_handlers_those_get_them_that_ask_and_the_nameless_go_to_every_name() -> None:
    bus, seen = memory(), list[tuple[str, str, bool]]()

    @bus.on("OnPlayerSeatedDown")
    async def values(event: OnPlayerSeatedDown, message: Message) -> None:
        seen.append(("values", message.name, event is None))

    @bus.on("*")
    async def everything(event: Any | None, message: Message) -> None:
        seen.append(("everything", message.name, event is None))

    async with bus, bus.serving():
        await put(bus, "OnPlayerSeatedDown", None)
        await put(bus, "Unheard", None)
        await put(bus, "", None)
        await until(lambda: bus.stats["bus"].handled == 3)
    assert sorted(seen) == [
        ("everything", "", True),
        ("everything", "OnPlayerSeatedDown", True),
        ("everything", "Unheard", True),
    ]


async def test_one_that_a_handler_rejects_is_a_dead_letter_without_a_value() -> None:
    bus = memory()

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown | None) -> None:
        raise Reject("no")

    async with bus, bus.serving():
        await put(bus, "OnPlayerSeatedDown", None)
        await until(lambda: bus.stats["bus"].dead_lettered == 1)
        [letter] = [letter async for letter in bus.dead_letters()]
    assert letter.message.body is None


def test_the_model_beside_none_is_checked_as_ever() -> None:
    handlers = Handlers()
    with pytest.raises(ConfigError, match="takes OnUserLoggedIn"):

        @handlers.on("OnPlayerSeatedDown")  # type: ignore[arg-type]
        async def handle(event: OnUserLoggedIn | None) -> None: ...


@pytest.fixture
async def topic(kafka_broker: KafkaBroker) -> AsyncIterator[str]:
    name = f"states-{uuid.uuid4().hex[:10]}"
    producer = kafka_broker.producer()
    async with Bus(kafka_broker.url, topic=name, provision="all", format="json"):
        value = json.dumps({"playerId": 7, "tableId": 1}).encode()
        for body, headers in (
            (value, {"event": "OnPlayerSeatedDown"}),
            (None, {"event": "OnPlayerSeatedDown"}),
            (None, {}),
        ):
            producer.produce(name, body, key="k1", headers=headers)  # type: ignore[arg-type]
        producer.flush()
        yield name


@pytest.mark.parametrize("wanted", ["values", "nulls", "everything"])
async def test_tombstones_of_a_compacted_topic(kafka_broker: KafkaBroker, topic: str, wanted: str) -> None:
    bus = Bus(kafka_broker.url, topic=topic, group="wallet", format="json", name_from="header:event")
    seen = list[tuple[str, bool]]()

    async def values(event: OnPlayerSeatedDown, message: Message) -> None:
        seen.append((message.name, False))

    async def nulls(event: OnPlayerSeatedDown | None, message: Message) -> None:
        seen.append((message.name, event is None))

    async def everything(event: object | None, message: Message) -> None:
        seen.append((message.name, event is None))

    if wanted == "everything":
        bus.on("*")(everything)
    else:
        bus.on("OnPlayerSeatedDown")(nulls if wanted == "nulls" else values)
    name, expected = "OnPlayerSeatedDown", {"values": 1, "nulls": 2, "everything": 3}[wanted]
    async with bus, bus.serving():
        stats = bus.stats["bus"]
        await until(lambda: stats.handled + stats.tombstones == 3)
    assert seen == [(name, False), (name, True), ("", True)][:expected]
    assert (stats.tombstones, stats.dead_lettered) == (3 - expected, 0)
