"""Lanes: messages of one key one after another, messages of different keys side by side. Pure, without I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from brokerkit._consuming._backlog import Backlog
from brokerkit._messages._delivery import WAITING, Delivery

Key = str | bytes


class _Shared(deque[Delivery]):
    """What waits in a lane that several deliveries share.

    Attributes:
        others: how many are in front beside one.
    """

    __slots__ = ("others",)

    def __init__(self, waiting: Sequence[Delivery]) -> None:
        super().__init__(waiting)
        self.others = 0


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
        if waiting is not None:
            if waiting.__class__ is _Shared and not _leave_shared(waiting):
                return None
            while waiting:
                following = waiting.popleft()
                self._backlog.remove(following)
                if following.state is WAITING:
                    return following
                following.lane = None
        del self._behind[key]
        return None

    # ---- several deliveries of one key in one batch ----------------------------------------------------------

    def share_next(self, key: Key, sharers: int, belongs: Callable[[Delivery], bool]) -> Delivery | None:
        """Let the first one that waits join those in front, and return it.

        Args:
            key: the lane's.
            sharers: how many of those in front it may join.
            belongs: whether a delivery may join.

        Returns:
            None if there is none, it does not belong to them, or the lane has another one in front.
        """
        waiting = self._behind[key]
        while waiting and waiting[0].state is not WAITING:
            lost = waiting.popleft()
            self._backlog.remove(lost)
            lost.lane = None
        if not waiting or self._in_front(key) != sharers or not belongs(waiting[0]):
            return None
        shared = self._make_shared(key)
        following = shared.popleft()
        self._backlog.remove(following)
        shared.others += 1
        return following

    def join(self, delivery: Delivery, key: Key, sharers: int) -> bool:
        """Join those in front of a lane without waiting behind them. False if something else waits or is in front.

        Args:
            delivery: is in no lane.
            key: the lane's.
            sharers: how many of those in front it may join.
        """
        if key not in self._behind or self._behind[key] or self._in_front(key) != sharers:
            return False
        delivery.lane = key
        self._make_shared(key).others += 1
        return True

    def put_back(self, key: Key, deliveries: Sequence[Delivery]) -> None:
        """Let some of those in front of a lane wait behind the others again, before all that wait, in this order."""
        if deliveries:
            shared = self._make_shared(key)
            shared.others -= len(deliveries)
            shared.extendleft(reversed(deliveries))
            for delivery in deliveries:
                self._backlog.add(delivery)

    def _in_front(self, key: Key) -> int:
        waiting = self._behind[key]
        return 1 + waiting.others if isinstance(waiting, _Shared) else 1

    def _make_shared(self, key: Key) -> _Shared:
        waiting = self._behind[key]
        if not isinstance(waiting, _Shared):
            waiting = self._behind[key] = _Shared(waiting or ())
        return waiting

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


def _leave_shared(waiting: deque[Delivery]) -> bool:
    """Whether nobody is left in front of a lane when one leaves it."""
    assert isinstance(waiting, _Shared)
    if waiting.others:
        waiting.others -= 1
        return False
    return True
