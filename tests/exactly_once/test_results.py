"""`exactly_once = true` on every broker that has transactions.

What becomes of it when processes die is in tests/killed/test_exactly_once.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated

import pytest

from brokerkit import Message, Receipt, Reject
from brokerkit.dependencies import Depends
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.types import Attempt
from tests.every_broker import Broker, until
from tests.exactly_once.scene import SEATED, Scene


async def test_each_message_has_its_result_once_and_in_order(broker: Broker, tmp_path: Path) -> None:
    scene = Scene(broker, tmp_path)

    @scene.bus.on(SEATED)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        receipt = await scene.pay(message)
        assert isinstance(receipt, Receipt) and receipt.position is None

    await scene.deal(*range(50))
    async with scene.bus, scene.bus.serving():
        await scene.over()
        assert await scene.paid() == [f"deal-{number}-paid" for number in range(50)]
    assert scene.bus.stats["deals"].handled == 50


async def test_what_is_not_published_in_the_end_is_published_by_nobody(broker: Broker, tmp_path: Path) -> None:
    """An attempt that fails has published nothing, and neither has a message that becomes a dead letter."""
    scene = Scene(broker, tmp_path)

    @scene.bus.on(SEATED)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        await scene.pay(message, f"attempt {message.attempt}")
        if event.player_id == 1 and message.attempt == 1:
            raise RuntimeError("again")
        if event.player_id == 2:
            raise Reject("never")

    await scene.deal(0, 1, 2, 3)
    async with scene.bus, scene.bus.serving():
        await scene.over()
        assert sorted(await scene.paid()) == ["deal-0-attempt 1", "deal-1-attempt 2", "deal-3-attempt 1"]
        assert [each.partition("~")[0] for each in await scene.letters()] == ["deal-2"]
    stats = scene.bus.stats["deals"]
    assert (stats.handled, stats.dead_lettered, stats.failed) == (3, 1, 2)


@pytest.mark.parametrize("hold", [10.0, 0.0], ids=["held", "durable"])
async def test_what_a_handler_that_is_done_has_published_is_there_once(
    broker: Broker, tmp_path: Path, hold: float
) -> None:
    """Also where the retry of the other one goes through the broker, or ends as a dead letter."""
    scene = Scene(broker, tmp_path, hold=hold)
    calls: Counter[str] = Counter()

    @scene.bus.on(SEATED)
    async def first(event: OnPlayerSeatedDown, message: Message) -> None:
        calls["first"] += 1
        await scene.pay(message, "first")

    @scene.bus.on(SEATED)
    async def second(event: OnPlayerSeatedDown, message: Message) -> None:
        calls["second"] += 1
        await scene.pay(message, "second")
        if event.player_id == 1 or message.attempt < 3:
            raise RuntimeError("again")

    await scene.deal(0, 1)
    async with scene.bus, scene.bus.serving():
        stats = scene.bus.stats["deals"]
        await until(lambda: stats.handled + stats.dead_lettered == 2, seconds=60)
        await scene.over()
        assert sorted(await scene.paid()) == ["deal-0-first", "deal-0-second", "deal-1-first"]
        assert len(await scene.letters()) == 1
    assert calls == {"first": 2, "second": 6}


async def test_what_middleware_and_dependencies_publish_goes_with_the_results_of_the_handlers(
    broker: Broker, tmp_path: Path
) -> None:
    """What the handlers share cannot be closed after the first attempt: all of it is dropped, and all of them run again."""
    scene = Scene(broker, tmp_path)

    async def audit(attempt: Attempt, proceed: Callable[[], Awaitable[None]]) -> None:
        await proceed()
        await scene.pay(attempt.message, f"audit {attempt.message.attempt}")

    async def session(message: Message) -> AsyncIterator[str]:
        yield "session"
        await scene.pay(message, f"closed {message.attempt}")
        if message.attempt == 1:
            raise RuntimeError("it cannot be closed")

    scene.bus.add_middleware(audit)

    @scene.bus.on(SEATED)
    async def first(
        event: OnPlayerSeatedDown, message: Message, shared: Annotated[str, Depends(session, scope="message")]
    ) -> None:
        await scene.pay(message, f"first {message.attempt}")

    @scene.bus.on(SEATED, where=lambda headers: bool(headers))
    async def second(event: OnPlayerSeatedDown, message: Message) -> None:
        await scene.pay(message, f"second {message.attempt}")

    await scene.deal(0)
    async with scene.bus, scene.bus.serving():
        await until(lambda: scene.bus.stats["deals"].handled == 1)
        await scene.over()
        results = ["first 2", "audit 2", "second 2", "audit 2", "closed 2"]
        assert await scene.paid() == [f"deal-0-{result}" for result in results]


async def test_a_message_waits_for_those_before_it(broker: Broker, tmp_path: Path) -> None:
    """What is done behind a message that still runs is not published yet where one offset stands for all of them."""
    scene = Scene(broker, tmp_path, order="none")
    go_on, behind = asyncio.Event(), asyncio.Event()

    @scene.bus.on(SEATED)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        if event.player_id == 0:
            await go_on.wait()
        await scene.pay(message)
        if event.player_id == 9:
            behind.set()

    await scene.deal(*range(10))
    async with scene.bus, scene.bus.serving():
        await behind.wait()
        if scene.bus.runtime.capabilities("deals").commits_offsets:
            assert await scene.paid() == []
        go_on.set()
        await scene.over()
        assert sorted(await scene.paid()) == sorted(f"deal-{number}-paid" for number in range(10))
