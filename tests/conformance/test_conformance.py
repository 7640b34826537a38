"""Our adapters pass the suite that every adapter can be tried with.

By default on the brokers that answer at once; `make conformance` takes all of them and writes docs/conformance.md.
"""

import os

import pytest

from brokerkit.testing.conformance import Conformance, Harness
from tests.conformance.harnesses import NAMES, OurHarness
from tests.every_broker import Broker

SLOW = ("sqs", "sqs-fifo", "sns")
"""Seconds for each case: the stand-ins take their time. What is special about them is in tests/adapters."""
FULL = os.environ.get("BROKERKIT_CONFORMANCE") == "full"


# aiohttp warns of every request above 1 MiB, and has no other way to take one.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("broker", [name for name in NAMES if FULL or name not in SLOW], indirect=True)
class TestConformance(Conformance):
    @pytest.fixture
    def harness(self, broker: Broker) -> Harness:
        return OurHarness(broker)
