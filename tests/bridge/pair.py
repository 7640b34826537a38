"""Two real brokers, and a topic on each: what the tests of bridges have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest

from brokerkit import Bus, Message, adapters
from brokerkit._config._settings import ConnectionSettings
from brokerkit._messages._delivery import Delivery
from tests import every_aws, every_broker, every_redis
from tests.every_broker import Broker

BROKERS: dict[str, Callable[[pytest.FixtureRequest], Broker]] = {
    "memory": lambda _: every_broker.memory(),
    "kafka": lambda request: every_broker.kafka(request.getfixturevalue("kafka_broker")),
    "rabbitmq": lambda request: every_broker.rabbitmq(request.getfixturevalue("rabbit_broker")),
    "sqs": lambda request: every_aws.sqs(request.getfixturevalue("sqs_broker"), fifo=False),
    "sqs-fifo": lambda request: every_aws.sqs(request.getfixturevalue("sqs_broker"), fifo=True),
    "redis-streams": lambda request: every_redis.redis_streams(request.getfixturevalue("redis_broker")),
    "redis-list": lambda request: every_redis.redis_list(request.getfixturevalue("redis_broker")),
}


class Pair:
    """From a topic on one broker to a topic on another."""

    def __init__(self, old: Broker, new: Broker) -> None:
        self.old, self.new = old, new
        self.topic, self.to_topic = old.topic(), new.topic("new")

    @property
    def urls(self) -> tuple[str, str]:
        """The two brokers, with everything that tests need in the query."""
        more = {"provision": "all"}
        return _url(self.old, {**more, "lease": "4"}), _url(self.new, more)

    @property
    def orders(self) -> set[str]:
        """How far the brokers promise order by key."""
        places = ((self.old, self.topic), (self.new, self.to_topic))
        return {
            adapters.make(ConnectionSettings.model_validate(dict(broker.settings)).connection())
            .capabilities(topic)
            .order
            for broker, topic in places
        }

    def producer(self) -> Bus:
        """Publishes to the old broker."""
        return self.old.bus(topic=self.topic, format="json")

    def bridge(self, **settings: Any) -> Bus:
        """From the old broker to the new one."""
        stated = {"topic": self.topic, "to_topic": self.to_topic, "group": "bridge", "stop_timeout": 10.0}
        return Bus.bridge(*self.urls, **{**stated, **settings})

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[list[Delivery]]:
        """What arrives at the new broker, as it arrives."""
        got: list[Delivery] = []

        async def note(delivery: Delivery, message: Message) -> None:
            got.append(delivery)

        bus = self.new.bus(topic=self.to_topic, format="json", order="none", concurrency=1)
        bus.handlers.forward(note, source="bus", events=("*", ""))
        async with bus, bus.serving():
            yield got


def _url(broker: Broker, more: dict[str, str]) -> str:
    settings = dict(broker.settings)
    url, options = settings.pop("url"), settings.pop("options", {})
    return f"{url}?{urlencode({**options, **settings, **more})}"
