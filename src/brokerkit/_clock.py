"""The wall clock of the core and of the embedded broker: one place, so that a test can let it run ahead.

Spans of time are measured by the event loop (`asyncio.AbstractEventLoop.time`), never here.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_read: Callable[[], float] = time.time


def now() -> float:
    """Unix time in seconds."""
    return _read()


def use(read: Callable[[], float]) -> Callable[[], float]:
    """Read the time there from now on; what was read before."""
    global _read
    before, _read = _read, read
    return before
