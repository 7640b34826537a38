"""A Kafka behind a proxy that can cut its connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from brokerkit.testing import Proxy
from tests.brokers import kafka
from tests.brokers._ports import free_port
from tests.brokers.kafka import KafkaBroker


@asynccontextmanager
async def kafka_behind_proxy(*, is_share: bool = False) -> AsyncGenerator[tuple[KafkaBroker, Proxy]]:
    """A Kafka of its own, and the proxy to which it sends all its clients."""
    port = free_port()
    broker = (kafka.share_broker if is_share else kafka.broker)(advertised=port)
    host, _, real = broker.address.rpartition(":")
    async with Proxy(host, int(real), listen=port) as proxy:
        try:
            await asyncio.to_thread(broker.start)
            yield broker, proxy
        finally:
            await asyncio.to_thread(broker.server.close)
