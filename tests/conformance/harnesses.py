"""A harness for each of our brokers, on top of what all tests know of it."""

from __future__ import annotations

from collections.abc import Mapping

from brokerkit.testing.conformance import Harness
from tests.every_broker import Broker

NAMES = {
    "memory": "memory",
    "kafka": "Kafka",
    "rabbitmq": "RabbitMQ",
    "sqs": "SQS",
    "sqs-fifo": "SQS FIFO",
    "sns": "SNS",
    "redis-streams": "Redis Streams",
    "redis-list": "Redis list",
    "redis-pubsub": "Redis Pub/Sub",
}
"""What each is called in the table of results."""


class OurHarness(Harness):
    """One of the brokers of tests/every_broker.py."""

    def __init__(self, broker: Broker) -> None:
        super().__init__()
        self._broker = broker
        settings = dict(broker.settings)
        self.url = settings.pop("url")
        self.settings = settings
        self.name = NAMES[broker.name]
        self.suffix = broker.suffix
        self.largest = broker.largest
        self.topics_must_exist = broker.topics_must_exist
        self.unreachable = broker.unreachable
        self.bad_option = broker.bad_option
        self.plain_rule = broker.places[0] if broker.places[0] != "topic" else "field:event"
        self.processes = self.virtual = False
        if broker.name == "memory":
            self.virtual = True
        else:
            self.processes = True

    async def plain_publish(self, topic: str, body: bytes, *, name: str, headers: Mapping[str, str]) -> None:
        await self._broker.plain(topic, [(name, body)], place=self.plain_rule)

    async def create_topic(self, topic: str) -> None:
        await self._broker.create(topic)
