"""F: order and concurrency."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack

from brokerkit._messages._message import Message
from brokerkit.testing.conformance._cases import section
from brokerkit.testing.conformance._harness import Harness
from brokerkit.testing.conformance._retry import QUICK
from brokerkit.testing.conformance._tools import Recorder, accepted, numbered, until

case = section("Order and concurrency")


def _promised(h: Harness) -> None:
    h.promised(h.capabilities.order != "none", "order by key")


@case(40)
async def per_key(h: Harness) -> None:
    """Messages of one key are handled in the order in which they were published, however many run at once."""
    _promised(h)
    seen = defaultdict[str, list[int]](list)

    async def act(number: int, message: Message) -> None:
        await asyncio.sleep(number % 3 / 1000)
        seen[str(message.key)].append(number)

    recorder, each = Recorder(act), max(h.many // 16, 1)
    async with recorder.serving(h.bus(concurrency=32, lease=30.0)) as bus:
        batch = [numbered(number, key=f"key-{key}") for number in range(each) for key in range(16)]
        accepted(await bus.publish_many(batch))
        await recorder.wait(len(batch))
    assert seen == {f"key-{key}": list(range(each)) for key in range(16)}


@case(41)
async def across_retries(h: Harness) -> None:
    """With a strict order, later messages of a key wait until a failing one is done."""
    _promised(h)

    def act(number: int, message: Message) -> None:
        if number == 1 and message.attempt < 3:
            raise RuntimeError("not yet")

    recorder = Recorder(act)
    async with recorder.serving(h.bus(order="strict", retry=QUICK, lease=30.0)) as bus:
        await bus.publish_many([numbered(number, key="k") for number in range(5)])
        await recorder.wait(5)
    assert recorder.numbers == [0, 1, 1, 1, 2, 3, 4]


@case(42)
async def so_many_at_once(h: Harness) -> None:
    """As many handlers run at once as the settings allow, and never more."""
    running, most, go = 0, 0, asyncio.Event()

    async def act(_: int, __: Message) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1

    recorder = Recorder(act)
    async with recorder.serving(h.bus(concurrency=5, lease=30.0)) as bus:
        await bus.publish_many([numbered(number) for number in range(20)])
        await until(lambda: running == 5)
        go.set()
        await recorder.wait(20)
    assert most == 5


@case(43)
async def shared_out(h: Harness) -> None:
    """Several members of one group share the messages: each message reaches exactly one member."""
    h.promised(h.capabilities.groups != "none", "groups")
    recorder = Recorder()
    async with AsyncExitStack() as members:
        buses = [await members.enter_async_context(recorder.serving(h.bus(lease=30.0))) for _ in range(4)]
        accepted(await buses[0].publish_many([numbered(number) for number in range(h.many)]))
        await recorder.wait_for(range(h.many))
    assert sorted(recorder.numbers) == list(range(h.many))
