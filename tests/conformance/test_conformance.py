"""Our adapters pass the suite that every adapter can be tried with.

`make conformance` tries every case on every broker and writes docs/conformance.md; by default the slow ones are spared most.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache, partial
from typing import Any

import pytest

from brokerkit.testing.conformance import Conformance, Harness
from tests import every_broker, every_redis
from tests.brokers import fixtures, kafka, rabbitmq, redis, redis_cluster
from tests.brokers._ports import free_port
from tests.conformance.harnesses import NAMES, OurHarness
from tests.conftest import MADE_BY

SLOW = ("sqs", "sqs-fifo", "sns")
"""Seconds for each case: the stand-ins take their time. What is special about them is in tests/adapters."""
ALWAYS = ("01", "08", "09", "13", "26", "30", "34", "35", "37", "40", "44", "45", "47", "49", "51", "56", "68")
"""The cases that are tried on them all the same."""
GROUPED = ("kafka-consumer",)
"""What differs from another broker only in how a group shares its partitions."""
ABOUT_GROUPS = ("21", "35", "43", "45", "46", "50", "51")
"""The cases that are tried on it all the same."""
SHARE = ("kafka-share",)
"""Seconds for each case: its groups take their time to begin."""
ABOUT_SHARE = ("08", "13", "30", "34", "35", "45", "68")
"""The cases that are tried on it all the same."""
SERVERS = ("redis-cluster", "redis-sentinel", "redis-cluster-list", "redis-sentinel-list")
"""Several servers, which take their time to begin; tests/adapters has what is special about them."""
ABOUT_SERVERS = ("01",)
"""The case that is tried on them all the same."""
FULL = os.environ.get("BROKERKIT_CONFORMANCE") == "full"

OWN: dict[str, Any] = {
    "kafka": (kafka.broker, every_broker.kafka),
    "kafka-consumer": (kafka.broker, partial(every_broker.kafka, protocol="consumer")),
    "kafka-share": (kafka.share_broker, every_broker.kafka_share),
    "rabbitmq": (rabbitmq.broker, every_broker.rabbitmq),
    "redis-streams": (redis.broker, every_redis.redis_streams),
    "redis-list": (redis.broker, every_redis.redis_list),
    "redis-list-right": (redis.broker, partial(every_redis.redis_list, end="right")),
}
"""Those that keep messages over a restart: what starts one, and what the tests know of it."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    case = metafunc.function.__name__.removeprefix("test_case_")
    always = ((SLOW, ALWAYS), (GROUPED, ABOUT_GROUPS), (SHARE, ABOUT_SHARE), (SERVERS, ABOUT_SERVERS))
    spared = [name for names, cases in always if case not in cases for name in names]
    metafunc.parametrize("broker", [name for name in NAMES if FULL or name not in spared], indirect=True)


@pytest.fixture(scope="module")
def redis_of_several() -> Iterator[Callable[[str], redis_cluster.RedisCluster | redis_cluster.Guarded]]:
    """Gives a cluster or a primary behind Sentinels, which are started when they are asked for."""
    with ExitStack() as stack:

        @cache
        def start(name: str) -> redis_cluster.RedisCluster | redis_cluster.Guarded:
            servers = redis_cluster.cluster() if name.startswith("redis-cluster") else redis_cluster.guarded()
            stack.callback(servers.close)
            servers.start()
            return servers

        yield start


@pytest.fixture
def broker(
    request: pytest.FixtureRequest,
    redis_of_several: Callable[[str], redis_cluster.RedisCluster | redis_cluster.Guarded],
) -> every_broker.Broker:
    if request.param in SERVERS:
        kind = "+list" if request.param.endswith("-list") else ""
        return every_redis.redis_servers(redis_of_several(request.param.removesuffix("-list")), kind=kind)
    if request.param == "redis-list-right":
        return every_redis.redis_list(request.getfixturevalue("redis_broker"), end="right")
    if request.param == "kafka-consumer":
        return every_broker.kafka(request.getfixturevalue("kafka_broker"), protocol="consumer")
    return MADE_BY[request.param](request)


@pytest.fixture
def advertised(request: pytest.FixtureRequest) -> int | None:
    """The port of the proxy to which a Kafka of its own sends its clients, for the cases that cut connections to it."""
    name, case = request.node.callspec.params["broker"], request.node.originalname
    return free_port() if name.startswith("kafka") and case in ("test_case_29", "test_case_57") else None


@pytest.fixture
def own_broker(request: pytest.FixtureRequest, advertised: int | None) -> Iterator[Any]:
    """For a case that the brokers shared by all cases cannot do one of its own; None for the others."""
    name = request.node.callspec.params["broker"]
    with ExitStack() as stack:
        if advertised is not None:
            yield stack.enter_context(fixtures.running(OWN[name][0](advertised=advertised)))
        elif request.node.originalname == "test_case_55" and name in OWN:
            yield stack.enter_context(fixtures.running(OWN[name][0]()))
        else:
            yield None


# aiohttp warns of every request above 1 MiB, and has no other way to take one.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
class TestConformance(Conformance):
    @pytest.fixture
    def harness(
        self, request: pytest.FixtureRequest, broker: every_broker.Broker, own_broker: Any, advertised: int | None
    ) -> Harness:
        kind: str = request.node.callspec.params["broker"]
        if own_broker is None:
            return OurHarness(broker, name=NAMES[kind])

        async def restart() -> None:
            await asyncio.to_thread(own_broker.restart)

        return OurHarness(OWN[kind][1](own_broker), name=NAMES[kind], restart=restart, advertised=advertised)
