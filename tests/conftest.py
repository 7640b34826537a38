"""Fixtures for all tests: the real brokers, and `broker`, which is each of them in turn."""

import logging
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import every_aws, every_broker, every_redis
from tests.brokers import versions

pytest_plugins = ["tests.brokers.fixtures"]

# How long an example takes says how busy the machine is. A test that takes too long ends at pytest's own timeout.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

MADE_BY = {
    "memory": lambda _: every_broker.memory(),
    "sqlite": lambda _: every_broker.sqlite(),
    "kafka": lambda request: every_broker.kafka(request.getfixturevalue("kafka_broker")),
    "kafka-share": lambda request: every_broker.kafka_share(request.getfixturevalue("kafka_share_broker")),
    "rabbitmq": lambda request: every_broker.rabbitmq(request.getfixturevalue("rabbit_broker")),
    "sqs": lambda request: every_aws.sqs(request.getfixturevalue("sqs_broker"), fifo=False),
    "sqs-fifo": lambda request: every_aws.sqs(request.getfixturevalue("sqs_broker"), fifo=True),
    "sns": lambda request: every_aws.sns(request.getfixturevalue("sns_broker")),
    "redis-streams": lambda request: every_redis.redis_streams(request.getfixturevalue("redis_broker")),
    "redis-pubsub": lambda request: every_redis.redis_pubsub(request.getfixturevalue("redis_broker")),
    "redis-list": lambda request: every_redis.redis_list(request.getfixturevalue("redis_broker")),
}


def pytest_report_header() -> str:
    """The versions of the brokers that a run starts; those of brokers that run already are not known."""
    return f"brokers: {', '.join(f'{name} ({versions.exact(name)})' for name in versions.all_chosen())}"


SELDOM = ("kafka-share",)
"""What only its own tests and some cases of the conformance suite run on, unless everything is asked for: its groups take a
second to begin, and behind its source it is Kafka."""
FULL = os.environ.get("BROKERKIT_CONFORMANCE") == "full"


@pytest.fixture(params=[name for name in MADE_BY if FULL or name not in SELDOM])
def broker(request: pytest.FixtureRequest) -> every_broker.Broker:
    """Every adapter on its real broker."""
    return MADE_BY[request.param](request)


@pytest.fixture
def memory() -> every_broker.Broker:
    """The embedded broker, for what is alike on all of them."""
    return every_broker.memory()


@pytest.fixture
def log_as_before() -> Iterator[None]:
    """What a command does to the log of this process ends with the test."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes the module of a program into what becomes the current folder; its name, which nothing has imported yet."""

    def write(source: str) -> str:
        name = f"module_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", sys.path[:])
        return name

    return write
