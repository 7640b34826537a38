"""What the tests of the SQS adapter at the seam share, and some of it those of SNS: connections, and what is read."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from brokerkit._messages._delivery import Delivery, Settled
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._url import Url
from brokerkit.adapters.api import Adapter, Connection, Lost, Subscription
from brokerkit.adapters.aws._source import SqsSource
from brokerkit.adapters.aws.sqs import SqsAdapter

DONE, LOST = Settled.DONE, Settled.LOST


def connection(endpoint: str | None, url: str = "sqs://us-east-1/", **fields: Any) -> Connection:
    return Connection(url=Url.parse(url), endpoint=endpoint, **fields)


def name(suffix: str = "") -> str:
    return f"test-{uuid.uuid4().hex}{suffix}"


def outgoing(topic: str, body: bytes | None = b'{"a":1}', **fields: Any) -> Outgoing:
    fields = {"id": uuid.uuid4().hex} | fields
    return Outgoing(topic=topic, body=body, name="OnGameDone", **fields)


async def nothing_lost(deliveries: Sequence[Delivery]) -> None:
    raise AssertionError(f"lost {deliveries}")


@asynccontextmanager
async def reading(
    adapter: SqsAdapter, *topics: str, lost: Lost = nothing_lost, **fields: Any
) -> AsyncIterator[SqsSource]:
    fields = {"provision": "all"} | fields
    source = adapter.subscribe(Subscription(topics=topics, **fields), lost)
    await source.open()
    try:
        yield source
    finally:
        await source.stop()
        await source.close()


async def take(source: SqsSource, count: int, *, seconds: float = 15) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(seconds):
        while len(found) < count:
            found += await source.receive(count - len(found))
    return found


async def send(adapter: Adapter, *batch: Outgoing) -> None:
    results = await adapter.send(batch)
    assert all(isinstance(result, Receipt) for result in results), results
