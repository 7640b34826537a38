"""D: retries and attempts."""

from __future__ import annotations

import asyncio
from typing import Any

from brokerkit._errors import Retry
from brokerkit._message import Message
from brokerkit._retry import RetryPolicy
from brokerkit.testing.conformance._cases import section
from brokerkit.testing.conformance._harness import Harness
from brokerkit.testing.conformance._tools import Recorder, accepted, numbered, until

case = section("Retries and attempts")

QUICK = RetryPolicy(attempts=5, first=0.05, cap=0.1)
"""So short that retries are held in the process."""


def fails_first(numbers: set[int]) -> Any:
    """A handler's act: the first attempt of some messages fails."""

    def act(number: int, message: Message) -> None:
        if number in numbers and message.attempt == 1:
            raise RuntimeError("the first attempt fails")

    return act


@case(26)
async def attempts_counted(h: Harness) -> None:
    """After an error of its handler a message comes again, and the handler is told which attempt it is."""

    def act(_: int, message: Message) -> None:
        if message.attempt < 3:
            raise RuntimeError("not yet")

    recorder = Recorder(act)
    async with recorder.serving(h.bus(retry=QUICK)) as bus:
        await bus.publish(numbered(1))
        await recorder.wait(1)
    assert [message.attempt for message in recorder.messages] == [1, 2, 3]


@case(27)
async def not_before(h: Harness) -> None:
    """A retry that was asked for in two seconds, and that the broker keeps, comes neither earlier nor much later."""
    times, loop = list[float](), asyncio.get_running_loop()

    def act(_: int, message: Message) -> None:
        times.append(loop.time())
        if message.attempt == 1:
            raise Retry(after=2.0)

    recorder = Recorder(act)
    async with recorder.serving(h.bus(hold=0.2, lease=max(h.lease, 4.0))) as bus:
        await bus.publish(numbered(1))
        await recorder.wait(1)
    assert 1.95 < times[1] - times[0] < 2.0 + h.late


@case(28)
async def some_fail_once(h: Harness) -> None:
    """Where every tenth of many messages fails once, all succeed in the end."""
    recorder = Recorder(fails_first(set(range(0, h.many, 10))))
    async with recorder.serving(h.bus(retry=QUICK, lease=30.0)) as bus:
        accepted(await bus.publish_many([numbered(number) for number in range(h.many)]))
        await recorder.wait_for(range(h.many))
    assert sorted(recorder.done) == list(range(h.many))


@case(29)
async def reconnect_between(h: Harness) -> None:
    """Where some fail once and the connection breaks in the middle, all succeed in the end."""
    h.promised(h.capabilities.at_least_once, "at least once")
    recorder = Recorder(fails_first(set(range(0, h.many, 10))))
    async with recorder.serving(h.bus(retry=QUICK, max_in_flight=20)) as bus:
        half = h.many // 2
        accepted(await bus.publish_many([numbered(number) for number in range(half)]))
        await recorder.wait(half // 4)
        await h.cut_connections()
        accepted(await bus.publish_many([numbered(number) for number in range(half, h.many)]))
        await recorder.wait_for(range(h.many))


@case(30)
async def others_go_on(h: Harness) -> None:
    """While one message waits for its next attempt, messages of other keys are handled."""

    def act(number: int, message: Message) -> None:
        if number == 0 and message.attempt == 1:
            raise Retry(after=1.0)

    recorder = Recorder(act)
    async with recorder.serving(h.bus(lease=30.0)) as bus:
        await bus.publish(numbered(0, key="first"))
        await until(lambda: recorder.numbers)
        await bus.publish_many([numbered(number, key=f"key-{number}") for number in range(1, 20)])
        await recorder.wait(20)
    assert recorder.done[-1] == 0


@case(31)
async def one_attempt(h: Harness) -> None:
    """A limit of one attempt is one call of the handler."""
    recorder = Recorder(_always_fails)
    bus = h.bus(retry=RetryPolicy(attempts=1))
    async with recorder.serving(bus):
        await bus.publish(numbered(1))
        await until(lambda: bus.stats["bus"].dead_lettered)
        if h.capabilities.lease is not None:
            await asyncio.sleep(1.5 * h.lease)
    assert recorder.numbers == [1]


def _always_fails(number: int, message: Message) -> None:
    raise RuntimeError(f"{number} always fails")


@case(32)
async def crash_loop(h: Harness) -> None:
    """A message that was delivered too often, though nobody could tell that it failed, is not tried again."""
    h.promised(h.capabilities.attempts == "deliveries", "deliveries are counted")
    await h.make_group()
    async with h.bus() as bus:
        await bus.publish(numbered(1))
    for _ in range(2):
        async with h.reading() as reader:
            await reader.receive(1)
    recorder = Recorder()
    bus = h.bus(max_deliveries=2)
    async with recorder.serving(bus):
        await until(lambda: bus.stats["bus"].dead_lettered)
    assert recorder.numbers == []


@case(33)
async def no_spinning(h: Harness) -> None:
    """A retry without any wait does not keep the process busy: at most twenty a second."""

    def act(_: int, __: Message) -> None:
        raise Retry(after=0.0)

    recorder = Recorder(act)
    async with recorder.serving(h.bus(retry=RetryPolicy(attempts=1000), lease=30.0, max_deliveries=1000)) as bus:
        await bus.publish(numbered(1))
        await until(lambda: recorder.numbers)
        await asyncio.sleep(1.0)
        calls = len(recorder.numbers)
    assert 2 <= calls <= 25
