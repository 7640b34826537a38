"""Retry policies: how often a failing message is tried, and how long to wait before each try."""

from __future__ import annotations

import random
from dataclasses import dataclass

from brokerkit._errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with full jitter.

    The wait before attempt *n* + 1 is random between half and the whole of ``first * factor ** (n - 1)``, at most
    ``cap``: spread, so that many messages that failed at once do not come back at once.

    Args:
        attempts: how many times a handler is called for one message in all; 1 means no retry.
        first: seconds before the second attempt.
        factor: what each further wait is multiplied by.
        cap: the longest wait in seconds.
        jitter: whether waits are spread; without it each is the full figure.
    """

    attempts: int = 5
    first: float = 0.5
    factor: float = 2.0
    cap: float = 60.0
    jitter: bool = True

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ConfigError(f"retry.attempts must be at least 1, got {self.attempts}")
        if self.first < 0 or self.cap < 0:
            raise ConfigError(f"retry.first and retry.cap must not be negative, got {self.first} and {self.cap}")
        if self.factor < 1:
            raise ConfigError(f"retry.factor must be at least 1, got {self.factor}")

    def longest_wait(self, failures: int) -> float:
        """Seconds that the wait after the given number of failures can last at most."""
        try:
            return min(self.cap, self.first * self.factor ** (failures - 1))
        except OverflowError:
            return self.cap

    def wait(self, failures: int) -> float:
        """Seconds to wait after the given number of failures (1 after the first)."""
        longest = self.longest_wait(failures)
        return random.uniform(longest / 2, longest) if self.jitter else longest

    @property
    def longest_total(self) -> float:
        """Seconds that all waits of one message can last together."""
        total, before = 0.0, -1.0
        for failures in range(1, self.attempts):
            wait = self.longest_wait(failures)
            if wait == before:  # so are all that follow: a policy may have attempts without end
                return total + wait * (self.attempts - failures)
            total, before = total + wait, wait
        return total
