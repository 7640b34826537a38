"""A bus over HTTP, on a real port."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.http.port import Port


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    made = Port()
    yield made
    await made.close()
