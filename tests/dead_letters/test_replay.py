"""Dead letters handled again, looked at and purged, on every broker: none is lost, and nobody else gets one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from brokerkit import Bus, DeadLetter, Handlers, Message, RetryPolicy
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.every_broker import Broker, Recorder, until

NAME: Final = "OnPlayerSeatedDown"
OTHER: Final = "OnUserLoggedIn"
ONCE: Final[dict[str, Any]] = {"retry": RetryPolicy(attempts=1)}
HEADERS: Final = {"trace": "é", "binary": b"\xff\x00"}


def seated(number: int, **given: Any) -> Message:
    return Message(NAME, json.dumps({"playerId": number}).encode(), **given)


def place(broker: Broker, folder: Path) -> dict[str, Any]:
    """Where there is no queue for dead letters they go to a file."""
    return {"dead_letter": f"file://{folder}/dead.jsonl"} if broker.at_most_once else {}


def failing(error: Exception | None = None) -> Handlers:
    handlers = Handlers()

    async def fail(event: OnPlayerSeatedDown | None) -> None:
        raise error or RuntimeError("broken")

    async def fail_too(event: Any) -> None:
        raise error or RuntimeError("broken")

    handlers._on(NAME)(fail)
    handlers._on(OTHER)(fail_too)
    return handlers


@asynccontextmanager
async def serving(bus: Bus, handlers: Handlers) -> AsyncGenerator[Bus]:
    bus.include(handlers)
    async with bus, bus.serving():
        yield bus


async def dead_letter(bus: Bus, *messages: Message, error: Exception | None = None) -> None:
    """Let all messages fail, and wait until they are stored."""
    async with asyncio.timeout(60), serving(bus, failing(error)):
        for message in messages:
            await bus.publish(message)
        await until(lambda: bus.stats["bus"].dead_lettered == len(messages), seconds=30)


async def listed(bus: Bus, **selected: Any) -> list[DeadLetter]:
    return [letter async for letter in bus.dead_letters().browse(**selected)]


async def test_a_replay_brings_a_first_attempt_with_its_history_and_what_fails_again_is_a_second_letter(
    broker: Broker, tmp_path: Path
) -> None:
    settings = {**ONCE, **place(broker, tmp_path)}
    message = seated(1, key="k", headers=HEADERS, id="id-1")
    await dead_letter(broker.bus(**settings), message, error=RuntimeError("first"))
    async with asyncio.timeout(60), serving(broker.bus(**settings), failing(KeyError("second"))) as bus:
        # Within five minutes: SQS FIFO drops an id that it knows.
        assert await bus.dead_letters().replay() == 1
        await until(lambda: bus.stats["bus"].dead_lettered == 1)
    async with asyncio.timeout(60), broker.bus(**settings) as bus:
        [letter] = await listed(bus)
        assert (letter.error_type, letter.attempts, letter.topic) == ("KeyError", 1, broker.topic())
        assert letter.group == "wallet"
        assert (letter.message.id, letter.message.key, letter.message.body) == ("id-1", "k", message.body)
        assert letter.message.headers.items() >= HEADERS.items()
        assert letter.first_failure is not None
        assert letter.last_failure is not None
    recorder = Recorder().record(NAME)
    async with asyncio.timeout(60), recorder.serving(broker.bus(**settings)) as bus:
        assert await bus.dead_letters().replay() == 1
        [(_, event, got)] = await recorder.wait_for(1)
        await until(lambda: bus.stats["bus"].handled == 1)
    assert (event.player_id, got.attempt, got.id, got.key) == (1, 1, "id-1", "k")
    assert got.headers.items() >= HEADERS.items()
    assert got.body == message.body


async def test_what_the_filter_leaves_stays_and_is_purged_by_another(broker: Broker, tmp_path: Path) -> None:
    if broker.name == "sns":
        return  # slow, and its letters are in a queue of SQS
    settings = {**ONCE, **place(broker, tmp_path)}
    messages = [seated(number, key=f"k{number % 2}") for number in range(4)]
    messages += [Message(OTHER, b'{"playerId": %d}' % number, key=f"k{number % 2}") for number in range(4, 7)]
    await dead_letter(broker.bus(**settings), *messages)
    async with asyncio.timeout(60), broker.bus(**settings) as bus:
        assert await bus.dead_letters().purge(events=OTHER, limit=2, since=1.0) == 2
        left = await listed(bus)
        assert sorted(letter.message.name for letter in left) == [NAME] * 4 + [OTHER]
    recorder = Recorder().record()
    async with asyncio.timeout(60), recorder.serving(broker.bus(**settings)) as bus:
        assert await bus.dead_letters().replay(events=NAME) == 4
        await recorder.wait_for(4)
        assert sorted(event.player_id for _, event, _ in recorder.got) == [0, 1, 2, 3]
        [letter] = await listed(bus)
        assert letter.message.name == OTHER


async def test_only_the_group_that_failed_gets_a_replay(broker: Broker, tmp_path: Path) -> None:
    if broker.one_group:
        return
    settings = {**ONCE, **place(broker, tmp_path)}
    recorder = Recorder().record(NAME)
    async with asyncio.timeout(60), recorder.serving(broker.bus(group="bonus", **settings)) as others:
        await dead_letter(broker.bus(**settings), seated(1))
        await recorder.wait_for(1)
        again = Recorder().record(NAME)
        async with again.serving(broker.bus(**settings)) as bus:
            assert await bus.dead_letters().replay() == 1
            await again.wait_for(1)
            await others.publish(seated(2))
            await recorder.wait_for(2)
    assert [event.player_id for _, event, _ in recorder.got] == [1, 2]
