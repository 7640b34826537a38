"""The server that plays ThrillConnect, and what its handlers note, for the tests of its source."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.adapters.thrillconnect.seam import Noted
from tests.adapters.thrillconnect_server import ThrillConnectServer, playing

from brokerkit._consuming._consumer import Consumer


@pytest.fixture
async def server() -> AsyncIterator[ThrillConnectServer]:
    async with playing() as server:
        yield server


@pytest.fixture(autouse=True)
def failures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Reconnect soon: how long the core waits after so many failures is the core's, and tested there."""
    seen: list[int] = []
    back_off = Consumer._back_off

    async def soon(consumer: Consumer, failures: int) -> None:
        seen.append(failures)
        await back_off(consumer, -3)

    monkeypatch.setattr(Consumer, "_back_off", soon)
    return seen


@pytest.fixture
def noted() -> Noted:
    return Noted()
