"""How many messages of a source, or of one handler, begin in a second."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, cast

from pydantic import TypeAdapter

from brokerkit._errors import ConfigError

_LOWEST: Final = 0.01
_HIGHEST: Final = 1_000_000.0
_LARGEST: Final = 1_000_000
_BURST: Final = 0.1
"""Seconds whose messages may begin at once where nobody says: a timer is a millisecond late, which must not cost rate."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate limit: no more messages begin, and the others wait in their order.

    Example::

        Rate(50, burst=100)

    Args:
        per_second: how many messages may begin in a second, from 0.01 to 1,000,000. Each attempt counts.
        burst: how many may begin at once after a time in which fewer came, up to 1,000,000. None for those of a tenth of a
            second, but at least one.
    """

    per_second: float
    burst: int | None = None

    def __post_init__(self) -> None:
        if not _is_number(self.per_second):
            raise ConfigError(f"rate.per_second must be a number, not a {type(self.per_second).__name__}")
        if not _LOWEST <= self.per_second <= _HIGHEST:  # also refuses NaN
            raise ConfigError(
                f"rate.per_second must be from {_LOWEST:g} to {_HIGHEST:,.0f} messages a second, got {self.per_second}"
                + ("; to let nothing begin, pause the source" if self.per_second == 0 else "")
            )
        if self.burst is None:
            return
        if not isinstance(self.burst, int) or isinstance(self.burst, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"rate.burst must be a whole number of messages, not a {type(self.burst).__name__}")
        if not 1 <= self.burst <= _LARGEST:
            raise ConfigError(f"rate.burst must be from 1 to {_LARGEST:,} messages, got {self.burst}")

    @property
    def at_once(self) -> int:
        """How many may begin at once."""
        return max(1, math.ceil(self.per_second * _BURST)) if self.burst is None else self.burst


def as_rate(value: object) -> object:
    """Make a rate of a table from a file; a plain number is its messages a second."""
    if isinstance(value, dict):
        table = cast("dict[str, object]", value)
        known = Rate.__dataclass_fields__
        if strange := [key for key in table if key not in known]:
            raise ValueError(f"{strange[0]!r} is not known; allowed are {', '.join(known)}")
        if "per_second" not in table:
            raise ValueError("per_second is missing: how many messages may begin in a second")
        return TypeAdapter(Rate).validate_python(table)
    if isinstance(value, str):
        try:
            return Rate(float(value))
        except ValueError:
            raise ValueError(f"{value!r} is not a number of messages a second") from None
    return Rate(cast("float", value)) if _is_number(value) else value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
