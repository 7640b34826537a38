"""Workers killed, connections cut and the broker restarted while messages flow, on every broker that keeps messages."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from brokerkit.testing import Proxy
from tests.brokers._server import Server
from tests.chaos import COUNT, FULL, figures
from tests.chaos.chaos import COMMON, KEYS, Event, Workers, run
from tests.chaos.proxied import kafka_behind_proxy

COUNTS = {
    "kafka": 2_000,
    "kafka-share": 1_000,
    "rabbitmq": 1_000,
    "redis-streams": 1_000,
    "redis-list": 1_000,
    "sqs": 400,
    "sqs-fifo": 400,
    "sqlite": 1_000,
}
SHORT = {"kafka": True, "rabbitmq": False, "redis-streams": False, "redis-list": False, "sqs": False, "sqs-fifo": True}
SHORT["sqlite"] = True
"""What the short form runs, and whether strict. Share groups take a minute; tests/adapters/kafka/share has kills."""
RUNS = [(name, strict) for name in COUNTS for strict in (False, True) if FULL or SHORT.get(name) is strict]
WORKERS, KILLS, CUTS, RESTARTS = (3, 20, 10, 2) if FULL else (2, 2, 1, 1)
PAUSE = 0.0 if FULL else 0.1


@dataclass(frozen=True, kw_only=True)
class Disturbed:
    """A broker behind a proxy.

    Attributes:
        proxy: None where there is no connection.
        server: None where a restart empties it, or where there is none.
        strict: whether handlers fail at random, and nothing may pass a message that failed.
        ordered: whether the order of a key holds across processes.
        window: see `Workers`.
    """

    name: str
    strict: bool
    bus: Mapping[str, Any]
    proxy: Proxy | None
    server: Server | None
    ordered: bool = False
    window: float = 0.3

    async def restart(self) -> None:
        assert self.server is not None
        await asyncio.to_thread(self.server.restart)


@pytest.fixture(params=RUNS, ids=lambda run: f"{run[0]}-{'strict' if run[1] else 'calm'}")
async def disturbed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Disturbed]:
    name: str
    strict: bool
    name, strict = request.param
    topic = f"c{uuid.uuid4().hex[:10]}"
    bus: dict[str, Any] = {**COMMON, "topic": topic, "group": "wallet", "order": "strict" if strict else "key"}
    if name == "sqlite":
        bus["url"] = f"sqlite:///{tmp_path}/broker.db"
        yield Disturbed(name=name, strict=strict, bus=bus, proxy=None, server=None, ordered=True)
        return
    async with AsyncExitStack() as stack:
        if name.startswith("kafka"):
            is_share = name == "kafka-share"
            broker, proxy = await stack.enter_async_context(kafka_behind_proxy(is_share=is_share))
            bus["url"] = f"{'kafka+share' if is_share else 'kafka'}://{proxy.address}"
            if is_share:
                bus["lease"] = 10.0  # Its locks cannot be renewed.
            else:
                # A killed member is noticed in seconds instead of the better part of a minute.
                bus["options"] = {"session.timeout.ms": 2_000, "heartbeat.interval.ms": 300}
            yield Disturbed(
                name=name, strict=strict, bus=bus, proxy=proxy, server=broker.server, ordered=not is_share, window=1.0
            )
            return
        fixture = {"rabbitmq": "rabbit_broker", "sqs": "sqs_broker", "sqs-fifo": "sqs_broker"}
        shared = request.getfixturevalue(fixture.get(name, "redis_broker"))
        parts = urlsplit(shared.url)
        proxy = await stack.enter_async_context(Proxy(parts.hostname or "", parts.port or 0))
        url = parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{proxy.address}".lstrip("@")).geturl()
        server: Server | None = shared.server
        if name.startswith("sqs"):
            bus |= {"url": "sqs://us-east-1/", "endpoint": url}
            bus["topic"] += ".fifo" if name == "sqs-fifo" else ""
            server = None  # ElasticMQ keeps everything in memory
        elif name == "redis-list":
            bus |= {"url": url.replace("redis://", "redis+list://"), "envelope": "brokerkit"}
        else:
            bus["url"] = url
        yield Disturbed(name=name, strict=strict, bus=bus, proxy=proxy, server=server, ordered=name == "sqs-fifo")


def events(workers: Workers, disturbed: Disturbed) -> list[Event]:
    async def cut() -> None:
        assert disturbed.proxy is not None
        workers.disturb("cut")
        disturbed.proxy.cut()

    async def restart() -> None:
        workers.disturb("restarted")
        await disturbed.restart()

    planned: list[Callable[[], Awaitable[None]]] = [workers.kill] * KILLS
    if disturbed.proxy is not None:
        planned += [cut] * CUTS
    if disturbed.server is not None:
        planned += [restart] * RESTARTS
    random.shuffle(planned)
    return planned


@pytest.mark.timeout(7_200 if FULL else 300)
async def test_nothing_is_lost_whatever_dies(disturbed: Disturbed, tmp_path: Path) -> None:
    count = COUNT or COUNTS[disturbed.name]
    failing = 0.02 if disturbed.strict else 0.0
    workers = Workers(bus=disturbed.bus, folder=tmp_path, count=WORKERS, failing=failing, window=disturbed.window)
    begun = time.monotonic()
    again = await run(workers, count, events(workers, disturbed), pause=PAUSE)
    # A publisher that was cut off sends its round again, as the same messages.
    most = workers.most_duplicates + KEYS * (workers.events["cut"] + workers.events["restarted"])
    figures(
        f"{disturbed.name}{', strict and failing' if disturbed.strict else ''}: published {count}, "
        f"lost {count - len(workers.seen)}, out of order {workers.out_of_order}, "
        f"handled again {workers.duplicates} of at most {most}, published again {again}, "
        f"{dict(workers.events)}, {time.monotonic() - begun:.0f} s"
    )
    assert {number for _, number in workers.seen} == set(range(-(-count // KEYS)))
    assert len(workers.seen) == count
    if disturbed.ordered:
        assert workers.out_of_order == 0
    assert workers.duplicates <= most
