"""Retries on every real broker: long waits in steps."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest
from tests.every_broker import Broker, until

import brokerkit.adapters
from brokerkit import Message, Retry, RetryPolicy
from brokerkit.adapters.api import (
    Adapter,
    Capabilities,
    Connection,
    Delivery,
    Lost,
    Outcome,
    RetryLater,
    Settled,
    Source,
    Subscription,
)
from brokerkit.events.evenbet import OnPlayerSeatedDown

NAME: Final = "OnPlayerSeatedDown"


@pytest.fixture
def short_steps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Brokers that keep a message for a second at most: nobody can wait for the end of twelve hours.

    The list fills with the steps, in seconds, that brokers are asked to keep a message.
    """
    steps = list[float]()
    make = brokerkit.adapters.make

    def made(connection: Connection) -> Adapter:
        adapter = make(connection)
        capabilities = adapter.capabilities

        def shorter(topic: str = "") -> Capabilities:
            promised = capabilities(topic)
            return replace(promised, durable_retry=min(promised.durable_retry, 1.0))

        subscribe = adapter.subscribe

        def noted(subscription: Subscription, lost: Lost) -> Source:
            source = subscribe(subscription, lost)
            settle = source.settle

            async def note(pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
                steps.extend(outcome.after for _, outcome in pairs if isinstance(outcome, RetryLater))
                return await settle(pairs)

            monkeypatch.setattr(source, "settle", note)
            return source

        monkeypatch.setattr(adapter, "capabilities", shorter)
        monkeypatch.setattr(adapter, "subscribe", noted)
        return adapter

    monkeypatch.setattr(brokerkit.adapters, "make", made)
    return steps


async def test_a_wait_beyond_what_the_broker_keeps_is_done_in_steps_and_never_shortened(
    broker: Broker, short_steps: list[float]
) -> None:
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
    assert at[1] - at[0] >= 3.4
    assert attempts == [1, 2]
    # A step may take longer than was asked: the first one on Kafka makes the retry topic.
    assert all(step <= 1.0 for step in short_steps)
    assert len(short_steps) > 1 or at[1] - at[0] > 4.5 or not short_steps
