"""A broker that a chaos run can disturb: behind a proxy that cuts its connections, and restarted where it keeps its data."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from brokerkit.testing import Proxy
from tests.brokers._server import Server
from tests.chaos.chaos import COMMON
from tests.chaos.proxied import kafka_behind_proxy


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


@asynccontextmanager
async def disturbed_broker(
    name: str, request: pytest.FixtureRequest, folder: Path, *, strict: bool
) -> AsyncGenerator[Disturbed]:
    """A broker by its name, with a topic of the run's own."""
    topic = f"c{uuid.uuid4().hex[:10]}"
    bus: dict[str, Any] = {**COMMON, "topic": topic, "group": "wallet", "order": "strict" if strict else "key"}
    if name == "sqlite":
        bus["url"] = f"sqlite:///{folder}/broker.db"
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
