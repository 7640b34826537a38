"""Processes that die, on every real broker that counts deliveries: only the message that kills becomes a dead letter."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from tests.adapters.crashing import KILLED
from tests.conftest import FULL, SELDOM
from tests.every_broker import Broker, Recorder

from brokerkit import RetryPolicy
from brokerkit._messages._headers import as_text
from brokerkit.events.evenbet import OnPlayerSeatedDown

NAME: Final = "OnPlayerSeatedDown"
COUNTING: Final = [*(SELDOM if FULL else ()), "rabbitmq", "sqs", "sqs-fifo", "sns", "redis-streams"]
OTHERS: Final = 20
KILLER: Final = 7

pytestmark = [pytest.mark.parametrize("broker", COUNTING, indirect=True), pytest.mark.timeout(300)]


async def publish(broker: Broker, *, keys: int) -> None:
    """The killer among the others, with so many keys; the group is there before them."""
    bus = broker.bus()
    bus.on(NAME)(_nothing)
    async with bus:
        async with bus.serving():
            pass
        for number in range(OTHERS + 1):
            await bus.publish(OnPlayerSeatedDown(player_id=number), key=f"k{number % keys}", id=f"message-{number}")


def settings(broker: Broker, **more: Any) -> dict[str, Any]:
    usual = {"topic": broker.topic(), "group": "wallet", "provision": "all", "format": "evenbet", "lease": 1.0}
    return {**usual, **broker.settings, **more}


async def run(program: str, given: dict[str, Any]) -> int:
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"tests.adapters.{program}", json.dumps(given), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await worker.communicate()
    assert worker.returncode in (0, KILLED), errors.decode()
    return worker.returncode


async def test_only_the_message_that_kills_its_process_is_a_dead_letter(broker: Broker, tmp_path: Path) -> None:
    log = tmp_path / "log"
    given = settings(broker, retry={"attempts": 1}, log=str(log), killers=[KILLER], messages=OTHERS + 1)
    async with asyncio.timeout(150):
        await publish(broker, keys=4)
        kills = 0
        while await run("crashing", given) == KILLED:
            kills += 1
    lines = log.read_text().splitlines()
    assert {line for line in lines if line.startswith("letter")} == {f"letter message-{KILLER}"}
    assert {line for line in lines if line.startswith("done")} == {
        f"done {number}" for number in range(OTHERS + 1) if number != KILLER
    }
    assert {line.partition("attempt ")[2] for line in lines if line.startswith("begun")} == {"1"}
    # Five times with others, for attempts = 1; then three times alone. A poll that died hands SQS's messages to nobody.
    assert 3 <= kills <= 9
    [letter] = await broker.dead_letters(1)
    assert as_text(letter.headers["bk-origin"]) == f"message-{KILLER}"
    assert "started 3 times while nothing else of its source ran" in str(as_text(letter.headers["bk-error"]))


async def test_processes_that_die_before_any_handler_begins_make_no_dead_letter(broker: Broker) -> None:
    # With attempts = 1 more than five deliveries are too many. On AWS each death costs a visibility of a second.
    aws = broker.name.startswith("s")
    deaths, lease = (8, 1.0) if aws else (30, 0.5)
    recorder = Recorder().record(NAME)
    async with asyncio.timeout(150):
        await publish(broker, keys=OTHERS + 1)
        assert await run("receiving", settings(broker, kills=deaths, messages=OTHERS + 1, lease=lease)) == 0
        bus = broker.bus(retry=RetryPolicy(attempts=1), lease=1.0)
        bus.handlers.include(recorder.handlers)
        async with bus, bus.serving():
            got = await recorder.wait_for(OTHERS + 1)
            assert bus.stats["bus"].dead_lettered == 0
    assert {event.player_id for _, event, _ in got} == set(range(OTHERS + 1))
    assert {message.attempt for _, _, message in got} == {1}


async def _nothing(event: OnPlayerSeatedDown) -> None:
    raise AssertionError("nothing was published yet")
