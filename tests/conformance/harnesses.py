"""A harness for each of our brokers, on top of what all tests know of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import aio_pika
import redis.asyncio
from aiobotocore.session import get_session

from brokerkit.adapters.aws.sns import group_queue
from brokerkit.adapters.rabbitmq._wire import queue_name
from brokerkit.testing import Proxy
from brokerkit.testing.conformance import Harness, NotTried
from tests.brokers.aws import client_options
from tests.every_broker import Broker

NAMES = {
    "memory": "memory",
    "sqlite": "SQLite",
    "kafka": "Kafka",
    "kafka-consumer": "Kafka, KIP-848",
    "kafka-share": "Kafka share groups",
    "rabbitmq": "RabbitMQ",
    "sqs": "SQS",
    "sqs-fifo": "SQS FIFO",
    "sns": "SNS",
    "redis-streams": "Redis Streams",
    "redis-cluster": "Redis Streams, cluster",
    "redis-sentinel": "Redis Streams, Sentinel",
    "redis-list": "Redis list",
    "redis-list-right": "Redis list, read from the right",
    "redis-cluster-list": "Redis list, cluster",
    "redis-sentinel-list": "Redis list, Sentinel",
    "redis-pubsub": "Redis Pub/Sub",
}
"""What each is called in the table of results."""


class OurHarness(Harness):
    """One of the brokers of tests/every_broker.py, behind a proxy.

    Args:
        broker: what all tests know of it.
        name: what it is called in the table of results.
        restart: restarts it with what it has, where that is possible.
        advertised: the port to which a Kafka sends its clients; without one there is no proxy before it.
    """

    late = 20.0

    def __init__(
        self,
        broker: Broker,
        *,
        name: str,
        restart: Callable[[], Awaitable[None]] | None = None,
        advertised: int | None = None,
    ) -> None:
        super().__init__()
        self._broker = broker
        self._restart = restart
        self._advertised = advertised
        self._proxy: Proxy | None = None
        self.settings = dict(broker.settings)
        self.url = self.settings.pop("url")
        if broker.name == "kafka":
            self.late = 30.0
            if self.settings["options"]["group.protocol"] == "classic":
                # How soon a killed member is noticed; the usual is 45 s. With KIP-848 the broker has the setting.
                quick = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 500}
                self.settings["options"] = {**self.settings["options"], **quick}
        if broker.name == "kafka-share":
            self.lease = broker.lease
        if broker.name.startswith(("sqs", "sns")):
            self.connected = False
            # ElasticMQ answers a poll that waits with what is published, and not with what comes back meanwhile.
            self.late = 20.0
        if broker.name == "sns":
            self.lease = 2.0  # moto may take a second for one answer
        self.name = name
        self.suffix = broker.suffix
        self.largest = broker.largest
        self.topics_must_exist = broker.topics_must_exist
        self.unreachable = broker.unreachable
        self.bad_option = broker.bad_option
        self.plain_rule = next(place for place in broker.places if place != "topic")
        self.processes = broker.name != "memory"
        self.virtual = broker.name == "memory"

    async def __aenter__(self) -> Self:
        # Who asks a cluster or a Sentinel is told the addresses of the servers themselves.
        if self._broker.name.startswith(("memory", "sqlite", "redis-cluster", "redis-sentinel")) or (
            self._broker.name.startswith("kafka") and self._advertised is None
        ):
            return self
        where = "endpoint" if "endpoint" in self.settings else "url"
        address = self._broker.settings[where]
        parts = urlsplit(address)
        self._proxy = Proxy(str(parts.hostname), int(parts.port or 0), listen=self._advertised or 0)
        await self._proxy.__aenter__()
        through = parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{self._proxy.port}")).geturl()
        if where == "url":
            self.url = through
        else:
            self.settings["endpoint"] = through
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._proxy is not None:
            await self._proxy.__aexit__(None, None, None)

    async def plain_publish(self, topic: str, body: bytes, *, name: str, headers: Mapping[str, str]) -> None:
        await self._broker.plain(topic, [(name, body)], place=self.plain_rule, headers=headers)

    async def create_topic(self, topic: str) -> None:
        await self._broker.create(topic)

    async def restart_broker(self) -> None:
        if self._restart is None:
            raise NotTried("a restart in which the stand-in keeps what it has")
        await self._restart()

    async def cut_connections(self) -> None:
        if self._proxy is None:
            raise NotTried("connections to cut")
        self._proxy.cut()

    async def delete_group(self, topic: str, group: str) -> None:
        url: Any = self._broker.settings["url"]
        if self._broker.name == "rabbitmq":
            async with await aio_pika.connect(url) as connection:
                await (await connection.channel()).queue_delete(queue_name(topic, group))
        elif self._broker.name == "redis-streams":
            async with redis.asyncio.from_url(url) as client:
                await client.xgroup_destroy(topic, group)
        elif self._broker.name == "sns":
            async with get_session().create_client("sqs", **client_options(self._broker.settings["endpoint"])) as sqs:
                queue = await sqs.get_queue_url(QueueName=group_queue(topic, group))
                await sqs.delete_queue(QueueUrl=queue["QueueUrl"])
        else:
            raise NotTried("a group that can be deleted while it is read")
