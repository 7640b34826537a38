"""Our adapters pass the suite that every adapter can be tried with.

`make conformance` tries every case on every broker and writes docs/conformance.md; by default the slow ones are spared most.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from brokerkit.testing.conformance import Conformance, Harness
from tests import every_broker
from tests.brokers import fixtures, kafka, rabbitmq, redis
from tests.brokers._ports import free_port
from tests.conformance.harnesses import NAMES, OurHarness
from tests.conftest import MADE_BY

SLOW = ("sqs", "sqs-fifo", "sns")
"""Seconds for each case: the stand-ins take their time. What is special about them is in tests/adapters."""
ALWAYS = ("01", "08", "09", "13", "26", "30", "34", "35", "37", "40", "44", "45", "47", "49", "51", "56", "68")
"""The cases that are tried on them all the same."""
FULL = os.environ.get("BROKERKIT_CONFORMANCE") == "full"

OWN: dict[str, Any] = {
    "kafka": (kafka.broker, every_broker.kafka),
    "rabbitmq": (rabbitmq.broker, every_broker.rabbitmq),
    "redis-streams": (redis.broker, every_broker.redis_streams),
    "redis-list": (redis.broker, every_broker.redis_list),
}
"""Those that keep messages over a restart: what starts one, and what the tests know of it."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    tried = FULL or metafunc.function.__name__.removeprefix("test_case_") in ALWAYS
    metafunc.parametrize("broker", [name for name in NAMES if tried or name not in SLOW], indirect=True)


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> every_broker.Broker:
    return MADE_BY[request.param](request)


@pytest.fixture
def advertised(request: pytest.FixtureRequest) -> int | None:
    """The port of the proxy to which a Kafka of its own sends its clients, for the cases that cut connections to it."""
    name, case = request.node.callspec.params["broker"], request.node.originalname
    return free_port() if name == "kafka" and case in ("test_case_29", "test_case_57") else None


@pytest.fixture
def own_broker(request: pytest.FixtureRequest, advertised: int | None) -> Iterator[Any]:
    """For a case that the brokers shared by all cases cannot do one of its own; None for the others."""
    name = request.node.callspec.params["broker"]
    with ExitStack() as stack:
        if advertised is not None:
            yield stack.enter_context(fixtures.running(kafka.broker(advertised=advertised)))
        elif request.node.originalname == "test_case_55" and name in OWN:
            yield stack.enter_context(fixtures.running(OWN[name][0]()))
        else:
            yield None


# aiohttp warns of every request above 1 MiB, and has no other way to take one.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
class TestConformance(Conformance):
    @pytest.fixture
    def harness(self, broker: every_broker.Broker, own_broker: Any, advertised: int | None) -> Harness:
        if own_broker is None:
            return OurHarness(broker)

        async def restart() -> None:
            await asyncio.to_thread(own_broker.restart)

        return OurHarness(OWN[broker.name][1](own_broker), restart=restart, advertised=advertised)
