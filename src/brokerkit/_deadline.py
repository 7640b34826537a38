"""Steps of a shutdown, each with an end: a broker that hangs must not keep a program from stopping."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

logger = logging.getLogger("brokerkit")

CLEAN_UP: Final = 2.0
"""Seconds that a step gets to clean up after itself once its time is over."""

SOURCE_GRACE: Final = 5.0
"""Seconds beyond the stop timeout for a source to leave its group and disconnect."""

ADAPTER_GRACE: Final = 5.0
"""Seconds for an adapter to disconnect, once everything else has ended."""


async def within(seconds: float, what: str, step: Coroutine[Any, Any, None]) -> None:
    """Do one step of a shutdown, and give it up when its time is over. Does not raise."""
    task = asyncio.ensure_future(step)
    await asyncio.wait([task], timeout=max(seconds, 0.0))
    if not task.done():
        logger.warning("%s did not end in time and is given up: the broker does not answer", what)
        task.cancel()
        await asyncio.wait([task], timeout=CLEAN_UP)
    elif not task.cancelled() and (error := task.exception()) is not None:
        logger.error("%s failed: %s", what, type(error).__name__, exc_info=error)
