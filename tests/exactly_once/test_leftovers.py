"""What publishes too late or for another message with `exactly_once = true`, on every broker that has transactions."""

from __future__ import annotations

import asyncio
import itertools
import threading
from pathlib import Path
from typing import Any

import pytest

from brokerkit import Closed, Message, Notice, Receipt, Reject
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.every_broker import Broker, until
from tests.exactly_once.scene import PAID, SEATED, Scene


async def test_a_publish_after_the_end_of_its_handler_is_refused(broker: Broker, tmp_path: Path) -> None:
    scene = Scene(broker, tmp_path)
    later: list[asyncio.Task[Any]] = []
    ended = asyncio.Event()

    @scene.bus.on(SEATED)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        async def pay_later() -> None:
            await ended.wait()
            await scene.pay(message)

        later.append(asyncio.create_task(pay_later()))

    await scene.deal(0)
    async with scene.bus, scene.bus.serving():
        await until(lambda: scene.bus.stats["deals"].handled == 1)
        await scene.over()
        ended.set()
        with pytest.raises(Closed, match="await what it publishes"):
            await later[0]
        # Outside of handlers the bus publishes as always.
        assert isinstance(await scene.bus.publish(PAID, {"playerId": 1}, to="paid", id="other"), Receipt)
        assert await scene.paid() == ["other"]


async def test_what_an_earlier_handler_left_behind_publishes_nothing_in_the_name_of_the_next(
    broker: Broker, tmp_path: Path
) -> None:
    scene = Scene(broker, tmp_path)
    left: list[asyncio.Task[Any]] = []
    next_runs = asyncio.Event()

    @scene.bus.on(SEATED)
    async def first(event: OnPlayerSeatedDown, message: Message) -> None:
        async def pay_later() -> None:
            await next_runs.wait()
            await scene.pay(message, "left behind")

        left.append(asyncio.create_task(pay_later()))

    @scene.bus.on(SEATED)
    async def second(event: OnPlayerSeatedDown, message: Message) -> None:
        next_runs.set()
        await asyncio.wait(left)
        await scene.pay(message)

    await scene.deal(0)
    async with scene.bus, scene.bus.serving():
        await until(lambda: scene.bus.stats["deals"].handled == 1)
        await scene.over()
        with pytest.raises(Closed, match="await what it publishes"):
            await left[0]
        assert await scene.paid() == ["deal-0-paid"]


async def test_a_thread_that_took_too_long_publishes_nothing_in_the_name_of_the_next_attempt(
    broker: Broker, tmp_path: Path
) -> None:
    """No thread can be stopped, and it has the context of its attempt for ever."""
    scene = Scene(broker, tmp_path, retry={"attempts": 20, "first": 0.01, "cap": 0.02})
    loop = asyncio.get_running_loop()
    again, late = threading.Event(), threading.Event()
    errors: list[BaseException] = []
    calls = itertools.count()

    def pay(message: Message, what: str) -> None:
        asyncio.run_coroutine_threadsafe(scene.pay(message, what), loop).result(60)

    @scene.bus.on(SEATED, timeout=1.0)
    def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        if next(calls):
            again.set()
            assert late.wait(60)
            pay(message, "paid")
            return
        assert again.wait(60)
        try:
            pay(message, "late")
        except Closed as error:
            errors.append(error)
        finally:
            late.set()

    await scene.deal(0)
    async with scene.bus, scene.bus.serving():
        await until(lambda: scene.bus.stats["deals"].handled == 1, seconds=60)
        await scene.over()
        assert await scene.paid() == ["deal-0-paid"]
    assert len(errors) == 1


async def test_what_a_hook_publishes_about_a_failure_is_no_part_of_the_transaction(
    broker: Broker, tmp_path: Path
) -> None:
    scene = Scene(broker, tmp_path)
    alerts: list[asyncio.Task[Any]] = []

    def alert(notice: Notice) -> None:
        if notice.kind == "failed":
            alerts.append(asyncio.create_task(scene.bus.publish(PAID, {"playerId": 1}, to="paid", id="alert")))

    scene.bus.add_hook(alert)

    @scene.bus.on(SEATED)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        await scene.pay(message)
        raise (RuntimeError("again") if message.attempt == 1 else Reject("never"))

    await scene.deal(0)
    async with scene.bus, scene.bus.serving():
        await until(lambda: scene.bus.stats["deals"].dead_lettered == 1)
        await asyncio.gather(*alerts)
        assert await scene.paid() == ["alert"]
