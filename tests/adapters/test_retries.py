"""Retries on every real broker: long waits in steps, and the end of a message that kills its process."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from dataclasses import replace
from typing import Any, Final

import pytest
from tests.adapters.crashing import KILLED
from tests.every_broker import Broker, until

import brokerkit.adapters
from brokerkit import Message, Retry, RetryPolicy
from brokerkit._message import text
from brokerkit._transport import Adapter, Capabilities, Connection
from brokerkit.events.evenbet import OnPlayerSeatedDown

NAME: Final = "OnPlayerSeatedDown"


@pytest.fixture
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brokers that keep a message for a second at most: nobody can wait for the end of twelve hours."""
    make = brokerkit.adapters.make

    def made(connection: Connection) -> Adapter:
        adapter = make(connection)
        capabilities = adapter.capabilities

        def shorter(topic: str = "") -> Capabilities:
            promised = capabilities(topic)
            return replace(promised, durable_retry=min(promised.durable_retry, 1.0))

        monkeypatch.setattr(adapter, "capabilities", shorter)
        return adapter

    monkeypatch.setattr(brokerkit.adapters, "make", made)


@pytest.mark.usefixtures("short_steps")
async def test_a_wait_beyond_what_the_broker_keeps_is_done_in_steps_and_never_shortened(broker: Broker) -> None:
    at, attempts = list[float](), list[int]()
    bus = broker.bus(hold=0.0, retry=RetryPolicy(attempts=3, first=0.5, cap=0.5))

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        at.append(asyncio.get_running_loop().time())
        attempts.append(message.attempt)
        if len(at) == 1:
            raise Retry(after=3.5)

    async with asyncio.timeout(60), bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1), key="k")
        await until(lambda: bus.stats["bus"].handled == 1, seconds=50)
        assert bus.stats["bus"].failed == 1
        if bus.stats["bus"].received > 1:
            assert bus.stats["bus"].received > 2  # more steps than one
    assert at[1] - at[0] >= 3.4
    assert attempts[0] == 1
    assert attempts[1] >= 2


@pytest.mark.parametrize("broker", ["rabbitmq", "sqs", "sqs-fifo", "sns", "redis-streams"], indirect=True)
async def test_a_message_that_kills_its_process_is_a_dead_letter_after_max_deliveries(broker: Broker) -> None:
    settings: dict[str, Any] = {
        "topic": broker.topic(),
        "group": "wallet",
        "provision": "all",
        "format": "evenbet",
        "lease": 2.0,
        "max_deliveries": 3,
        **broker.settings,
    }
    async with asyncio.timeout(110):
        bus = broker.bus()
        bus.on(NAME)(_nothing)
        async with bus:
            async with bus.serving():
                pass  # so that the group is there before the message
            await bus.publish(OnPlayerSeatedDown(player_id=1), key="k", id="the-killer")
        codes = list[int]()
        while 0 not in codes:
            worker = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.adapters.crashing", json.dumps(settings), stderr=asyncio.subprocess.PIPE
            )
            _, errors = await worker.communicate()
            codes.append(worker.returncode or 0)
            assert codes[-1] in (0, KILLED), errors.decode()
        # A process that dies in the middle of a poll leaves that poll behind: SQS hands it the message, and counts.
        unseen = broker.name.startswith("sqs") or broker.name == "sns"
        assert 1 <= codes.count(KILLED) <= 3 if unseen else codes.count(KILLED) == 3
        [letter] = await broker.dead_letters(1)
        assert re.fullmatch("delivered [4-9] times without an end", str(text(letter.headers["bk-error"])))


async def _nothing(event: OnPlayerSeatedDown) -> None:
    raise AssertionError("nothing was published yet")
