"""The consumer's order and limits, seen on the embedded broker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from brokerkit import Message, Notice, Retry
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.consuming.embedded import FAST, NAME, over, seated
from tests.every_broker import Broker, until

pytestmark = pytest.mark.usefixtures("on_virtual_time")


@pytest.mark.parametrize(("order", "expected"), [("strict", [1, 1, 2]), ("key", [1, 2, 1])])
async def test_a_strict_order_holds_the_key_where_the_usual_one_lets_it_go_on(
    memory: Broker, order: Any, expected: list[int]
) -> None:
    ran = list[int]()
    bus = memory.bus(order=order, hold=0.0, concurrency=4)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        ran.append(event.player_id or 0)
        if ran == [1]:
            raise Retry(after=0.1)

    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish_many([seated(1), seated(2)], key="k")
        await over(bus, 2)
    assert ran == expected


async def test_a_short_retry_holds_its_key_and_no_other(memory: Broker) -> None:
    ran = list[tuple[str, int]]()
    bus = memory.bus(concurrency=4)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        ran.append((str(message.key), event.player_id or 0))
        if ran == [("k", 1)]:
            raise Retry(after=0.1)

    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish_many([seated(1), seated(2)], key="k")
        await bus.publish(seated(3), key="other")
        await over(bus, 3)
    assert ran == [("k", 1), ("other", 3), ("k", 1), ("k", 2)]


async def test_without_order_messages_of_one_key_run_side_by_side(memory: Broker) -> None:
    together = asyncio.Barrier(2)
    bus = memory.bus(order="none", concurrency=2)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        await together.wait()

    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish_many([seated(1), seated(2)], key="k")
        await over(bus, 2)


async def test_no_more_than_max_in_flight_are_taken_and_consuming_goes_on_afterwards(memory: Broker) -> None:
    gate = asyncio.Event()
    bus = memory.bus(max_in_flight=10, concurrency=4)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        await gate.wait()

    async with asyncio.timeout(5), bus, bus.serving():
        stats = bus.stats["bus"]
        await bus.publish_many([seated(number) for number in range(50)])
        await until(lambda: stats.received == 10)
        await bus.publish(seated(50))
        assert stats.received == 10
        gate.set()
        await over(bus, 51)


async def test_a_strict_order_cuts_a_wait_that_cannot_be_held_and_says_so(
    memory: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    notices, runs = list[Notice](), list[int]()
    bus = memory.bus(order="strict", retry=FAST, options={"max_hold": 0.2})
    bus.add_hook(notices.append)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        runs.append(event.player_id or 0)
        if runs == [1]:
            raise Retry(after=3600)

    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish_many([seated(1), seated(2)], key="k")
        await over(bus, 2)
    assert runs == [1, 1, 2]
    assert notices[0].wait == 0.2
    assert "can be held for only 0.2 s, not for 3.6e+03 s" in caplog.text


@pytest.mark.parametrize("order", ["key", "strict", "none"])
async def test_what_waits_for_half_of_the_longest_hold_comes_again_in_order(memory: Broker, order: str) -> None:
    runs = list[int]()
    bus = memory.bus(order=order, concurrency=1, options={"max_hold": 0.4}, max_deliveries=1000, retry=1)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        runs.append(event.player_id or 0)
        await asyncio.sleep(0.1)

    async with asyncio.timeout(20), bus, bus.serving():
        await bus.publish_many([seated(number) for number in range(10)], key="k")
        await over(bus, 10)
    assert sorted(runs) == list(range(10))
    assert order == "none" or runs == list(range(10))
    assert bus.stats["bus"].released > 0


async def test_held_messages_never_stop_the_source(memory: Broker) -> None:
    """Every slot would be taken by messages that wait: half of them are left to the broker."""
    done = asyncio.Event()
    bus = memory.bus(max_in_flight=4)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        if event.player_id == 9:
            done.set()
        elif not done.is_set():
            raise Retry(after=0.5)

    async with asyncio.timeout(3), bus, bus.serving():
        await bus.publish_many([seated(number) for number in range(4)])
        await bus.publish(seated(9))
        await asyncio.wait_for(done.wait(), 0.4)
