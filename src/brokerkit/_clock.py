"""The wall clock of the core and the embedded broker, in one module so that a test can move it forward.

Durations are measured with the event loop (`asyncio.AbstractEventLoop.time`), never with this clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_read: Callable[[], float] = time.time


_EARLIEST: Final = 946_684_800.0
"""Unix time of 2000-01-01."""
_LATEST: Final = 4_102_444_800.0
"""Unix time of 2100-01-01."""
_UNITS: Final = (1e-3, 1e3, 1e-6, 1e-9)
"""Factors to seconds for a time in milliseconds, microseconds or nanoseconds, and for one in seconds that was taken for
milliseconds. The range of years is so small that at most one of them fits."""


def plausible_time(time: float | None) -> float | None:
    """Return the Unix time in seconds that a producer meant, or None if no unit gives a plausible time."""
    if time is None or _EARLIEST <= time < _LATEST:
        return time
    for unit in _UNITS:
        if _EARLIEST <= time * unit < _LATEST:
            return time * unit
    return None


def wall_time() -> float:
    """Return the Unix time in seconds, as the wall clock shows it."""
    return _read()


def use(read: Callable[[], float]) -> Callable[[], float]:
    """Read the time from this function from now on. Return the previous function."""
    global _read
    before, _read = _read, read
    return before
