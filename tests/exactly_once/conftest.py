"""The brokers that have transactions."""

from __future__ import annotations

import pytest

from tests.conftest import MADE_BY
from tests.every_broker import Broker


@pytest.fixture(params=["memory", "kafka"])
def broker(request: pytest.FixtureRequest) -> Broker:
    return MADE_BY[request.param](request)
