"""G: groups."""

from __future__ import annotations

import asyncio
from collections import Counter

from brokerkit._messages._message import Message
from brokerkit.testing.conformance._cases import section
from brokerkit.testing.conformance._harness import Harness
from brokerkit.testing.conformance._tools import Recorder, accepted, numbered

case = section("Groups")


@case(44)
async def each_group(h: Harness) -> None:
    """Each of two groups gets every message."""
    h.promised(h.capabilities.groups != "one", "more than one group")
    first, second = Recorder(), Recorder()
    async with first.serving(h.bus(group="a")) as bus, second.serving(h.bus(group="b")):
        accepted(await bus.publish_many([numbered(number) for number in range(50)]))
        await first.wait(50)
        await second.wait(50)
    assert sorted(first.numbers) == sorted(second.numbers) == list(range(50))


@case(45)
async def members_share(h: Harness) -> None:
    """Two members of one group share its messages, while another group gets all of them."""
    h.promised(h.capabilities.groups == "many", "more than one group")
    shared, alone = Recorder(), Recorder()
    async with (
        shared.serving(h.bus(group="a", lease=30.0)) as bus,
        shared.serving(h.bus(group="a", lease=30.0)),
        alone.serving(h.bus(group="b", lease=30.0)),
    ):
        accepted(await bus.publish_many([numbered(number) for number in range(50)]))
        await shared.wait_for(range(50))
        await alone.wait(50)
    assert sorted(shared.numbers) == sorted(alone.numbers) == list(range(50))


@case(46)
async def come_and_go(h: Harness) -> None:
    """If members join and leave under load, nothing is lost, and only unsettled messages may come twice."""
    h.promised(h.capabilities.groups != "none", "groups")

    async def act(_: int, __: Message) -> None:
        await asyncio.sleep(0.01)

    recorder, room = Recorder(act), 20
    async with recorder.serving(h.bus(lease=30.0, max_in_flight=room, concurrency=5)) as bus:
        half = h.many // 2
        accepted(await bus.publish_many([numbered(number, key=f"k{number}") for number in range(half)]))
        await recorder.wait(5)
        async with recorder.serving(h.bus(lease=30.0, max_in_flight=room, concurrency=5)) as other:
            accepted(await other.publish_many([numbered(number, key=f"k{number}") for number in range(half, h.many)]))
            await recorder.wait(half)
        await recorder.wait_for(range(h.many))
    twice = sum(times - 1 for times in Counter(recorder.numbers).values())
    assert twice <= 2 * room


@case(47)
async def nobody_there(h: Harness) -> None:
    """A group without readers keeps the messages that are published meanwhile."""
    h.promised(h.capabilities.at_least_once, "at least once")
    recorder = Recorder()
    bus = h.bus()
    async with recorder.serving(bus):
        await bus.publish(numbered(0))
        await recorder.wait(1)
    async with bus:
        await bus.publish_many([numbered(number) for number in range(1, 5)])
    async with recorder.serving(bus):
        await recorder.wait(5)
    assert sorted(recorder.numbers) == list(range(5))
