"""Consumes on a bus for as long as a block runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from brokerkit._errors import ConfigError
from brokerkit._handlers._handlers import Handlers
from brokerkit._runtime import Runtime
from brokerkit._status import _reports as _reports
from brokerkit._status._source_failure import OnSourceFailure, SourceFailure


class Served(Protocol):
    """A bus."""

    handlers: Handlers
    runtime: Runtime

    async def __aenter__(self) -> Any:
        """Open it."""

    async def __aexit__(self, *_: object) -> None:
        """Close it."""


@asynccontextmanager
async def serving(bus: Served, on_source_failure: OnSourceFailure) -> AsyncGenerator[None]:
    """Consume while the block runs, then drain. Open the bus first if it is not open.

    Raises:
        BrokerkitError: as `Bus.serve` does.
    """
    if bus.runtime.consumers:
        raise ConfigError("this bus is already consuming")
    routes = bus.runtime.routes(bus.handlers)
    _reports.say_what_is_served(bus.runtime.settings, bus.handlers)
    cancels = _cancels()
    async with AsyncExitStack() as stack:
        stack.enter_context(bus.handlers.settled("this bus is already consuming: register before serve"))
        if not bus.runtime.is_open:
            await stack.enter_async_context(bus)
        failure = SourceFailure()
        stack.enter_context(bus.runtime.hooks.told(failure.noted))
        await stack.enter_async_context(bus.runtime.consuming(routes))
        if _cancels() > cancels:
            # A client library, or asyncio.wait_for before Python 3.12, has swallowed the cancellation.
            raise asyncio.CancelledError
        if on_source_failure == "raise":
            stack.enter_context(failure.ends_block())
        yield


def _cancels() -> int:
    """Return how often the running task was cancelled."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0
