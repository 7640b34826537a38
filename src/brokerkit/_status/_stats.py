"""Counts of what happened to the messages of a source."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(slots=True)
class Stats:
    """Counts of what happened to the messages of a source since consuming began.

    Attributes:
        received: deliveries, including repeated ones.
        handled: messages whose handlers are all done.
        failed: attempts that failed.
        retried: attempts that failed and will be followed by another.
        dead_lettered: messages that were stored as dead letters.
        skipped: messages that were acknowledged because no handler wants their name.
        tombstones: messages that were acknowledged because they have no value (null on Kafka) and no handler takes that.
        released: deliveries that were given back at a shutdown.
        lost: deliveries that the broker took away (rebalance, lease ended, connection lost) and delivers again.
        duplicates: handlers that did not run because their `Dedupe` says that the message is done, and messages that came
            again after this process was done with them.
        foreign: events that were handled although their body sets no field of their model.
        renewed: leases that were renewed, so that the broker gives their messages to nobody else.
        reconnects: how often the connection was lost, and came back.
    """

    received: int = 0
    handled: int = 0
    failed: int = 0
    retried: int = 0
    dead_lettered: int = 0
    skipped: int = 0
    tombstones: int = 0
    released: int = 0
    lost: int = 0
    duplicates: int = 0
    foreign: int = 0
    renewed: int = 0
    reconnects: int = 0

    def __add__(self, other: Stats) -> Stats:
        """Return the sums of both."""
        return Stats(**{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(Stats)})
