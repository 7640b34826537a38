"""H: opening and closing."""

from __future__ import annotations

import asyncio
import gc
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from brokerkit._errors import Closed
from brokerkit._messages._message import Message
from brokerkit.testing.conformance._ack import after_lease
from brokerkit.testing.conformance._cases import section
from brokerkit.testing.conformance._harness import Harness
from brokerkit.testing.conformance._tools import Recorder, numbered, until

case = section("Opening and closing")

ROUNDS = 5


def _open_files() -> int:
    """How many files and sockets this process has open; 0 if the system does not tell."""
    gc.collect()
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def _threads() -> int:
    """How many threads run, without those of the event loop's own pool.

    The pool keeps its threads until the loop ends, and starts another one whenever none has said yet that it is idle.
    """
    return sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())


def _counts() -> tuple[int, int, int]:
    return len(asyncio.all_tasks()), _threads(), _open_files()


@case(48)
async def nothing_left(h: Harness) -> None:
    """Repeated opening and closing leaves no task, no thread and no socket behind."""
    recorder = Recorder()
    bus = h.bus()
    before = (0, 0, 0)
    for number in range(ROUNDS):
        async with recorder.serving(bus):
            await bus.publish(numbered(number))
            await recorder.wait(number + 1)
        if number == 0:  # what is made once and kept is there now
            before = _counts()
    with suppress(TimeoutError):  # the client libraries may take a moment
        async with asyncio.timeout(20):
            await until(lambda: _is_at_most(_counts(), before))
    after = _counts()
    # What is not closed adds one for each round. One more can be somebody else's: a client that connects again, for example.
    assert all(one - other < (ROUNDS - 1) / 2 for one, other in zip(after, before, strict=True)), (after, before)


def _is_at_most(after: tuple[int, ...], before: tuple[int, ...]) -> bool:
    return all(one <= other for one, other in zip(after, before, strict=True))


@case(49)
async def waits_for_handlers(h: Harness) -> None:
    """A stop waits for running handlers, and their messages are acknowledged."""
    begun = asyncio.Event()

    async def act(_: int, __: Message) -> None:
        begun.set()
        await asyncio.sleep(0.3)

    recorder = Recorder(act)
    bus = h.bus()
    async with recorder.serving(bus):
        await bus.publish(numbered(1))
        await begun.wait()
    assert recorder.done == [1]
    if h.capabilities.at_least_once:
        await after_lease(h)
        async with recorder.serving(bus):
            await bus.publish(numbered(2))
            await recorder.wait(2)
        assert recorder.numbers == [1, 2]


@case(50)
async def past_the_deadline(h: Harness) -> None:
    """A handler that does not end in time is cancelled; its message comes again, and does not become a dead letter."""
    h.promised(h.capabilities.at_least_once, "at least once")
    begun = asyncio.Event()

    async def act(_: int, __: Message) -> None:
        begun.set()
        await asyncio.sleep(3_600)

    slow = Recorder(act)
    bus = h.bus(stop_timeout=0.2)
    async with slow.serving(bus):
        await bus.publish(numbered(1))
        await begun.wait()
    assert slow.done == []
    assert (bus.stats["bus"].failed, bus.stats["bus"].dead_lettered) == (0, 0)
    recorder = Recorder()
    async with recorder.serving(h.bus()):
        await recorder.wait(1)
    assert recorder.numbers == [1]


@case(51)
async def given_back(h: Harness) -> None:
    """After a stop, another member soon gets the messages that were not begun, before their lease ends."""
    h.promised(h.capabilities.at_least_once, "at least once")
    lease, release = 40.0, asyncio.Event()

    async def act(_: int, __: Message) -> None:
        await release.wait()

    first, second = Recorder(act), Recorder()
    bus = h.bus(lease=lease, concurrency=1)
    async with first.serving(bus):
        await bus.publish_many([numbered(number, key="k") for number in range(10)])
        await until(lambda: first.numbers)
        asyncio.get_running_loop().call_later(0.2, release.set)
    begun = asyncio.get_running_loop().time()
    async with second.serving(h.bus(lease=lease)):
        await until(lambda: set(first.done) | set(second.done) == set(range(10)))
    assert asyncio.get_running_loop().time() - begun < lease / 2
    assert not set(first.done) & set(second.done)


@case("51b")
async def given_back_in_order(h: Harness) -> None:
    """After a stop, the messages of a key come again in order, the one whose handler was cancelled first."""
    h.promised(h.capabilities.at_least_once, "at least once")
    h.promised(h.capabilities.order != "none", "order by key")

    async def act(_: int, message: Message) -> None:
        if message.key == "slow":
            await asyncio.sleep(3_600)

    first, second = Recorder(act), Recorder()
    bus = h.bus(stop_timeout=0.2)
    async with first.serving(bus):
        await bus.publish_many([numbered(number, key="slow") for number in range(6)])
        # It comes after them, so they are here when it is done.
        await bus.publish(numbered(6, key="quick"))
        await until(lambda: first.done == [6])
    async with second.serving(h.bus()):
        await until(lambda: {*range(6)} <= {*second.numbers})
    assert [number for number in second.numbers if number < 6] == [0, 1, 2, 3, 4, 5]


@case(52)
async def closed(h: Harness) -> None:
    """Publishing on a closed bus is an error that says so; closing twice does nothing."""
    bus = h.bus()
    async with bus:
        pass
    with pytest.raises(Closed):
        await bus.publish(numbered(1))
    async with h.adapter() as adapter, h.reading() as reader:
        await reader.source.stop()
        await reader.source.close()
        await reader.source.close()
        await adapter.close()
        await adapter.close()


@case(53)
async def cancelled(h: Harness) -> None:
    """A bus still works after a publish and a serve were cancelled."""
    recorder = Recorder()
    bus = h.bus()
    bus.on("*")(recorder.handle)
    async with bus:
        serving = asyncio.ensure_future(bus.serve())
        await asyncio.sleep(0.05)
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        publishing = asyncio.ensure_future(bus.publish(numbered(0)))
        await asyncio.sleep(0)
        publishing.cancel()
        with suppress(asyncio.CancelledError):
            await publishing
        async with bus.serving():
            await bus.publish(numbered(1))
            await recorder.wait_for([1])
    assert set(recorder.numbers) <= {0, 1}


@case(54)
async def one_of_several(h: Harness) -> None:
    """A subscription can be stopped and started again while another continues."""
    h.promised(h.capabilities.at_least_once, "at least once")
    steady, other = Recorder(), Recorder()
    bus = h.bus(h.topic("other"))
    async with steady.serving(h.bus()) as going:
        async with other.serving(bus):
            await going.publish(numbered(0))
            await bus.publish(numbered(0))
            await other.wait(1)
        await going.publish(numbered(1))
        await steady.wait(2)
        async with other.serving(bus):
            await bus.publish(numbered(1))
            await other.wait(2)
        await going.publish(numbered(2))
        await steady.wait(3)
    # Without a key they have no order.
    assert (sorted(steady.numbers), sorted(other.numbers)) == ([0, 1, 2], [0, 1])
