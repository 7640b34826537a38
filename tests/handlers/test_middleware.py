"""Middleware around handlers and publishes, decorators, and filters."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import BaseModel

from brokerkit import Bus, ConfigError, Handlers, InvalidMessage, Message, Receipt, Reject, RetryPolicy
from brokerkit.testing import TestBus
from brokerkit.types import Attempt, Headers, Publication

LOG: list[Any] = []


class Wager(BaseModel):
    player: int


class Win(BaseModel):
    player: int


@pytest.fixture(autouse=True)
def empty_log() -> None:
    LOG.clear()


def memory(**settings: Any) -> Bus:
    return Bus("memory://", topic=uuid.uuid4().hex, group="g", retry=RetryPolicy(attempts=2, first=0.01), **settings)


def noting(name: str) -> Callable[[Attempt, Callable[[], Awaitable[None]]], Awaitable[None]]:
    async def note(attempt: Attempt, proceed: Callable[[], Awaitable[None]]) -> None:
        LOG.append(f"{name} in")
        try:
            await proceed()
        finally:
            LOG.append(f"{name} out")

    return note


async def test_middleware_of_bus_source_and_set_runs_from_the_outside_in() -> None:
    bus, handlers = memory(), Handlers()

    @handlers.on(Wager)
    async def handle(event: Wager) -> None:
        LOG.append("handler")

    handlers.add_middleware(noting("set"))
    bus.add_middleware(noting("bus"))
    bus.add_middleware(noting("source"), source="bus")
    bus.add_middleware(noting("other"), source="nothing")
    bus.include(handlers)

    @bus.on(Win)
    async def win(event: Win) -> None:
        LOG.append("win")

    async with TestBus(bus) as test:
        await test.deliver(Wager(player=1))
        await test.settled()
        assert LOG == ["bus in", "source in", "set in", "handler", "set out", "source out", "bus out"]
        LOG.clear()
        await test.deliver(Win(player=1))
        await test.settled()
        assert LOG == ["bus in", "source in", "win", "source out", "bus out"]


async def test_middleware_sees_and_changes_event_and_outcome_of_each_attempt() -> None:
    bus = memory()

    async def change(attempt: Attempt, proceed: Callable[[], Awaitable[None]]) -> None:
        attempt.event = Wager(player=attempt.event.player + 1)
        try:
            await proceed()
        except ValueError as error:
            LOG.append((attempt.message.attempt, attempt.handler.rpartition(".")[2], str(error)))
            raise

    bus.add_middleware(change)

    @bus.on(Wager)
    async def handle(event: Wager, message: Message) -> None:
        LOG.append(event.player)
        if message.attempt == 1:
            raise ValueError("once")

    async with TestBus(bus) as test:
        await test.deliver(Wager(player=1))
        await test.settled()
        test.assert_no_dead_letters()
    assert LOG == [2, (1, "handle", "once"), 2]


async def test_middleware_can_skip_and_reject() -> None:
    bus = memory()

    async def guard(attempt: Attempt, proceed: Callable[[], Awaitable[None]]) -> None:
        if attempt.event.player == 0:
            return
        if attempt.event.player < 0:
            raise Reject("no such player")
        await proceed()

    bus.add_middleware(guard)

    @bus.on(Wager)
    def handle(event: Wager) -> None:
        LOG.append(event.player)

    async with TestBus(bus) as test:
        for player in (0, -1, 1):
            await test.deliver(Wager(player=player))
        await test.settled()
        assert test.assert_dead_lettered("Wager", times=1).error == "no such player"
    assert LOG == [1]


async def test_middleware_around_a_publish_sees_and_changes_it_and_its_receipt() -> None:
    bus = memory()

    async def tenant(one: Publication, proceed: Callable[[], Awaitable[Receipt]]) -> Receipt:
        one.headers = {**(one.headers or {}), "tenant": "acme"}
        receipt = await proceed()
        LOG.append((one.target, receipt.id))
        return receipt

    bus.add_publish_middleware(tenant)
    async with TestBus(bus) as test:
        receipt = await bus.publish(Wager(player=1), id="1")
        assert (receipt.id, LOG) == ("1", [("bus", "1")])
        assert test.published[0].headers["tenant"] == "acme"


async def test_many_go_out_in_order_whatever_their_middleware_waits_for() -> None:
    bus, last_may_go = memory(), asyncio.Event()

    async def slow(one: Publication, proceed: Callable[[], Awaitable[Receipt]]) -> Receipt:
        if one.what.player == 0:
            await last_may_go.wait()
        if one.what.player == 3:
            last_may_go.set()
            raise InvalidMessage("not this one")
        return await proceed()

    bus.add_publish_middleware(slow)
    async with TestBus(bus, virtual=False) as test:
        results = await bus.publish_many([Wager(player=player) for player in range(5)], key="k")
        assert [type(one).__name__ for one in results] == ["Receipt"] * 3 + ["InvalidMessage", "Receipt"]
        assert [one.event.player for one in test.published] == [0, 1, 2, 4]


def test_what_is_no_middleware_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must be an async function of \(attempt, proceed\)"):
        memory().add_middleware(lambda attempt, proceed: proceed())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"must be an async function of \(publication, proceed\)"):
        memory().add_publish_middleware(print)  # type: ignore[arg-type]


# ---- decorators ------------------------------------------------------------------------------------------------------


def with_open_arguments(function: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> None:
        await function(*args, db="db", **kwargs)

    return run


def with_named_arguments(function: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(function)
    async def run(event: Any, message: Message) -> None:
        await function(event, message, "db")

    return run


async def test_a_decorator_may_add_an_argument() -> None:
    bus = memory()

    @bus.on(Wager)
    @with_open_arguments
    async def one(event: Wager, db: str) -> None:
        LOG.append(("one", db))

    @bus.on(Wager)
    @with_named_arguments
    async def two(event: Wager, message: Message, db: str) -> None:
        LOG.append(("two", message.name, db))

    @bus.on(Wager)
    @with_open_arguments
    async def three(event: Wager, message: Message, db: str) -> None:
        LOG.append(("three", message.name, db))

    async with TestBus(bus) as test:
        await test.deliver(Wager(player=1))
        await test.settled()
    assert LOG == [("one", "db"), ("two", "Wager", "db"), ("three", "Wager", "db")]


# ---- filters ---------------------------------------------------------------------------------------------------------


async def test_a_handler_gets_only_the_messages_that_it_wants() -> None:
    bus = memory()

    @bus.on(Wager, where="field:player", equals="5")
    async def five(event: Wager) -> None:
        LOG.append(("five", event.player))

    @bus.on(Wager, where=lambda headers: headers.get("brand") == "acme")
    async def acme(event: Wager) -> None:
        LOG.append(("acme", event.player))

    async with TestBus(bus) as test:
        await test.deliver(Wager(player=5), headers={"brand": "acme"})
        await test.deliver(Wager(player=6), headers={"brand": "acme"})
        await test.deliver(Wager(player=5))
        await test.deliver(Wager(player=7))
        await test.deliver(Message("Wager", b'{"player": "not read"}'))
        await test.settled()
        test.assert_no_dead_letters()
        assert bus.stats["bus"].skipped == 2
    assert LOG == [("five", 5), ("acme", 5), ("acme", 6), ("five", 5)]


async def test_a_filter_that_fails_leaves_the_decision_to_the_handler(caplog: pytest.LogCaptureFixture) -> None:
    bus = memory()

    def broken(headers: Headers) -> bool:
        raise KeyError("brand")

    @bus.on(Wager, where=broken)
    async def handle(event: Wager) -> None:
        LOG.append(event.player)

    async with TestBus(bus) as test:
        await test.deliver(Wager(player=5))
        await test.settled()
    assert LOG == [5]
    assert "a filter failed on Wager" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"where": "field:brand"}, "needs equals"),
        ({"equals": "x"}, "equals needs where"),
        ({"where": "brand", "equals": "x"}, "is not a rule"),
        ({"where": len, "equals": "x"}, "decides alone"),
        ({"where": 5}, "a rule or a function of the headers, not a int"),
    ],
)
def test_a_filter_that_says_nothing_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Handlers().on(Wager, **settings)
