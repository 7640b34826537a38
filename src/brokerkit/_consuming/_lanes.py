"""Lanes: messages of one key one after another, messages of different keys side by side. Pure, without I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from brokerkit._consuming._backlog import Backlog
from brokerkit._messages._delivery import WAITING, Delivery

Key = str | bytes


class Lanes:
    """The ordered queues of all keys that have a message in progress.

    A lane exists from when its first message enters until its last one leaves. A message that is alone in its lane
    costs one dictionary entry and no queue.

    Args:
        backlog: counts the deliveries behind the first one of their lane.
    """

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._behind: dict[Key, deque[Delivery] | None] = {}

    def enter(self, delivery: Delivery, key: Key) -> bool:
        """Join the lane of a key. Return True if the lane was empty, so that its handlers may run now."""
        delivery.lane = key
        if key not in self._behind:
            self._behind[key] = None
            return True
        waiting = self._behind[key]
        if waiting is None:
            waiting = self._behind[key] = deque[Delivery]()
        waiting.append(delivery)
        self._backlog.add(delivery)
        return False

    def leave(self, delivery: Delivery) -> Delivery | None:
        """Leave the lane; return the next delivery, which may run now. Deliveries that were lost meanwhile are skipped."""
        key = delivery.lane
        if key is None:
            return None
        delivery.lane = None
        waiting = self._behind[key]
        while waiting:
            following = waiting.popleft()
            self._backlog.remove(following)
            if following.state is WAITING:
                return following
            following.lane = None
        del self._behind[key]
        return None

    def waiting(self) -> Iterator[Delivery]:
        """All deliveries that wait behind the first one of their lane."""
        for deliveries in self._behind.values():
            yield from deliveries or ()

    def __contains__(self, key: Key) -> bool:
        return key in self._behind

    def __len__(self) -> int:
        return len(self._behind)

    def __repr__(self) -> str:
        return f"<Lanes: {len(self._behind)} keys, {sum(1 for _ in self.waiting())} waiting>"
