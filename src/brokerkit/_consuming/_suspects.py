"""Suspects: deliveries that came too often, and which of them may run next, alone. Pure, without I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from brokerkit._consuming._lanes import Key, Lanes
from brokerkit._messages._delivery import Delivery, State

_WAITING: Final = State.WAITING

_FEW: Final = 4
"""Deliveries of which none can be spared."""


def most_below(limit: int) -> int:
    """Deliveries up to which nothing is suspect where the broker delivers a message ``limit`` times at most.

    That is half of them: the rest is for lone starts, and for crashes of which a message is only a neighbour.
    """
    return max(1, (limit - 1) // 2)


def is_last(count: int, limit: int | None) -> bool:
    """Whether a message has to be kept elsewhere before it runs: it is lost if it comes back.

    That is one delivery earlier than it must be, where there are enough: the process may end while it is kept.

    Args:
        count: which delivery of it this is.
        limit: as for `most_below`; None for no limit.
    """
    return limit is not None and count >= (limit - 1 if limit > _FEW else limit)


class Suspects:
    """The deliveries of a source that have not started while some of them are suspects, in order of receipt.

    A delivery is a suspect if its broker has delivered it more than ``most`` times. This proves nothing: messages that
    were fetched together with one that kills the process were delivered as often.

    Args:
        most: a delivery with a higher count is a suspect.
        lanes: the lanes of the source; None if it keeps no order.
    """

    def __init__(self, *, most: int, lanes: Lanes | None) -> None:
        self.most = most
        self._lanes = lanes
        self._waiting: dict[Delivery, None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self._waiting)

    def __repr__(self) -> str:
        return f"<Suspects: {self.count} of {len(self)} waiting>"

    @property
    def count(self) -> int:
        """How many of the waiting deliveries are suspects."""
        return sum(delivery.count > self.most for delivery in self._waiting)

    @property
    def in_lanes(self) -> bool:
        """Whether a suspect waits in a lane, behind a message that waits for its next attempt."""
        return self._lanes is not None and any(delivery.count > self.most for delivery in self._lanes.waiting())

    def add(self, delivery: Delivery) -> None:
        """Let a delivery wait, suspect or not."""
        self._waiting[delivery] = None

    def remove(self, delivery: Delivery) -> None:
        """Remove a waiting delivery."""
        del self._waiting[delivery]

    def clear(self) -> list[Delivery]:
        """Return all waiting deliveries in order, and forget them."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    def drop_lost(self) -> list[Delivery]:
        """Return and forget deliveries that are no longer ours. Their lanes continue without them."""
        lost = [delivery for delivery in self._waiting if delivery.state is not _WAITING]
        for delivery in lost:
            del self._waiting[delivery]
        return lost

    def innocent(self) -> Delivery | None:
        """Return the first delivery that is no suspect and whose turn it is in its key; None if there is none."""
        lanes = self._lanes
        for delivery in self._waiting:
            is_first = lanes is None or delivery.key is None or delivery.lane is not None or delivery.key not in lanes
            if is_first and delivery.count <= self.most:
                return delivery
        return None

    def next(self) -> Delivery | None:
        """Return the delivery to run next; None if no suspect can run now.

        It is the first suspect, or a delivery of the same key that must be handled before it. If that key waits for a
        message that failed, the suspect joins the lane behind it, and returns from there.
        """
        lanes = self._lanes
        first: dict[Key, Delivery] = {}
        blocked: dict[Key, list[Delivery]] = {}
        for delivery in list(self._waiting):
            suspect, key = delivery.count > self.most, delivery.key
            if lanes is None or key is None or delivery.lane is not None:
                if suspect:
                    return delivery
            elif key not in lanes:
                if suspect:
                    return first.get(key, delivery)
                first.setdefault(key, delivery)
            elif not suspect:
                blocked.setdefault(key, []).append(delivery)
            elif (front := self._front(key)) is not None:
                return front
            else:
                for each in (*blocked.pop(key, ()), delivery):
                    lanes.enter(each, key)
                    del self._waiting[each]
        return None

    def _front(self, key: Key) -> Delivery | None:
        """Return the delivery that is first in its lane, if it waits here."""
        return next((delivery for delivery in self._waiting if delivery.lane == key), None)
