"""The one backoff: waits that grow with each failure in a row, with jitter, up to a longest."""

from __future__ import annotations

import random


def longest_backoff(failures: int, *, first: float, cap: float, factor: float = 2.0) -> float:
    """Return the longest wait in seconds after this many failures in a row: ``first * factor ** (failures - 1)``.

    Args:
        failures: how many there were since the last success, 1 or more. The caller counts, and starts again after a
            success.
        first: seconds after the first failure.
        cap: seconds that no wait is longer than.
        factor: what each further wait is multiplied by.
    """
    try:
        return min(cap, first * factor ** (failures - 1))
    except OverflowError:  # hours of failures: the power is larger than any float
        return cap


def backoff(failures: int, *, first: float, cap: float, factor: float = 2.0) -> float:
    """Return the seconds to wait after this many failures in a row: random between half and all of `longest_backoff`.

    The jitter spreads the tries: what failed together does not come back together.
    """
    longest = longest_backoff(failures, first=first, cap=cap, factor=factor)
    return random.uniform(longest / 2, longest)
