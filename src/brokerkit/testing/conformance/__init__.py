"""The conformance suite: what every adapter has to keep of what it promises, tried on a running broker.

An adapter's author writes a `Harness` and a module for pytest::

    from brokerkit.testing.conformance import Conformance


    class TestNats(Conformance):
        @pytest.fixture
        def harness(self, nats_server):
            return NatsHarness(nats_server)

A case about something that the adapter does not promise is skipped, with the promise as the reason. ``pytest
--conformance PATH`` writes a table of the results.
"""

from brokerkit.testing.conformance._cases import CASES, Case
from brokerkit.testing.conformance._harness import Harness, NotPromised, NotTried
from brokerkit.testing.conformance._suite import Conformance

__all__ = ["CASES", "Case", "Conformance", "Harness", "NotPromised", "NotTried"]
