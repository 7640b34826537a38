"""The stores for the tests of `dedupe=`."""

from __future__ import annotations

from pathlib import Path

import pytest

from brokerkit.dedupe import Store
from tests.stores import STORES, make_store


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return (await make_store(request.param, request, tmp_path))()
