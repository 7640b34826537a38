"""Steps of a shutdown end, whatever they wait for."""

from __future__ import annotations

import asyncio

import pytest

from brokerkit._deadline import bounded


async def test_a_step_that_ends_is_waited_for() -> None:
    done = list[int]()

    async def step() -> None:
        await asyncio.sleep(0.05)
        done.append(1)

    await bounded(5, "the step", step())
    assert done == [1]


async def test_a_step_that_hangs_is_cancelled_and_named(caplog: pytest.LogCaptureFixture) -> None:
    cleaned = asyncio.Event()

    async def step() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    async with asyncio.timeout(30):
        await bounded(0.05, "closing X", step())
    assert cleaned.is_set()
    assert "closing X took too long" in caplog.text


async def test_a_step_that_fails_is_logged_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def step() -> None:
        raise RuntimeError("broken")

    await bounded(5, "the step", step())
    assert "the step failed: RuntimeError" in caplog.text
