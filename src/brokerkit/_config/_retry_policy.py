"""Retry policies: how often a failing message is tried, and how long to wait before each try."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from pydantic import TypeAdapter

from brokerkit._backoff import backoff, longest_backoff
from brokerkit._errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with equal jitter.

    The wait before attempt *n* + 1 is random between half of ``first * factor ** (n - 1)`` and all of it, at most ``cap``.
    The randomness keeps many messages that failed at once from coming back at once.

    Example::

        RetryPolicy(attempts=5, by_error={TimeoutError: RetryPolicy(attempts=20, cap=600), ValueError: None})

    Args:
        attempts: how many times a handler is called for one message, including the first; 1 means no retry.
        first: seconds before the second attempt.
        factor: what each further wait is multiplied by.
        cap: the longest wait in seconds.
        jitter: whether waits are random; without it, each wait is the full figure.
        by_error: other policies for classes of errors. None makes the message a dead letter at once. If several classes
            match, the one nearest to the error's own class decides. All failures of a message count, whichever policy
            decided about them.
    """

    attempts: int = 5
    first: float = 0.5
    factor: float = 2.0
    cap: float = 60.0
    jitter: bool = True
    by_error: Mapping[type[BaseException], RetryPolicy | None] = field(
        default_factory=dict[type[BaseException], "RetryPolicy | None"], hash=False
    )

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ConfigError(f"retry.attempts must be at least 1, got {self.attempts}")
        if self.first < 0 or self.cap < 0:
            raise ConfigError(f"retry.first and retry.cap must not be negative, got {self.first} and {self.cap}")
        if self.factor < 1:
            raise ConfigError(f"retry.factor must be at least 1, got {self.factor}")
        for error, policy in self.by_error.items():
            if not (isinstance(error, type) and issubclass(error, BaseException)):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigError(f"retry.by_error: {error!r} is not a class of errors")
            if policy is not None and policy.by_error:
                raise ConfigError(
                    f"retry.by_error: the policy for {error.__name__} has its own by_error, which is not allowed"
                )

    def for_error(self, error: BaseException) -> RetryPolicy | None:
        """The policy that decides about an error; None if the message is not to be tried again."""
        for kind in type(error).__mro__ if self.by_error else ():
            if kind in self.by_error:
                return self.by_error[kind]
        return self

    @property
    def policies(self) -> tuple[RetryPolicy, ...]:
        """The policy itself and its policies for classes of errors."""
        return (self, *(policy for policy in self.by_error.values() if policy is not None))

    def longest_wait(self, failures: int) -> float:
        """The longest that the wait after the given number of failures can be, in seconds."""
        return longest_backoff(failures, first=self.first, cap=self.cap, factor=self.factor)

    def wait(self, failures: int) -> float:
        """Seconds to wait after the given number of failures (1 after the first)."""
        wait = backoff if self.jitter else longest_backoff
        return wait(failures, first=self.first, cap=self.cap, factor=self.factor)

    @property
    def longest_total(self) -> float:
        """Seconds that all waits of one message can last together, whatever its errors are."""
        total, failures = 0.0, 1
        while left := [policy for policy in self.policies if failures < policy.attempts]:
            waits = [policy.longest_wait(failures) for policy in left]
            times = 1
            if waits == [policy.longest_wait(failures + 1) for policy in left]:
                # So are all that follow: a policy may have attempts without end.
                times = min(policy.attempts for policy in left) - failures
            total += max(waits) * times
            failures += times
        return total


def as_policy(value: object) -> object:
    """Make a policy of a table from a file; a plain number is its attempts."""
    if isinstance(value, dict):
        value = cast("dict[str, object]", value)
        known = RetryPolicy.__dataclass_fields__
        if strange := [key for key in value if key not in known]:
            raise ValueError(f"{strange[0]!r} is not known; allowed are {', '.join(known)}")
        by_error = value.get("by_error", {})
        if not isinstance(by_error, dict):
            raise ValueError("by_error must be a table of error classes")
        inside = {
            error_class(name): _policy_or_none(one) for name, one in cast("dict[object, object]", by_error).items()
        }
        return TypeAdapter(RetryPolicy).validate_python({**value, "by_error": inside})
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return RetryPolicy(attempts=int(value))
    return value


def _policy_or_none(value: object) -> object:
    """Read ``false`` as None, because TOML has no null."""
    return None if value is False else as_policy(value)


def error_class(name: object, *, what: str = "by_error") -> object:
    """The class with a dotted name (``"httpx.TimeoutException"``); a name without a dot is a built-in class.

    Raises:
        ValueError: there is no such class; the text begins with ``what``.
    """
    if not isinstance(name, str):
        return name
    module, _, attribute = name.rpartition(".")
    try:
        found: object = getattr(importlib.import_module(module or "builtins"), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{what}: there is no {name!r} ({error})") from error
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise ValueError(f"{what}: {name!r} is not a class of errors")
    return found
