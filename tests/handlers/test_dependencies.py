"""Dependencies of handlers: filled, shared as long as they say, closed before the message is acknowledged."""

from __future__ import annotations

import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from brokerkit import Bus, ConfigError, Handlers, Message, RetryPolicy
from brokerkit.dependencies import Depends, override
from brokerkit.testing import TestBus


class Bet(BaseModel):
    player: int


class Log(list[str]):
    """What happened, in order."""


LOG = Log()


@pytest.fixture(autouse=True)
def empty_log() -> None:
    LOG.clear()


def memory(**settings: Any) -> Bus:
    retry = RetryPolicy(attempts=2, first=0.01, cap=0.01)
    return Bus("memory://", topic=uuid.uuid4().hex, group="g", retry=retry, **settings)


async def tenant(message: Message) -> str:
    return str(message.headers.get("tenant", "none"))


def limit() -> int:
    LOG.append(f"limit in {threading.current_thread() is not threading.main_thread()}")
    return 10


async def session(tenant: Annotated[str, Depends(tenant)]) -> AsyncIterator[str]:
    LOG.append(f"open {tenant}")
    try:
        yield f"session of {tenant}"
    except BaseException as error:
        LOG.append(f"roll back after {type(error).__name__}")
        raise
    LOG.append("commit")


def plain_session() -> Iterator[str]:
    LOG.append("open")
    yield "plain"
    LOG.append("close")


async def test_a_handler_gets_its_event_its_message_and_its_dependencies() -> None:
    bus = memory()

    @bus.on(Bet)
    async def handle(
        event: Bet,
        message: Message,
        db: Annotated[str, Depends(session)],
        most: int = Depends(limit),
        *,
        who: Annotated[str, Depends(tenant)],
    ) -> None:
        LOG.append(f"{event.player} {message.name} {db} {most} {who}")

    async with TestBus(bus) as test:
        await test.deliver(Bet(player=5), headers={"tenant": "acme"})
        await test.settled()
    assert LOG == ["open acme", "limit in True", "5 Bet session of acme 10 acme", "commit"]


async def test_a_plain_handler_runs_in_a_thread_with_async_dependencies_and_plain_generators() -> None:
    bus = memory()

    @bus.on(Bet)
    def handle(event: Bet, db: Annotated[str, Depends(session)], other: Annotated[str, Depends(plain_session)]) -> None:
        LOG.append(f"{db} {other} {threading.current_thread() is threading.main_thread()}")

    async with TestBus(bus) as test:
        await test.deliver(Bet(player=5))
        await test.settled()
    assert LOG == ["open none", "open", "session of none plain False", "close", "commit"]


async def test_a_generator_sees_the_handlers_error_and_cannot_hide_it() -> None:
    async def hiding() -> AsyncIterator[int]:
        try:
            yield 1
        except ValueError:
            LOG.append("hidden")

    bus = memory()

    @bus.on(Bet)
    async def handle(event: Bet, db: Annotated[str, Depends(session)], one: Annotated[int, Depends(hiding)]) -> None:
        raise ValueError("no funds")

    async with TestBus(bus) as test:
        await test.deliver(Bet(player=5))
        await test.settled()
        letter = test.assert_dead_lettered("Bet")
    assert letter.error == "no funds"
    assert LOG.count("hidden") == 2


async def test_what_fails_after_the_yield_is_a_failure_of_the_handler() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise OSError("commit failed")

    bus = memory()

    @bus.on(Bet)
    async def handle(event: Bet, one: Annotated[int, Depends(broken)]) -> None:
        LOG.append("ran")

    async with TestBus(bus) as test:
        await test.deliver(Bet(player=5))
        await test.settled()
        assert "commit failed" in test.assert_dead_lettered("Bet").error
    assert LOG == ["ran", "ran"]


async def test_handlers_of_a_message_share_what_has_its_scope_and_close_it_together() -> None:
    bus = memory()

    @bus.on(Bet)
    async def first(event: Bet, db: Annotated[str, Depends(session, scope="message")]) -> None:
        LOG.append(f"first {db}")

    @bus.on(Bet)
    async def second(event: Bet, db: Annotated[str, Depends(session, scope="message")]) -> None:
        LOG.append(f"second {db}")

    async with TestBus(bus) as test:
        await test.deliver(Bet(player=5), headers={"tenant": "acme"})
        await test.settled()
    assert LOG == ["open acme", "first session of acme", "second session of acme", "commit"]


async def test_handlers_of_a_message_run_again_if_what_they_share_cannot_be_closed() -> None:
    fails = [OSError("commit failed")]

    async def unit() -> AsyncIterator[str]:
        yield "unit"
        if fails:
            raise fails.pop()
        LOG.append("committed")

    bus = memory()

    @bus.on(Bet)
    async def first(event: Bet, db: Annotated[str, Depends(unit, scope="message")]) -> None:
        LOG.append("first")

    @bus.on(Bet)
    async def second(event: Bet, db: Annotated[str, Depends(unit, scope="message")]) -> None:
        LOG.append("second")

    async with TestBus(bus) as test:
        await test.deliver(Bet(player=5))
        await test.settled()
        test.assert_no_dead_letters()
    assert LOG == ["first", "second", "first", "second", "committed"]


async def test_what_lives_as_long_as_the_bus_is_made_once_and_closed_at_the_end() -> None:
    async def pool() -> AsyncIterator[str]:
        LOG.append("connect")
        yield "pool"
        LOG.append("disconnect")

    bus = memory(concurrency=10)

    @bus.on(Bet)
    async def handle(event: Bet, connections: Annotated[str, Depends(pool, scope="bus")]) -> None:
        LOG.append(connections)

    async with TestBus(bus) as test:
        for player in range(20):
            await test.deliver(Bet(player=player), key=str(player))
        await test.settled()
    assert ["connect", *["pool"] * 20, "disconnect"] == LOG


async def test_a_dependency_is_replaced_in_a_test() -> None:
    bus = memory()

    @bus.on(Bet)
    async def handle(
        event: Bet, db: Annotated[str, Depends(session)], shared: Annotated[str, Depends(session, scope="message")]
    ) -> None:
        LOG.append(f"{db} {shared}")

    with override(session, lambda: "fake"):
        async with TestBus(bus) as test:
            await test.deliver(Bet(player=5))
            await test.settled()
    assert LOG == ["fake fake"]


async def test_a_handler_with_dependencies_runs_once_for_each_message_if_it_asks_for_that() -> None:
    bus = memory(dedupe="memory://")

    @bus.on(Bet)
    async def handle(event: Bet, db: Annotated[str, Depends(session)]) -> None:
        LOG.append(db)

    async with TestBus(bus) as test:
        await test.deliver(Bet(player=5), id="1", times=2)
        await test.settled()
    assert LOG == ["open none", "session of none", "commit"]


def test_what_nothing_fills_is_refused_when_the_handler_is_registered() -> None:
    def needs(request: str) -> str:
        return request

    handlers = Handlers()

    async def handle(event: Bet, one: Annotated[str, Depends(needs)]) -> None: ...

    with pytest.raises(ConfigError, match=r"handle: nothing fills the parameter 'request'"):
        handlers.on(Bet)(handle)

    async def other(event: Bet, one: Annotated[str, Depends(tenant)], more: str) -> None: ...

    with pytest.raises(ConfigError, match="other"):
        handlers.on(Bet)(other)


def test_what_outlives_a_message_cannot_take_it() -> None:
    with pytest.raises(ConfigError, match=r"tenant \(bus scope\): nothing fills the parameter 'message'"):
        Depends(tenant, scope="bus")
    with pytest.raises(ConfigError, match="scope must be"):
        Depends(tenant, scope="request")  # type: ignore[arg-type]
