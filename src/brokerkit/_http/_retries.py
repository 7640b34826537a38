"""Retries that wait at the broker: how many, where, and when the first are due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, replace
from typing import Any, Final

from brokerkit._errors import BrokerkitError, describe
from brokerkit._http._opening import OpenBus
from brokerkit.adapters.api import CountsRetries

_PATIENCE: Final = 3.0
"""Seconds for the broker's answer."""
_KEPT: Final = 5.0
"""Seconds for which an answer counts. Several pages ask no more often than one."""


class Retries:
    """Asks the brokers about retries, one question at a time.

    Args:
        opened: opens the bus for one question.
    """

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[OpenBus]]) -> None:
        self._opened = opened
        self._asking = asyncio.Lock()
        self._answers: dict[str, tuple[float, dict[str, Any]]] = {}

    def __repr__(self) -> str:
        return f"<Retries of {len(self._answers)} sources>"

    async def at_broker(self, source: str) -> dict[str, Any]:
        """Return what the broker says about a source's retries, as JSON has it.

        Args:
            source: name of a source that there is.
        """
        async with self._asking:
            known = self._answers.get(source)
            if known is None or time.monotonic() - known[0] > _KEPT:
                self._answers[source] = known = (time.monotonic(), await self._ask(source))
            return known[1]

    async def _ask(self, source: str) -> dict[str, Any]:
        try:
            async with self._opened() as bus, asyncio.timeout(_PATIENCE):
                return {"at_broker": await _found(bus, source), "error": ""}
        except TimeoutError:
            return {"at_broker": None, "error": f"the broker has not answered within {_PATIENCE:.0f} seconds"}
        except BrokerkitError as error:
            return {"at_broker": None, "error": describe(error)}


async def _found(bus: OpenBus, source: str) -> list[dict[str, Any]] | None:
    bus.runtime.must_be_open()
    adapter, settings = bus.runtime.source_adapter(source), bus.runtime.settings.sources[source]
    if settings.broadcast or not isinstance(adapter, CountsRetries):
        return None
    subscription = settings.subscription(bus.runtime.capabilities(source), drain_timeout=0.0)
    waiting = await adapter.waiting_retries(replace(subscription, provision="check"))
    return [asdict(each) for each in waiting]
