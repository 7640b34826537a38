"""Fixtures of the bridge's tests."""

import pytest

from tests.bridge.pair import BROKERS, Pair


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Pair:
    """Two brokers, by the names that the test is parametrised with; else the embedded one twice."""
    old, new = getattr(request, "param", ("memory", "memory"))
    return Pair(BROKERS[old](request), BROKERS[new](request))
