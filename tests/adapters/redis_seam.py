"""What the tests of the Redis adapters share: adapters at the seam, and a raw client beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis

from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import as_text
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._url import Url
from brokerkit.adapters.api import Adapter, Connection, Source, Subscription

BODIES = [b"", bytes(range(256)), b'{"a": 1}', b"\x00bk\x01", b"\x00bk\x01\x00\x00\x00\x02{}rest", b"x" * 16_384]

WEIRD = {
    "": "empty name",
    "empty": "",
    " spaces ": " both sides ",
    "quo\"te's": '\\"',
    "ünïcödé ☃": "\U0001f0cf",
    "n" * 300: "v" * 300,
    "data": "named like the body",
    "key": "not the key",
    "id": "not the id",
    "bk-h-data": "named like an escape",
    "line\nbreak\0": "\r\n\0",
    "binary": b"\xff\xfe\x00",
} | {f"header-{number}": str(number) for number in range(32)}


def unique(stem: str = "topic") -> str:
    return f"{stem}-{uuid4().hex[:12]}"


def connection(url: str, scheme: str = "redis", **options: Any) -> Connection:
    return Connection(
        url=Url.parse(f"{scheme}{url[url.index(':') :]}"), options=options, connect_timeout=5, envelope="brokerkit"
    )


def outgoing(topic: str, number: int = 0, **fields: Any) -> Outgoing:
    default: dict[str, Any] = {"topic": topic, "body": str(number).encode(), "name": "OnTest", "id": f"id-{number}"}
    return Outgoing(**default | fields)


async def ignore_lost(deliveries: Sequence[Delivery]) -> None:
    """The core's answer where a test has none."""


@asynccontextmanager
async def opened(adapter: Adapter) -> AsyncGenerator[Adapter, None]:
    await adapter.open()
    try:
        yield adapter
    finally:
        await adapter.close()


@asynccontextmanager
async def reading(adapter: Adapter, *topics: str, **settings: Any) -> AsyncGenerator[Any, None]:
    """An open source; closed in the order in which the core does it."""
    source: Source = adapter.subscribe(Subscription(topics=topics, **settings), ignore_lost)
    await source.open()
    try:
        yield source
    finally:
        await source.stop()
        await source.close()


@asynccontextmanager
async def raw_client(url: str) -> AsyncGenerator[Any, None]:
    made: Any = Redis
    async with made.from_url(url) as client:
        yield client


async def receive(source: Source, number: int, *, bounded: float = 10) -> list[Delivery]:
    """Deliveries until there are so many."""
    got: list[Delivery] = []
    async with asyncio.timeout(bounded):
        while len(got) < number:
            got += await source.receive(number - len(got))
    return got


async def nothing_comes(source: Source) -> bool:
    """Whether two whole reads stay empty."""
    return not [*await source.receive(10), *await source.receive(10)]


async def has_lag(source: Source, raw: Any, number: int) -> bool:
    """Whether a source has this lag. A server before 7.0 knows none."""
    old = (await raw.info("server"))["redis_version"].startswith("6.")
    return await source.lag() == (None if old else number)


def numbers(deliveries: Sequence[Delivery]) -> list[int]:
    """The bodies of messages that `outgoing` made."""
    return [int(delivery.body or b"") for delivery in deliveries]


def texts(deliveries: Sequence[Delivery]) -> dict[str, str | bytes]:
    """The headers of the only delivery, values as text where they are UTF-8, as a handler sees them."""
    (delivery,) = deliveries
    return {name: as_text(value) for name, value in delivery.headers.items()}


def confirmed(results: Sequence[object]) -> bool:
    return all(isinstance(result, Receipt) for result in results)
