"""What is known of an existing queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Argument = str | int | bool


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """What the broker told of a queue.

    Attributes:
        kind: ``quorum``, ``classic`` or ``stream``; "" if this user may not declare the queue, which hides everything else.
        arguments: those that it was declared with, by name.
        auto_delete: it is deleted with its last consumer.
    """

    kind: str
    arguments: Mapping[str, Argument] = field(default_factory=dict[str, Argument])
    auto_delete: bool = False
