"""Waits with a time limit: for an event, and for a step of a shutdown that a hanging broker must not hold up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from brokerkit._logging import get_logger

logger = get_logger(__name__)

CLEAN_UP: Final = 2.0
"""Seconds that a step has to clean up once its time is over."""

SOURCE_GRACE: Final = 5.0
"""Seconds beyond the stop timeout for a source to leave its group and disconnect."""

ADAPTER_GRACE: Final = 5.0
"""Seconds for an adapter to disconnect, once everything else has ended."""


async def wait_for_event(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until an event is set, at most this number of seconds (None: without limit). Return whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


async def bounded(seconds: float, what: str, step: Coroutine[Any, Any, None]) -> None:
    """Do one step of a shutdown, and cancel it when its time is over. Does not raise."""
    task = asyncio.ensure_future(step)
    await asyncio.wait([task], timeout=max(seconds, 0.0))
    if not task.done():
        logger.warning("%s took too long and was cancelled: the broker does not answer", what)
        task.cancel()
        await asyncio.wait([task], timeout=CLEAN_UP)
    elif not task.cancelled() and (error := task.exception()) is not None:
        logger.error("%s failed: %s", what, type(error).__name__, exc_info=error)
