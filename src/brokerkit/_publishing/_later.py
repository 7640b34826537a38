"""When a message is to be delivered, and before which others: what was asked for, and what the broker can do."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from brokerkit import _clock
from brokerkit._errors import InvalidMessage, UnsupportedFeature
from brokerkit._messages._outgoing import Outgoing
from brokerkit.adapters.api import Capabilities

_OUTBOX = "write it with Outbox.publish, which keeps it until it is due"


def due_time(after: float | timedelta | None, at: datetime | None) -> float | None:
    """Return the Unix time in seconds at which a message is due; None for now.

    Args:
        after: seconds or a `timedelta` from now.
        at: a time with a time zone.

    Raises:
        InvalidMessage: both are given, or one is no such value.
    """
    if after is None and at is None:
        return None
    if after is not None and at is not None:
        raise InvalidMessage("after and at say the same: give one of them")
    now = _clock.wall_time()
    if at is not None:
        if at.tzinfo is None:
            raise InvalidMessage(f"at={at.isoformat()} has no time zone: write datetime.now(UTC) + ..., for example")
        due = at.timestamp()
    else:
        seconds = after.total_seconds() if isinstance(after, timedelta) else after
        if seconds is None or not math.isfinite(seconds) or seconds < 0:
            raise InvalidMessage(f"after must be a number of seconds that is not below 0, got {after!r}")
        due = now + seconds
    return due if due > now else None


class Later:
    """Puts time and priority into messages for one target.

    Args:
        promises: of the target's broker.
    """

    def __init__(self, promises: Capabilities) -> None:
        self._promises = promises

    def apply(
        self,
        outgoing: Outgoing,
        *,
        after: float | timedelta | None = None,
        at: datetime | None = None,
        priority: int | None = None,
    ) -> None:
        """Set `Outgoing.due` and `Outgoing.priority`.

        Raises:
            InvalidMessage: a value is wrong.
            UnsupportedFeature: the broker cannot do it.
        """
        broker = self._promises.broker
        if (due := due_time(after, at)) is not None:
            longest, wanted = self._promises.delays, due - _clock.wall_time()
            if not longest:
                raise UnsupportedFeature(broker=broker, feature="publishing later", alternative=_OUTBOX)
            if wanted > longest:
                feature = f"publishing {wanted:,.0f} s later, but {longest:,.0f} s at most"
                raise UnsupportedFeature(broker=broker, feature=feature, alternative=_OUTBOX)
            outgoing.due = due
        if priority is not None:
            if not self._promises.priorities:
                raise UnsupportedFeature(
                    broker=broker, feature="priorities", alternative="publish to a topic of its own what is urgent"
                )
            if not 0 <= priority <= 255:
                raise InvalidMessage(f"priority must be from 0 to 255, got {priority}")
            outgoing.priority = priority
