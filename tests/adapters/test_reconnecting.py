"""A broker that goes and comes back, as health and hooks see it, with no message under way."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from tests.every_broker import Broker, until, until_async

from brokerkit import Notice
from brokerkit.events.evenbet import OnPlayerSeatedDown

NAME: Final = "OnPlayerSeatedDown"
# Those whose stand-in keeps its topics over a restart.
SERVERS: Final = {
    "kafka": "kafka_broker",
    "rabbitmq": "rabbit_broker",
    "redis-streams": "redis_broker",
    "redis-list": "redis_broker",
    "redis-pubsub": "redis_broker",
}


@pytest.mark.parametrize("broker", list(SERVERS), indirect=True)
async def test_an_idle_source_tells_that_its_broker_went_and_came_back(
    broker: Broker, request: pytest.FixtureRequest
) -> None:
    server: Any = request.getfixturevalue(SERVERS[broker.name]).server
    notices = list[Notice]()
    bus = broker.bus()
    bus.add_hook(notices.append)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        raise AssertionError("nothing is published")

    def told(kind: str) -> bool:
        return any(notice.kind == kind and notice.source == "bus" for notice in notices)

    async with asyncio.timeout(110), bus, bus.serving():
        assert (await bus.health()).ready
        await asyncio.to_thread(server.stop)
        try:
            await until(lambda: told("connection_lost"), seconds=40)
            health = await bus.health()
            assert (health.ready, health.sources["bus"].state) == (False, "reconnecting")
            assert health.sources["bus"].error
            assert health.sources["bus"].failures > 0
        finally:
            await asyncio.to_thread(server.start)
        await until(lambda: told("connection_back"), seconds=40)
        assert (await bus.health()).sources["bus"].failures == 0

        async def is_ready() -> bool:
            return (await bus.health()).ready

        await until_async(is_ready)
