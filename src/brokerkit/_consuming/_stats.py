"""What became of a source's messages, counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Stats:
    """What became of a source's messages, counted since the start.

    Attributes:
        received: deliveries, those that come again included.
        handled: all handlers are done.
        failed: attempts that failed.
        retried: attempts that failed and are tried again.
        dead_lettered: stored as dead letters.
        skipped: acknowledged because no handler wants the name.
        released: given back at shutdown.
        lost: taken away by the broker (rebalance, lease over, connection gone): somebody gets them again.
        duplicates: handlers that did not run, because their `Dedupe` has the message as done.
    """

    received: int = 0
    handled: int = 0
    failed: int = 0
    retried: int = 0
    dead_lettered: int = 0
    skipped: int = 0
    released: int = 0
    lost: int = 0
    duplicates: int = 0
