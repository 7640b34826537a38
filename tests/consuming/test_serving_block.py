"""The block of `Bus.serving` ends when a source does, as that of a TaskGroup ends with its tasks."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import pytest

from brokerkit import Bus, Closed, Message, WrongNameRule
from tests.every_broker import Broker, Recorder, until

STRANGE: Final = [Message("Strange", b'{"params": {"playerId": 1}}') for _ in range(5)]
"""What ends a source whose handlers know none of its names."""


@pytest.fixture
def bus(memory: Broker) -> Bus:
    bus = memory.bus(max_in_flight=3)
    bus.include(Recorder().record("OnPlayerSeatedDown").handlers)
    return bus


def cancels() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def wait_for_the_end(bus: Bus) -> None:
    """Bring what ends the source, which may end while this is still being published."""
    await bus.publish_many(STRANGE)
    await asyncio.Event().wait()


async def test_the_end_of_a_source_cancels_the_block_and_is_raised_at_its_end(bus: Bus) -> None:
    seen = list[str]()
    with pytest.raises(WrongNameRule):
        async with asyncio.timeout(30), bus.serving():
            try:
                await wait_for_the_end(bus)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
    assert seen == ["cancelled"]
    assert cancels() == 0
    assert (await bus.health()).sources["bus"].state == "failed"
    with pytest.raises(Closed):
        await bus.publish(STRANGE[0])


async def test_on_request_it_is_logged_and_the_block_goes_on(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    async with asyncio.timeout(30), bus.serving(on_source_failure="log"):
        await bus.publish_many(STRANGE)
        await until(lambda: "WrongNameRule" in caplog.text)
        await bus.publish(STRANGE[0])
        assert (await bus.health()).sources["bus"].state == "failed"


async def test_an_error_of_the_body_goes_before(bus: Bus) -> None:
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(30), bus.serving():
            with suppress(asyncio.CancelledError):
                await wait_for_the_end(bus)
            raise ZeroDivisionError
    assert cancels() == 0


async def test_a_body_that_swallows_its_cancellation_gets_the_error_at_its_end(bus: Bus) -> None:
    with pytest.raises(WrongNameRule):
        async with asyncio.timeout(30), bus.serving():
            with suppress(asyncio.CancelledError):
                await wait_for_the_end(bus)
    assert cancels() == 0


async def test_a_body_that_goes_on_after_its_cancellation_gets_the_error_too(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(WrongNameRule):
        async with asyncio.timeout(30), bus.serving():
            with suppress(asyncio.CancelledError):
                await bus.publish_many(STRANGE)
            await until(lambda: "WrongNameRule" in caplog.text)


async def test_a_cancellation_by_somebody_else_stays_one(bus: Bus) -> None:
    both = asyncio.Event()

    async def serve() -> None:
        async with bus.serving():
            try:
                await wait_for_the_end(bus)
            finally:
                both.set()
                await asyncio.sleep(60)

    serving = asyncio.create_task(serve())
    async with asyncio.timeout(30):
        await both.wait()
        serving.cancel()
        await asyncio.wait([serving])
    assert serving.cancelled()


async def test_the_end_of_a_source_is_not_the_timeout_around_the_block(bus: Bus) -> None:
    with pytest.raises(WrongNameRule):
        async with asyncio.timeout(30) as limit, bus.serving():
            await wait_for_the_end(bus)
    assert not limit.expired()


async def test_serve_raises_the_same_error(bus: Bus) -> None:
    async with asyncio.timeout(30), bus:
        await bus.publish_many(STRANGE)
        with pytest.raises(WrongNameRule):
            await bus.serve()
    assert cancels() == 0
