"""What the tests of all kinds of Redis topics at the seam are given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.adapters.redis_seam import raw_client
from tests.brokers.redis import RedisBroker


@pytest.fixture
async def raw(redis_broker: RedisBroker) -> AsyncIterator[Any]:
    """A client of the library itself."""
    async with raw_client(redis_broker.url) as client:
        yield client
