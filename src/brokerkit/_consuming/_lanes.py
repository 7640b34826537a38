"""Lanes: messages of one key one after another, messages of different keys side by side. Pure, without I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from brokerkit._message import WAITING, Delivery

Key = str | bytes


class Lanes:
    """The ordered queue of each key that has a message under way.

    A lane exists from the moment its first message enters until its last one leaves; a message that is alone in its lane
    costs one dictionary entry and no queue.
    """

    def __init__(self) -> None:
        self._behind: dict[Key, deque[Delivery] | None] = {}

    def enter(self, delivery: Delivery, key: Key) -> bool:
        """Take a place in the lane of a key. True where it is the first place: its handlers may run now."""
        delivery.lane = key
        if key not in self._behind:
            self._behind[key] = None
            return True
        waiting = self._behind[key]
        if waiting is None:
            waiting = self._behind[key] = deque[Delivery]()
        waiting.append(delivery)
        return False

    def leave(self, delivery: Delivery) -> Delivery | None:
        """Leave the lane; gives the next delivery that may run now. What was lost while it waited is passed over."""
        key = delivery.lane
        if key is None:
            return None
        delivery.lane = None
        waiting = self._behind[key]
        while waiting:
            following = waiting.popleft()
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
