"""Fixtures for the tests of the consumer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from brokerkit.testing import virtual_time


@pytest.fixture
async def on_virtual_time() -> AsyncIterator[None]:
    """Time passes only while nothing else is to be done: a busy machine brings no retry or timeout before its time."""
    with virtual_time():
        yield
