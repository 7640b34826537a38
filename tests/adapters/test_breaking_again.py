"""A connection to RabbitMQ that breaks again and again, before anything is settled over it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from tests import every_broker
from tests.brokers.rabbitmq import RabbitBroker
from tests.every_broker import until, until_async

from brokerkit import Bus, Message, Notice, Reject
from brokerkit._consuming import _consumer, _intake
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.testing import Proxy

NAME = "OnPlayerSeatedDown"
BREAKS = 3


def proxied(broker: RabbitBroker) -> tuple[Proxy, str]:
    parts = urlsplit(broker.url)
    proxy = Proxy(parts.hostname or "", parts.port or 0)
    return proxy, parts._replace(netloc=f"{parts.username}:{parts.password}@{proxy.address}").geturl()


def bus_at(url: str, **changes: Any) -> Bus:
    return Bus(url, **{"topic": f"test.{uuid4().hex}", "group": "wallet", "provision": "all"} | changes)


async def test_a_message_is_handled_once_however_often_its_acknowledgement_is_lost(rabbit_broker: RabbitBroker) -> None:
    proxy, url = proxied(rabbit_broker)
    begun: Counter[str | None] = Counter()
    async with asyncio.timeout(100), proxy:
        bus = bus_at(url)

        @bus.on(NAME)
        async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
            begun[message.id] += 1
            proxy.cut()
            await until_async(is_away)  # so that it finishes when the message is not ours any more

        async def is_away() -> bool:
            return (await bus.health()).sources["bus"].state == "reconnecting"

        async with bus, bus.serving():
            # Two messages of one id are two messages all the same.
            await bus.publish_many([Message(NAME, b'{"playerId": %d}' % number, id="twin") for number in (1, 2)])
            await until(lambda: bus.stats["bus"].duplicates >= 2, seconds=60)
            health = bus.health
            while (await health()).sources["bus"].in_flight:
                await asyncio.sleep(0.05)
            assert bus.stats["bus"].handled == 2
    assert begun == {"twin": 2}


async def test_a_letter_is_stored_once_however_often_the_acknowledgement_is_lost(
    rabbit_broker: RabbitBroker, tmp_path: Path
) -> None:
    proxy, url = proxied(rabbit_broker)
    letters = tmp_path / "dead.jsonl"
    begun: Counter[str | None] = Counter()
    async with asyncio.timeout(100), proxy:
        bus = bus_at(url, dead_letter=letters.as_uri())

        @bus.on(NAME)
        async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
            begun[message.id] += 1
            raise Reject

        def break_it(notice: Notice) -> None:
            # Told when the letter is stored, and before the message is acknowledged.
            if notice.kind == "dead_letter" and begun["twin"] <= BREAKS:
                proxy.cut()

        bus.add_hook(break_it)
        async with bus, bus.serving():
            # Two messages of one id, which producers do give, are two messages all the same.
            await bus.publish_many(
                [Message(NAME, b'{"playerId": 1}', id="twin"), Message(NAME, b'{"playerId": 2}', id="twin")]
            )
            await until(lambda: bus.stats["bus"].dead_lettered == 2, seconds=60)
            health = bus.health
            while (await health()).sources["bus"].in_flight:
                await asyncio.sleep(0.05)
            await bus.publish(Message(NAME, b'{"playerId": 3}', id="last"))
            await until(lambda: begun["last"] == 1, seconds=60)
    is_queue = [json.loads(line)["body"] for line in letters.read_text().splitlines()]
    assert sorted(is_queue) == [f'{{"playerId": {number}}}' for number in (1, 2, 3)]


async def test_the_waits_grow_until_something_is_settled(
    rabbit_broker: RabbitBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, url = proxied(rabbit_broker)
    runs, held = 0, 4.0
    tries: list[int] = []
    pause = _consumer.Consumer._back_off

    def noted(consumer: _consumer.Consumer, failures: int) -> Awaitable[None]:
        tries.append(failures)
        return pause(consumer, failures)

    monkeypatch.setattr(_intake, "_HELD", held)
    monkeypatch.setattr(_consumer.Consumer, "_back_off", noted)
    async with asyncio.timeout(100), proxy:
        topic = f"test.{uuid4().hex}"
        bus = bus_at(url, topic=topic, name_from="header:event")

        @bus.on(NAME)
        async def handle(event: OnPlayerSeatedDown) -> None:
            nonlocal runs
            runs += 1
            if runs <= BREAKS or runs == BREAKS + 2:
                proxy.cut()  # so that what is handled here cannot be settled

        async def publish(number: int) -> None:
            """Without an id, by which it would be known when it comes again."""
            plain = every_broker.rabbitmq(rabbit_broker).plain
            await plain(topic, [(NAME, b'{"playerId": %d}' % number)], place="header:event")

        async with bus, bus.serving():
            await publish(1)
            await until(lambda: bus.stats["bus"].handled == BREAKS + 1, seconds=60)
            while (await bus.health()).sources["bus"].in_flight:
                await asyncio.sleep(0.05)
            await asyncio.sleep(held + 1)
            await publish(2)
            await until(lambda: bus.stats["bus"].handled == BREAKS + 3, seconds=60)
    assert tries == [*range(1, BREAKS + 1), 1]
