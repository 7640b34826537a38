"""Shutdown while a broker is away, and while it hangs: its process is stopped in the middle of everything."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, nullcontext
from typing import Final

import pytest
from tests.brokers._server import Server
from tests.every_broker import Broker

from brokerkit import BrokerkitError, Receipt
from brokerkit.events.evenbet import OnPlayerSeatedDown

NAME: Final = "OnPlayerSeatedDown"
STOP_TIMEOUT: Final = 3.0
GRACE: Final = 15.0
"""Seconds beyond `STOP_TIMEOUT` that the documentation promises."""

FIXTURES: Final = {
    "kafka": "kafka_broker",
    "rabbitmq": "rabbit_broker",
    "sqs": "sqs_broker",
    "sqs-fifo": "sqs_broker",
    "sns": "sns_broker",
    "redis-streams": "redis_broker",
    "redis-pubsub": "redis_broker",
    "redis-list": "redis_broker",
}


@pytest.fixture
def server(broker: Broker, request: pytest.FixtureRequest) -> Server | None:
    return request.getfixturevalue(FIXTURES[broker.name]).server if broker.name in FIXTURES else None


async def test_a_bus_stops_in_time_while_its_broker_hangs(broker: Broker, server: Server | None) -> None:
    running = asyncio.Event()
    bus = broker.bus(stop_timeout=STOP_TIMEOUT)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        running.set()
        await asyncio.sleep(3600)

    async with asyncio.timeout(110), AsyncExitStack() as stack:
        await stack.enter_async_context(bus)
        await stack.enter_async_context(bus.serving())
        await bus.publish(OnPlayerSeatedDown(player_id=1))
        await asyncio.wait_for(running.wait(), 30)
        with server.frozen() if server else nullcontext():
            publishing = asyncio.create_task(bus.publish(OnPlayerSeatedDown(player_id=2)))
            await asyncio.sleep(0)
            begun = time.monotonic()
            await stack.aclose()
            took = time.monotonic() - begun
            done, _ = await asyncio.wait([publishing], timeout=1)
        assert took < STOP_TIMEOUT + GRACE
        assert done, "whoever publishes is told when the bus closes"
        [result] = await asyncio.gather(publishing, return_exceptions=True)
        assert isinstance(result, BrokerkitError if server else Receipt)
