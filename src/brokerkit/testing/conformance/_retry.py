"""D: retries and attempts."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

from brokerkit._config._retry_policy import RetryPolicy
from brokerkit._errors import Retry
from brokerkit._messages._message import Message
from brokerkit.adapters.api import Delivery, LoneStarts
from brokerkit.testing.conformance._cases import section
from brokerkit.testing.conformance._harness import Harness, Reader
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
    """After an error of its handler a message comes again, with the number of the attempt."""

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
    """A durable retry after two seconds comes neither earlier nor much later."""
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
    """If every tenth of many messages fails once, all succeed in the end."""
    recorder = Recorder(fails_first(set(range(0, h.many, 10))))
    async with recorder.serving(h.bus(retry=QUICK, lease=30.0)) as bus:
        accepted(await bus.publish_many([numbered(number) for number in range(h.many)]))
        await recorder.wait_for(range(h.many))
    assert sorted(recorder.done) == list(range(h.many))


@case(29)
async def reconnect_between(h: Harness) -> None:
    """If some messages fail once and the connection breaks meanwhile, all succeed in the end."""
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
    """With a limit of one attempt the handler is called once."""
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
async def deliveries_alone(h: Harness) -> None:
    """What was delivered more than `max_deliveries` times, and begun by no handler, is handled: one by one, in order."""
    h.promised(h.capabilities.attempts == "deliveries", "deliveries are counted")
    await h.make_group()
    async with h.bus() as bus:
        accepted(await bus.publish_many([numbered(number, key="k") for number in range(6)]))
    for _ in range(3):
        async with h.reading() as reader:
            await reader.receive(6)
    running = 0

    async def act(_: int, __: Message) -> None:
        nonlocal running
        running += 1
        await asyncio.sleep(0.02)
        assert running == 1
        running -= 1

    recorder = Recorder(act)
    bus = h.bus(max_deliveries=2, retry=RetryPolicy(attempts=1))
    async with recorder.serving(bus):
        await recorder.wait(6)
        assert bus.stats["bus"].dead_lettered == 0
    assert sorted(recorder.done) == list(range(6))
    if h.capabilities.order != "none":
        assert recorder.done == list(range(6))
    assert {message.attempt for message in recorder.messages} == {1}


@case("32b")
async def stops_are_no_failures(h: Harness) -> None:
    """However often a process is stopped while handlers wait, nothing becomes a dead letter, and all is attempt one."""
    h.promised(h.capabilities.at_least_once, "at least once")
    await h.make_group()
    async with h.bus() as bus:
        accepted(await bus.publish_many([numbered(number, key=f"key-{number}") for number in range(6)]))
    recorder = Recorder(_never_ends)
    for stop in range(1, 5):
        async with recorder.serving(h.bus(max_deliveries=2, retry=RetryPolicy(attempts=1), stop_timeout=0.1)):
            while len(recorder.numbers) < stop:
                await asyncio.sleep(0.01)
    recorder = Recorder()
    bus = h.bus(max_deliveries=2, retry=RetryPolicy(attempts=1))
    async with recorder.serving(bus):
        await recorder.wait_for(range(6))
        assert bus.stats["bus"].dead_lettered == 0
    assert {message.attempt for message in recorder.messages} == {1}


@case("32c")
async def lone_starts(h: Harness) -> None:
    """Of a message that was begun alone again and again, and never done, only that one becomes a dead letter."""
    h.promised(h.capabilities.attempts == "deliveries", "deliveries are counted")
    async with Recorder().serving(h.bus()):
        pass  # With the group comes the dead-letter queue, where some brokers keep the starts.
    async with h.bus() as bus:
        accepted(await bus.publish_many([numbered(number) for number in range(6)]))
    for start in range(1, 4):
        async with h.reading() as reader:
            source = cast("LoneStarts", reader.source)
            found = await _each(reader, 6)
            assert await source.begin_alone(found[3]) == start
            # Nothing is held against those that ended, however they did.
            assert await source.begin_alone(found[4]) == 1
            await source.end_alone(found[4])
            await source.end_alone(found[5])
    # RabbitMQ 4.3 does not count what a reader gives back when it stops, but what it has when it dies.
    while await _fewest_deliveries(h, 6) < 3:
        await h.let_die("member")
    recorder = Recorder()
    bus = h.bus(max_deliveries=2, retry=RetryPolicy(attempts=1))
    async with recorder.serving(bus):
        await recorder.wait(5)
        await until(lambda: bus.stats["bus"].dead_lettered)
    assert sorted(recorder.done) == [0, 1, 2, 4, 5]
    [letter] = await h.dead_letters(1)
    assert json.loads(letter.body or b"") == {"n": 3}


async def _fewest_deliveries(h: Harness, messages: int) -> int:
    async with h.reading() as reader:
        return min(delivery.count for delivery in (await _each(reader, messages)).values())


async def _each(reader: Reader, messages: int) -> dict[int, Delivery]:
    """Every message by its number. Where a lease ends in a stall, one of them comes twice."""
    found: dict[int, Delivery] = {}
    while len(found) < messages:
        [delivery] = await reader.receive(1)
        found[json.loads(delivery.body or b"")["n"]] = delivery
    return found


async def _never_ends(_: int, __: Message) -> None:
    await asyncio.Event().wait()


@case(33)
async def no_spinning(h: Harness) -> None:
    """Retries without a wait do not keep the process busy: there are at most twenty a second."""

    def act(_: int, __: Message) -> None:
        raise Retry(after=0.0)

    recorder = Recorder(act)
    async with recorder.serving(h.bus(retry=RetryPolicy(attempts=1000), lease=30.0, max_deliveries=1000)) as bus:
        await bus.publish(numbered(1))
        await until(lambda: recorder.numbers)
        await asyncio.sleep(1.0)
        calls = len(recorder.numbers)
    assert 2 <= calls <= 25
