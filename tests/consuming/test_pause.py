"""A paused source hands nothing new to handlers and loses nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from brokerkit import Bus, Closed, ConfigError, Message, Notice, RetryPolicy
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.testing import TestBus
from tests.consuming.embedded import NAME, over, seated
from tests.every_broker import Broker, until

pytestmark = pytest.mark.usefixtures("on_virtual_time")


def serving(memory: Broker, handle: Any, **settings: Any) -> Bus:
    bus = memory.bus(**settings)
    bus.on(NAME)(handle)
    return bus


async def test_what_runs_ends_nothing_begins_and_each_key_goes_on_in_order(memory: Broker) -> None:
    running, finish, handled, notices = asyncio.Event(), asyncio.Event(), list[tuple[str, int]](), list[Notice]()

    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        if event.player_id == 0:
            running.set()
            await finish.wait()
        handled.append((str(message.key), event.player_id or 0))

    bus = serving(memory, handle, concurrency=3, max_in_flight=8)
    bus.add_hook(notices.append)
    async with bus, bus.serving():
        for number in range(6):
            await bus.publish(seated(number), key="a" if number % 2 == 0 else "b")
        await running.wait()
        await until(lambda: len(handled) == 3)
        assert bus.runtime.consumers["bus"].state.in_flight == 3
        await bus.pause(reason="the database moves")
        await bus.pause(reason="said twice")
        for number in range(6, 40):
            await bus.publish(seated(number), key="a" if number % 2 == 0 else "b")
        health = await bus.health(lag=True)
        found = health.sources["bus"]
        assert (found.state, found.error) == ("paused", "the database moves")
        assert health.reasons == ("source bus: paused: the database moves",)
        assert found.waiting == 37
        finish.set()
        await until(lambda: len(handled) == 4)
        await asyncio.sleep(3600)
        assert len(handled) == 4
        assert (await bus.health(lag=True)).sources["bus"].waiting == 36
        await bus.resume("bus")
        await bus.resume("bus")
        await over(bus, 40)
        assert (await bus.health()).ready
    for key, first in (("a", 0), ("b", 1)):
        assert [number for each, number in handled if each == key] == list(range(first, 40, 2))
    assert [(one.kind, one.source, one.reason) for one in notices if one.kind in ("paused", "resumed")] == [
        ("paused", "bus", "the database moves"),
        ("resumed", "bus", ""),
    ]


async def test_a_failed_message_is_not_tried_again_before_the_end_of_the_pause(memory: Broker) -> None:
    attempts, times, loop = list[int](), list[float](), asyncio.get_running_loop()

    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        attempts.append(message.attempt)
        times.append(loop.time())
        if event.player_id == 1 and message.attempt == 1:
            raise ValueError("once")

    bus = serving(memory, handle, retry=RetryPolicy(attempts=3, first=1.0, cap=1.0))
    async with bus, bus.serving():
        await bus.publish(seated(1), key="k")
        await until(lambda: attempts == [1])
        await bus.pause("bus")
        await bus.publish(seated(2), key="k")
        await asyncio.sleep(600)
        assert attempts == [1]
        await bus.resume("bus")
        await over(bus, 2)
    assert attempts == [1, 2, 1]
    assert times[1] - times[0] >= 600


async def test_a_stop_gives_everything_back_at_once(memory: Broker) -> None:
    handled, loop = list[int](), asyncio.get_running_loop()
    running, finish = asyncio.Event(), asyncio.Event()

    async def handle(event: OnPlayerSeatedDown) -> None:
        if event.player_id == 0 and not finish.is_set():
            running.set()
            await finish.wait()
        handled.append(event.player_id or 0)

    bus = serving(memory, handle, concurrency=2)
    async with bus, bus.serving():
        for number in range(10):
            await bus.publish(seated(number), key="same")
        await running.wait()
        await bus.pause("bus")
        finish.set()
        await until(lambda: handled == [0])
        begun = loop.time()
    assert loop.time() - begun < 1
    assert (handled, bus.stats["bus"].released) == ([0], 9)
    async with bus, bus.serving():
        await over(bus, 9)
    assert handled == list(range(10))


async def test_a_suspect_does_not_begin_either(memory: Broker) -> None:
    handled = list[int]()

    async def handle(event: OnPlayerSeatedDown) -> None:
        handled.append(event.player_id or 0)

    bus = serving(memory, handle, max_deliveries=1, concurrency=1)
    async with bus, bus.serving():
        await bus.publish(seated(0))
        await over(bus, 1)
        consumer = bus.runtime.consumers["bus"]
        await bus.pause("bus")
        # A batch that was asked for before the pause arrives in it, with a message that came too often.
        consumer._flow.most_deliveries = consumer._isolation.suspects.most = 0
        await bus.publish_many([seated(1), seated(2)])
        await asyncio.sleep(60)
        assert (handled, consumer.state.suspects) == ([0], 2)
        await bus.resume("bus")
        await until(lambda: consumer.state.suspects == 0)
        assert (await bus.health()).sources["bus"].state == "consuming"
    assert handled == [0, 1, 2]


async def test_only_a_source_of_a_bus_that_consumes_can_be_paused(memory: Broker) -> None:
    async def handle(event: OnPlayerSeatedDown) -> None:
        """Nothing comes."""

    bus = serving(memory, handle)
    with pytest.raises(Closed, match="not consuming"):
        await bus.pause()
    async with bus, bus.serving():
        with pytest.raises(ConfigError, match="no source 'games'; there are bus"):
            await bus.pause("games")
        with pytest.raises(ConfigError, match="no source 'games'; there are bus"):
            await bus.resume("games")
        assert (await bus.health()).ready


async def test_a_source_that_begins_paused_handles_nothing_of_what_waits_for_it(memory: Broker) -> None:
    handled = list[int]()

    async def handle(event: OnPlayerSeatedDown) -> None:
        handled.append(event.player_id or 0)

    bus = serving(memory, handle)
    async with bus:
        async with bus.serving():
            """The group begins here."""
        for number in range(5):
            await bus.publish(seated(number))
        bus.runtime.begins_paused = {"bus": "it stands"}
        async with bus.serving():
            await asyncio.sleep(30)
            source = (await bus.health()).sources["bus"]
            assert (source.state, source.error, handled) == ("paused", "it stands", [])
            await bus.resume()
            await over(bus, 5)
    assert handled == list(range(5))


async def test_a_test_bus_says_that_a_source_is_paused() -> None:
    bus = Bus("kafka://nowhere:9092", topic="games", group="wallet", format="evenbet")

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        """Handled."""

    async with TestBus(bus, virtual=False) as test:
        await bus.pause()
        await test.deliver(seated(1))
        with pytest.raises(AssertionError, match="source bus is paused"):
            await test.settled(timeout=60)
        await bus.resume()
        await test.settled()
        test.assert_handled(NAME)
