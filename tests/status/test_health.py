"""Health and hooks: what a bus tells of itself, seen on the embedded broker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import pytest

import brokerkit.adapters
from brokerkit import AccessDenied, BrokerkitError, Bus, Notice, Retry, RetryPolicy
from brokerkit._errors import ConnectionLost
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit.adapters.api import Connection, Lost, Subscription
from brokerkit.adapters.memory import MemoryAdapter, MemorySource
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.every_broker import Broker, until

NAME: Final = "OnPlayerSeatedDown"
FAST = RetryPolicy(attempts=2, first=0.01, cap=0.02)


def kinds(notices: list[Notice]) -> list[str]:
    return [notice.kind for notice in notices]


async def test_hooks_are_told_of_failures_dead_letters_and_the_stop_and_of_nothing_that_went_well(
    memory: Broker,
) -> None:
    notices = list[Notice]()
    bus = memory.bus(retry=FAST)
    bus.add_hook(notices.append)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        if event.player_id == 2:
            raise RuntimeError("no luck")

    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1))
        await bus.publish(OnPlayerSeatedDown(player_id=2), id="the-second")
        await until(lambda: bus.stats["bus"].dead_lettered == 1 and bus.stats["bus"].handled == 1)
    assert kinds(notices) == ["failed", "dead_letter", "stopped"]
    failed, letter, _ = notices
    assert (failed.broker, failed.source, failed.topic, failed.group) == ("memory", "bus", memory.topic(), "wallet")
    assert (failed.event, failed.message_id, failed.attempt) == (NAME, "the-second", 1)
    assert str(failed.error) == "no luck"
    assert failed.wait is not None
    assert (letter.attempt, letter.wait) == (2, None)


async def test_a_hook_that_fails_is_logged_and_changes_nothing(
    memory: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    notices = list[Notice]()
    bus = memory.bus(retry=FAST)

    def broken(notice: Notice) -> None:
        raise RuntimeError("the hook is broken")

    bus.add_hook(broken)
    bus.add_hook(notices.append)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        raise Retry(after=0)

    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1))
        await until(lambda: bus.stats["bus"].dead_lettered == 1)
    assert "a hook failed for a notice of kind 'failed'" in caplog.text
    assert kinds(notices) == ["failed", "dead_letter", "stopped"]


async def test_health_follows_a_bus_through_its_life(memory: Broker) -> None:
    gate = asyncio.Event()
    bus = memory.bus()

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        if not gate.is_set():
            if event.player_id == 1:
                raise Retry(after=5)
            await gate.wait()

    health = await bus.health()
    assert (health.ready, health.sources["bus"].state, health.targets["bus"].state) == (False, "stopped", "closed")
    async with bus:
        assert (await bus.health()).ready
        async with bus.serving():
            assert (await bus.health()).ready
            await bus.publish(OnPlayerSeatedDown(player_id=1))
            await bus.publish(OnPlayerSeatedDown(player_id=2))
            await until(lambda: bus.stats["bus"].failed == 1)
            source = (await bus.health(lag=True)).sources["bus"]
            assert (source.broker, source.state, source.in_flight, source.held) == ("memory", "consuming", 2, 1)
            assert (source.lag, source.error, source.failures) == (0, "", 0)
            gate.set()
        health = await bus.health()
        assert (health.ready, health.sources["bus"].state) == (False, "stopped")
        assert health.targets["bus"].state == "open"


class Shaky(MemoryAdapter):
    """An embedded broker that is out of reach while `away` is set, and refuses for good once `refusing` is."""

    away = False
    refusing = False

    def subscribe(self, subscription: Subscription, lost: Lost) -> MemorySource:
        adapter = self

        class Source(MemorySource):
            async def receive(self, limit: int) -> Sequence[Delivery]:
                if adapter.away:
                    raise ConnectionLost("the broker is away")
                if adapter.refusing:
                    raise AccessDenied("not any more")
                if await self.lag():
                    return await super().receive(limit)
                await asyncio.sleep(0.01)
                return []

        return Source(self, self._broker, subscription, lost)

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        if self.away:
            return [ConnectionLost("the broker is away") for _ in batch]
        return await super().send(batch)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Shaky]:
    adapters: list[Shaky] = []

    def make(connection: Connection) -> Shaky:
        adapters.append(Shaky(connection))
        return adapters[-1]

    monkeypatch.setattr(brokerkit.adapters, "make", make)
    return adapters


async def test_a_lost_connection_and_its_return_are_seen_and_logged(
    memory: Broker, made: list[Shaky], caplog: pytest.LogCaptureFixture
) -> None:
    notices, got = list[Notice](), list[int]()
    bus = memory.bus()
    bus.add_hook(notices.append)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        got.append(event.player_id or 0)

    async with asyncio.timeout(30), bus, bus.serving():
        made[0].away = True
        publishing = asyncio.create_task(bus.publish(OnPlayerSeatedDown(player_id=1)))
        await until(lambda: kinds(notices).count("connection_lost") == 2)
        health = await bus.health()
        assert not health.ready
        assert health.sources["bus"].state == health.targets["bus"].state == "reconnecting"
        assert health.sources["bus"].error == health.targets["bus"].error == "ConnectionLost: the broker is away"
        assert health.sources["bus"].failures >= 1
        made[0].away = False
        await publishing
        await until(lambda: kinds(notices).count("connection_back") == 2)
        assert (await bus.health()).ready
        await until(lambda: got == [1])
    assert sorted((notice.source, notice.target) for notice in notices if notice.kind == "connection_back") == [
        ("", "bus"),
        ("bus", ""),
    ]
    said = [record.getMessage() for record in caplog.records if "again" in record.getMessage()]
    assert sorted(said) == [
        "source bus: memory answers again",
        "source bus: the broker is away; trying again",
        "target bus: memory answers again",
        "target bus: the broker is away; trying again",
    ]


async def test_a_source_that_failed_is_not_ready_and_says_why(memory: Broker, made: list[Shaky]) -> None:
    notices = list[Notice]()
    bus = memory.bus()
    bus.add_hook(notices.append)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        raise AssertionError("nothing was published")

    async with asyncio.timeout(30), bus:
        serving = asyncio.create_task(bus.serve())
        await until(lambda: bool(bus.stats))
        made[0].refusing = True
        await asyncio.wait([serving])
        health = await bus.health()
        assert (health.ready, health.sources["bus"].state) == (False, "failed")
        assert health.sources["bus"].error == "AccessDenied: not any more"
        assert kinds(notices) == ["source_failed", "stopped"]
        with pytest.raises(AccessDenied):
            serving.result()


@pytest.mark.parametrize(
    ("url", "settings", "reach"),
    [
        ("kafka://localhost", {}, "group"),
        ("kafka://localhost", {"key_from": "field:tableId"}, "process"),
        ("kafka://localhost", {"order": "none"}, "none"),
        ("amqp://localhost", {}, "process"),
        ("amqp://localhost", {"order": "strict"}, "group"),
        ("redis://localhost", {"order": "strict"}, "process"),
    ],
)
async def test_a_source_says_how_far_its_order_reaches(url: str, settings: dict[str, Any], reach: str) -> None:
    bus = Bus(url, topic="t", group="g", format="evenbet", **settings)
    assert (await bus.health()).sources["bus"].order == reach
