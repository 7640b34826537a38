"""What the tests of the SNS adapter at the seam share: connections and open sources."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.adapters.sqs.seam import nothing_lost

from brokerkit._url import Url
from brokerkit.adapters.api import Connection, Subscription
from brokerkit.adapters.aws._source import SqsSource
from brokerkit.adapters.aws.sns import SnsAdapter


def connection(endpoint: str | None, url: str = "sns://us-east-1/", **fields: Any) -> Connection:
    return Connection(url=Url.parse(url), endpoint=endpoint, **fields)


def name(suffix: str = "") -> str:
    return f"test-{uuid.uuid4().hex[:12]}{suffix}"


@asynccontextmanager
async def reading(adapter: SnsAdapter, *topics: str, **fields: Any) -> AsyncIterator[SqsSource]:
    fields = {"provision": "all", "group": "wallet"} | fields
    source = adapter.subscribe(Subscription(topics=topics, **fields), nothing_lost)
    await source.open()
    try:
        yield source
    finally:
        await source.stop()
        await source.close()
