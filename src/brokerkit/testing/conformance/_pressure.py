"""J: back pressure."""

from __future__ import annotations

import asyncio
import json

from brokerkit._messages._message import Message
from brokerkit.testing.conformance._cases import section
from brokerkit.testing.conformance._harness import Harness
from brokerkit.testing.conformance._tools import NAME, Recorder, accepted, numbered, until

case = section("Back pressure")


@case(61)
async def full(h: Harness) -> None:
    """At the limit of unsettled messages the consumer takes no more, and continues when they are settled."""
    h.promised(h.capabilities.at_least_once, "at least once")
    go, room = asyncio.Event(), 10

    async def act(_: int, __: Message) -> None:
        await go.wait()

    recorder = Recorder(act)
    bus = h.bus(max_in_flight=room, lease=30.0)
    async with recorder.serving(bus):
        accepted(await bus.publish_many([numbered(number) for number in range(50)]))
        await until(lambda: len(recorder.numbers) == room)
        await asyncio.sleep(0.2)
        assert (bus.stats["bus"].received, (await bus.health()).sources["bus"].in_flight) == (room, room)
        go.set()
        await recorder.wait(50)
    assert sorted(recorder.numbers) == list(range(50))


@case(62)
async def large_backlog(h: Harness) -> None:
    """However many messages wait at the broker, the process holds only what it asked for."""
    h.promised(h.capabilities.at_least_once, "at least once")
    room, filling, held = 8, "x" * 10_000, list[int]()
    bus = h.bus(max_in_flight=room, concurrency=4, lease=30.0)

    async def act(_: int, __: Message) -> None:
        held.append((await bus.health()).sources["bus"].in_flight)
        await asyncio.sleep(0)

    recorder = Recorder(act)
    async with recorder.serving(bus):
        batch = [Message(NAME, json.dumps({"n": number, "x": filling}).encode()) for number in range(h.many)]
        accepted(await bus.publish_many(batch))
        await recorder.wait(h.many)
    assert max(held) <= room


@case("62b")
async def hot_key(h: Harness) -> None:
    """One key with more messages than may be unsettled keeps no other key waiting, and stays in order."""
    h.promised(h.capabilities.at_least_once, "at least once")
    h.promised(h.capabilities.order != "none", "order by key")
    room, go = 10, asyncio.Event()
    hot, others = range(3 * room), range(3 * room, 6 * room)

    async def act(number: int, _: Message) -> None:
        if number == 0:
            await go.wait()

    recorder = Recorder(act)
    async with recorder.serving(h.bus(max_in_flight=room, concurrency=5, lease=30.0)) as bus:
        accepted(await bus.publish_many([numbered(number, key="hot") for number in hot]))
        accepted(await bus.publish_many([numbered(number, key=f"key-{number}") for number in others]))
        await until(lambda: set(others) <= set(recorder.numbers))
        assert set(recorder.numbers).isdisjoint(hot[1:])
        go.set()
        await recorder.wait(6 * room)
    assert sorted(recorder.numbers) == list(range(6 * room))
    assert [number for number in recorder.numbers if number in hot] == list(hot)
