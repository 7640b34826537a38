"""`publish_timeout` is kept whatever the broker does: frozen processes, alarms, listeners that never answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

import pytest

from brokerkit import Bus, ConnectionLost, Message
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests import every_aws, every_broker, every_redis
from tests.brokers import aws, kafka, rabbitmq, redis
from tests.brokers._server import LocalServer
from tests.brokers.fixtures import running

TIMEOUT: Final = 1.5
GRACE: Final = 1.0
"""Seconds that the docs allow beyond the timeout."""
LOAD: Final = 8.0
"""Seconds that a busy machine may take in addition; a client's own patience is more than twice that."""

OWN: dict[str, tuple[Callable[[], Any], Callable[[Any], every_broker.Broker]]] = {
    "kafka": (kafka.broker, every_broker.kafka),
    "rabbitmq": (rabbitmq.broker, every_broker.rabbitmq),
    "redis-streams": (redis.broker, every_redis.redis_streams),
    "redis-list": (redis.broker, every_redis.redis_list),
    "redis-pubsub": (redis.broker, every_redis.redis_pubsub),
    "sqs": (aws.sqs, lambda broker: every_aws.sqs(broker, fifo=False)),
    "sns": (aws.sns, every_aws.sns),
}


@dataclass(frozen=True)
class Freezing:
    """A broker of the test's own."""

    broker: every_broker.Broker
    server: LocalServer


@pytest.fixture(params=list(OWN))
def freezing(request: pytest.FixtureRequest, aws_environment: None) -> Iterator[Freezing]:
    make, view = OWN[request.param]
    with running(make()) as own:
        if not isinstance(own.server, LocalServer):
            pytest.fail(f"{own.server!r} is not ours to freeze: unset the variable that names it")
        yield Freezing(view(own), own.server)


class Clock:
    """Takes the time of a block."""

    seconds: float

    def __enter__(self) -> Self:
        self._begun = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._begun


async def failed(publishing: asyncio.Task[Any]) -> None:
    with pytest.raises(ConnectionLost):
        await publishing


async def publish(bus: Bus, number: int) -> None:
    """Publish to a broker that answers, though a busy machine may not let it do so within the timeout."""
    async with asyncio.timeout(60):
        while True:
            try:
                await bus.publish(seated(number), key="k")
            except ConnectionLost:
                continue
            return


def seated(number: int) -> OnPlayerSeatedDown:
    return OnPlayerSeatedDown(player_id=number)


async def test_on_a_frozen_broker_every_publish_ends_in_time_and_so_does_the_close(freezing: Freezing) -> None:
    bus = freezing.broker.bus(publish_timeout=TIMEOUT, stop_timeout=2.0)
    bus.on("*")(_nothing)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(bus)
        async with bus.serving():  # its group, without which RabbitMQ has nowhere to put a message
            await publish(bus, 1)
        with freezing.server.frozen():
            with Clock() as clock:
                first = asyncio.create_task(bus.publish(seated(2), key="k"))
                await asyncio.sleep(0.2)
                # Behind one that is stuck.
                behind = asyncio.create_task(bus.publish_many([seated(3), seated(4)]))
                await failed(first)
                results = await behind
            assert clock.seconds < 0.2 + TIMEOUT + GRACE + LOAD
            assert [type(result) for result in results] == [ConnectionLost, ConnectionLost]
            [target] = (await bus.health()).targets.values()
            assert (target.state, bool(target.error)) == ("reconnecting", True)
            with Clock() as clock:
                await failed(asyncio.create_task(bus.publish(seated(5))))
            assert clock.seconds < TIMEOUT + GRACE + LOAD
        await publish(bus, 6)
        [target] = (await bus.health()).targets.values()
        assert target.state == "open"
        with freezing.server.frozen():
            stuck = asyncio.create_task(bus.publish(seated(7)))
            await asyncio.sleep(0.1)
            with Clock() as clock:
                await stack.aclose()
            await failed(stuck)
            assert clock.seconds < 2.0 + 15.0


async def _nothing(_event: object) -> None: ...


@pytest.fixture
def full_rabbit() -> Iterator[every_broker.Broker]:
    """A RabbitMQ whose disk is too small from the start: it reads nothing more from who publishes."""
    with running(rabbitmq.broker(more="disk_free_limit.absolute = 100000000000000000\n")) as own:
        if not isinstance(own.server, LocalServer):
            pytest.fail(f"{own.server!r} is not ours: unset {rabbitmq.VARIABLE}")
        yield every_broker.rabbitmq(own)


async def test_rabbitmqs_alarm_is_told_within_the_timeout(full_rabbit: every_broker.Broker) -> None:
    bus = full_rabbit.bus(publish_timeout=TIMEOUT, stop_timeout=2.0)
    bus.on("*")(_nothing)
    async with bus, bus.serving():
        for _ in range(2):
            with Clock() as clock, pytest.raises(ConnectionLost, match="publish_timeout|no answer"):
                await bus.publish(seated(1))
            assert clock.seconds < TIMEOUT + GRACE + LOAD
        health = await bus.health()
        assert not health.ready
        # Only who publishes is blocked.
        assert [source.state for source in health.sources.values()] == ["consuming"]


@pytest.fixture
async def silent() -> AsyncIterator[int]:
    """A port that takes every connection, and never says a word."""
    writers: list[asyncio.StreamWriter] = []

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in writers:
        writer.transport.abort()


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("amqp://127.0.0.1:{port}", {}),
        ("kafka://127.0.0.1:{port}", {}),
        ("redis://127.0.0.1:{port}", {}),
        ("redis+list://127.0.0.1:{port}", {}),
        ("redis+pubsub://127.0.0.1:{port}", {}),
        ("sqs://KEY:secret@eu-west-1/", {"endpoint": "http://127.0.0.1:{port}"}),
        ("sns://KEY:secret@eu-west-1/", {"endpoint": "http://127.0.0.1:{port}"}),
    ],
)
async def test_a_bus_does_not_open_at_a_port_that_says_nothing(silent: int, url: str, settings: dict[str, str]) -> None:
    more: dict[str, Any] = {name: value.format(port=silent) for name, value in settings.items()}
    bus = Bus(url.format(port=silent), topic="t", format="evenbet", connect_timeout=TIMEOUT, **more)
    with Clock() as clock, pytest.raises(ConnectionLost):
        async with bus:
            pass
    assert clock.seconds < TIMEOUT + GRACE + LOAD


async def test_many_messages_on_a_frozen_broker_take_no_longer_than_one() -> None:
    with running(redis.broker()) as own:
        assert isinstance(own.server, LocalServer)
        bus = every_redis.redis_streams(own).bus(publish_timeout=TIMEOUT, stop_timeout=2.0)
        async with bus:
            batch = [Message("OnPlayerSeatedDown", b"{}") for _ in range(12_000)]
            await publish(bus, 1)
            with own.server.frozen(), Clock() as clock:
                results = await bus.publish_many(batch)
        assert all(isinstance(result, ConnectionLost) for result in results)
        assert len(results) == len(batch)
        assert clock.seconds < TIMEOUT + GRACE + LOAD
