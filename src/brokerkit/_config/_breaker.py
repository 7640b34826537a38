"""When a source stops trying for a while because its handlers fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from pydantic import TypeAdapter

from brokerkit._config._retry_policy import error_class
from brokerkit._errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """A circuit breaker: when too many attempts fail, the source pauses, and tries one message now and then.

    Example::

        Breaker(errors=(ConnectionError,), probe_after=5)

    Args:
        failures: the share of failed attempts, above 0 and at most 1, that pauses the source. All attempts since the first
            failure within the window count.
        window: seconds after which a failure is forgotten.
        minimum: how many attempts must have been made.
        errors: the classes of errors that count; by default all, except `Reject`, `Retry` and errors about the message.
        probe_after: seconds until one message is tried. The wait doubles with each try that fails, up to ``cap``.
        cap: the longest wait in seconds.
    """

    failures: float = 0.5
    window: float = 30.0
    minimum: int = 20
    errors: tuple[type[BaseException], ...] = ()
    probe_after: float = 10.0
    cap: float = 60.0

    def __post_init__(self) -> None:
        if not 0 < self.failures <= 1:
            raise ConfigError(f"breaker.failures must be above 0 and at most 1, got {self.failures}")
        if self.minimum < 1:
            raise ConfigError(f"breaker.minimum must be at least 1, got {self.minimum}")
        for name in ("window", "probe_after", "cap"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"breaker.{name} must be above 0, got {getattr(self, name)}")
        for error in self.errors:
            if not (isinstance(error, type) and issubclass(error, BaseException)):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigError(f"breaker.errors: {error!r} is not a class of errors")


def as_breaker(value: object) -> object:
    """Make a breaker of a table from a file, whose errors are names of classes."""
    if not isinstance(value, dict):
        return value
    table = cast("dict[str, object]", value)
    known = Breaker.__dataclass_fields__
    if strange := [key for key in table if key not in known]:
        raise ValueError(f"{strange[0]!r} is not known; allowed are {', '.join(known)}")
    errors = table.get("errors", ())
    if not isinstance(errors, (list, tuple)):
        raise ValueError("errors must be a list of error classes")
    found = tuple(error_class(one, what="errors") for one in cast("list[object]", errors))
    return TypeAdapter(Breaker).validate_python({**table, "errors": found})
