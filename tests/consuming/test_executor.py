"""Workers: timeouts, contexts, concurrency, and what handlers may raise."""

from __future__ import annotations

import asyncio
import functools
import threading
from contextvars import ContextVar
from typing import Any, Final

import pytest

from brokerkit import Bus, Handlers, Message, RetryPolicy
from brokerkit._messages._headers import as_text
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.every_broker import Broker, until

NAME: Final = "OnPlayerSeatedDown"
ONCE = RetryPolicy(attempts=1)
FAST = RetryPolicy(attempts=3, first=0.01, cap=0.02)
pytestmark = pytest.mark.usefixtures("on_virtual_time")
variable: ContextVar[int] = ContextVar("variable", default=0)


def seated(number: int) -> OnPlayerSeatedDown:
    return OnPlayerSeatedDown(player_id=number)


async def handled(bus: Bus, handlers: Handlers, *numbers: int, key: str | None = None) -> None:
    """Publish, and wait until every message is handled or a dead letter."""
    bus.include(handlers)
    async with asyncio.timeout(10), bus, bus.serving():
        await bus.publish_many([seated(number) for number in numbers], key=key)
        stats = bus.stats["bus"]
        await until(lambda: stats.handled + stats.dead_lettered == len(numbers), seconds=8)


async def error_type(memory: Broker) -> str:
    [letter] = await memory.dead_letters(1)
    return str(as_text(letter.headers["bk-error-type"]))


async def test_an_async_handler_past_its_timeout_is_cancelled_and_has_failed(memory: Broker) -> None:
    handlers, cancelled = Handlers(), asyncio.Event()

    @handlers.on(NAME, timeout=0.05)
    async def slow(event: OnPlayerSeatedDown) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    await handled(memory.bus(retry=ONCE), handlers, 1)
    assert cancelled.is_set()
    assert await error_type(memory) == "HandlerTimeout"


async def test_a_handler_that_swallows_its_timeout_has_failed_all_the_same(memory: Broker) -> None:
    handlers = Handlers()

    @handlers.on(NAME, timeout=0.05)
    async def stubborn(event: OnPlayerSeatedDown) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

    await handled(memory.bus(retry=ONCE), handlers, 1)
    assert await error_type(memory) == "HandlerTimeout"


async def test_a_plain_handler_past_its_timeout_has_failed_and_the_log_says_that_it_runs_on(
    memory: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    handlers, over = Handlers(), threading.Event()

    @handlers.on(NAME, timeout=0.5)  # long enough for its thread to begin
    def slow(event: OnPlayerSeatedDown) -> None:
        over.wait(10)

    try:
        await handled(memory.bus(retry=ONCE), handlers, 1)
    finally:
        over.set()
    assert await error_type(memory) == "HandlerTimeout"
    assert "its thread runs on" in caplog.text


async def test_a_timeout_is_the_handlers_own_and_the_next_message_has_all_of_it(memory: Broker) -> None:
    handlers, ran = Handlers(), list[int]()

    @handlers.on(NAME, timeout=0.1)
    async def handle(event: OnPlayerSeatedDown) -> None:
        if event.player_id == 1:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        ran.append(event.player_id or 0)

    await handled(memory.bus(retry=ONCE, concurrency=1), handlers, 1, 2, 3)
    assert ran == [2, 3]


async def test_each_attempt_in_a_slot_has_all_of_its_timeout(memory: Broker) -> None:
    handlers, ended = Handlers(), list[int]()

    @handlers.on(NAME, timeout=1.0)
    async def slow(event: OnPlayerSeatedDown, message: Message) -> None:
        await asyncio.sleep(0.7)
        ended.append(message.attempt)
        if message.attempt < 4:
            raise ValueError("not yet")

    await handled(memory.bus(retry=RetryPolicy(attempts=4, first=0.1, cap=0.1), concurrency=1), handlers, 1)
    assert ended == [1, 2, 3, 4]


@pytest.mark.parametrize("is_async", [True, False])
async def test_context_variables_of_one_message_do_not_reach_the_next(memory: Broker, is_async: bool) -> None:
    handlers, seen = Handlers(), list[int]()

    async def asynchronous(event: OnPlayerSeatedDown) -> None:
        seen.append(variable.get())
        variable.set(event.player_id or 0)

    def plain(event: OnPlayerSeatedDown) -> None:
        seen.append(variable.get())
        variable.set(event.player_id or 0)

    handlers.on(NAME)(asynchronous if is_async else plain)
    await handled(memory.bus(concurrency=1), handlers, 1, 2, 3)
    assert seen == [0, 0, 0]


@pytest.mark.parametrize("is_async", [True, False])
async def test_handlers_see_the_context_that_the_bus_was_started_in(memory: Broker, is_async: bool) -> None:
    handlers, seen = Handlers(), list[int]()

    async def asynchronous(event: OnPlayerSeatedDown) -> None:
        seen.append(variable.get())

    def plain(event: OnPlayerSeatedDown) -> None:
        seen.append(variable.get())

    handlers.on(NAME)(asynchronous if is_async else plain)
    token = variable.set(7)
    await handled(memory.bus(), handlers, 1)
    variable.reset(token)
    assert seen == [7]


async def test_as_many_handlers_run_at_once_as_were_asked_for_and_never_more(memory: Broker) -> None:
    handlers, gate, running, most = Handlers(), asyncio.Event(), 0, 0

    @handlers.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 5:
            gate.set()
        await gate.wait()
        await asyncio.sleep(0)
        running -= 1

    await handled(memory.bus(concurrency=5), handlers, *range(50))
    assert most == 5


async def test_plain_handlers_run_side_by_side(memory: Broker) -> None:
    handlers, together = Handlers(), threading.Barrier(3, timeout=60)

    @handlers.on(NAME)
    def handle(event: OnPlayerSeatedDown) -> None:
        together.wait()

    await handled(memory.bus(concurrency=3, retry=ONCE), handlers, 1, 2, 3)
    assert not together.broken


async def test_a_plain_function_that_gives_a_coroutine_is_awaited(memory: Broker) -> None:
    handlers, seen = Handlers(), list[int]()

    async def handle(event: OnPlayerSeatedDown, factor: int) -> None:
        seen.append((event.player_id or 0) * factor)

    handlers.on(NAME)(lambda event: handle(event, 10))
    handlers.on(NAME)(functools.partial(handle, factor=100))
    await handled(memory.bus(), handlers, 1)
    assert seen == [10, 100]


async def _cancelled(_: Any) -> None:
    raise asyncio.CancelledError("a future of its own was cancelled")


def _stopped(_: Any) -> None:
    next(iter(()))


async def _unprintable(_: Any) -> None:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    raise UnprintableError


@pytest.mark.parametrize(
    ("function", "expected"),
    [(_cancelled, "CancelledError"), (_stopped, "RuntimeError"), (_unprintable, "UnprintableError")],
)
async def test_whatever_a_handler_raises_is_a_failure_and_the_source_goes_on(
    memory: Broker, function: Any, expected: str
) -> None:
    handlers, ran = Handlers(), asyncio.Event()

    @handlers.on("OnUserLoggedIn")
    async def note(event: Any) -> None:
        ran.set()

    handlers.on(NAME, retry=ONCE)(function)
    bus = memory.bus()
    bus.include(handlers)
    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish(seated(1))
        await until(lambda: bus.stats["bus"].dead_lettered == 1, seconds=3)
        await bus.publish("OnUserLoggedIn", {})
        await ran.wait()
    assert await error_type(memory) == expected


async def test_a_cancelled_handler_is_released_and_has_not_failed(memory: Broker) -> None:
    handlers, began = Handlers(), asyncio.Event()

    @handlers.on(NAME)
    async def endless(event: OnPlayerSeatedDown) -> None:
        began.set()
        await asyncio.Event().wait()

    bus = memory.bus(stop_timeout=0.05, retry=ONCE)
    bus.include(handlers)
    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish(seated(1))
        await began.wait()
        stats = bus.stats["bus"]
    assert (stats.released, stats.failed, stats.dead_lettered) == (1, 0, 0)


async def test_a_handler_whose_cleanup_fails_when_it_is_cancelled_at_shutdown_is_no_dead_letter(memory: Broker) -> None:
    """Client libraries turn a cancellation into errors of their own: that is no failure of the message."""
    handlers, began = Handlers(), asyncio.Event()

    @handlers.on(NAME)
    async def endless(event: OnPlayerSeatedDown) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError("connection closed") from None

    bus = memory.bus(stop_timeout=0.05, retry=ONCE)
    bus.include(handlers)
    async with asyncio.timeout(5), bus, bus.serving():
        await bus.publish(seated(1))
        await began.wait()
        stats = bus.stats["bus"]
    assert (stats.released, stats.failed, stats.dead_lettered) == (1, 0, 0)


async def test_a_handler_that_finishes_before_the_deadline_is_acknowledged(memory: Broker) -> None:
    handlers, began, go_on = Handlers(), asyncio.Event(), asyncio.Event()

    @handlers.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        began.set()
        await go_on.wait()

    bus = memory.bus(stop_timeout=5)
    bus.include(handlers)
    serving = asyncio.ensure_future(bus.serve())
    async with asyncio.timeout(5), memory.bus() as publisher:
        await publisher.publish(seated(1))
        await began.wait()
        stats = bus.stats["bus"]
        serving.cancel()
        asyncio.get_running_loop().call_later(0.02, go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await serving
    assert (stats.handled, stats.released) == (1, 0)
