"""Finds out whether the values of a list run from old to new, or from new to old. Pure.

A list does not tell when its values were pushed. Most bodies do, with a time or a number that counts up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final, NamedTuple, cast

from brokerkit._messages._delivery import Delivery
from brokerkit._messages._name_rules import parsed

_DEPTH: Final = 3
_FEWEST: Final = 4
"""With fewer values, a field may rise or fall by chance."""


class Running(NamedTuple):
    """A field whose values run one way through all messages.

    Attributes:
        field: its path.
        rises: whether it rises from the first message to the last.
    """

    field: str
    rises: bool


def running(deliveries: Sequence[Delivery]) -> Running | None:
    """Return the field that tells the direction; None if no field does, or if fields disagree."""
    values: dict[str, list[float]] = {}
    for delivery in deliveries:
        for path, value in _numbers(parsed(delivery), "", _DEPTH):
            values.setdefault(path, []).append(value)
    found: list[Running] = []
    for path, numbers in values.items():
        steps = [later > earlier for earlier, later in pairwise(numbers) if later != earlier]
        if len(steps) + 1 >= max(_FEWEST, len(deliveries) // 2) and len(set(steps)) == 1:
            found.append(Running(path, steps[0]))
    return found[0] if len({one.rises for one in found}) == 1 else None


def _numbers(value: Any, prefix: str, depth: int) -> Iterator[tuple[str, float]]:
    """Yield the numbers and times in an object, with their paths."""
    if not isinstance(value, dict) or not depth:
        return
    for name, inside in cast("dict[str, Any]", value).items():
        if isinstance(inside, dict):
            yield from _numbers(inside, f"{prefix}{name}.", depth - 1)
        elif (number := _number(inside)) is not None:
            yield prefix + name, number


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        if isinstance(value, str) and not value.isdecimal():
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        return float(cast("Any", value))
    except (TypeError, ValueError, OverflowError):
        return None
