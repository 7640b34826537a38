"""Retries on every real broker: long waits in steps, and the end of a message that kills its process."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import pytest
from tests.every_broker import Broker, until

import brokerkit.adapters
from brokerkit import Message, Retry, RetryPolicy
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
