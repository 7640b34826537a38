"""Fixtures for all tests: the real brokers, and `broker`, which is each of them in turn."""

import logging
from collections.abc import Iterator

import pytest

from tests import every_broker

pytest_plugins = ["tests.brokers.fixtures"]

MADE_BY = {
    "memory": lambda _: every_broker.memory(),
    "kafka": lambda request: every_broker.kafka(request.getfixturevalue("kafka_broker")),
    "rabbitmq": lambda request: every_broker.rabbitmq(request.getfixturevalue("rabbit_broker")),
    "sqs": lambda request: every_broker.sqs(request.getfixturevalue("elasticmq_broker"), fifo=False),
    "sqs-fifo": lambda request: every_broker.sqs(request.getfixturevalue("elasticmq_broker"), fifo=True),
    "sns": lambda request: every_broker.sns(request.getfixturevalue("moto_broker")),
    "redis-streams": lambda request: every_broker.redis_streams(request.getfixturevalue("redis_broker")),
    "redis-pubsub": lambda request: every_broker.redis_pubsub(request.getfixturevalue("redis_broker")),
    "redis-list": lambda request: every_broker.redis_list(request.getfixturevalue("redis_broker")),
}


@pytest.fixture(params=list(MADE_BY))
def broker(request: pytest.FixtureRequest) -> every_broker.Broker:
    """Every adapter on its real broker; none is left out."""
    return MADE_BY[request.param](request)


@pytest.fixture
def log_as_before() -> Iterator[None]:
    """What a command does to the log of this process ends with the test."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
