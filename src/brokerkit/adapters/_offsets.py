"""Which offset of a partition or stream may be committed: never one behind a message that is not done.

There is one offset for each of them, kept by Kafka, or by the adapter for a stream. So a message that is still being
handled holds back everything behind it. Offsets have gaps (transaction markers, aborted messages, compaction): only
offsets that were received count, never "the next one", until the client says that the partition was read to its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Offsets(Generic[T]):
    """The unsettled messages of one partition, for as long as one assignment lasts.

    A new assignment gets a new object, so messages that were received under an older one can never be committed under
    it.

    Attributes:
        live: whether the partition is still ours; `revoke` ends that for good.
    """

    __slots__ = ("_end", "_open", "_released", "live", "partition", "topic")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.live = True
        # In the order of receipt, which is the order of offsets: the first key is the lowest offset that is not done.
        self._open: dict[int, T] = {}
        self._released: int | None = None  # the lowest one
        self._end: int | None = None

    def add(self, offset: int, item: T) -> None:
        """Note that a message was received. Offsets only rise."""
        self._open[offset] = item
        self._end = offset + 1

    def again(self, offset: int, item: T) -> None:
        """Note that a message that is not done is delivered again."""
        if offset in self._open:
            self._open[offset] = item

    def reach(self, end: int) -> bool:
        """Note that every readable message before this offset was received. Return False if that was known already."""
        if self._end is not None and self._end >= end:
            return False
        self._end = end
        return True

    def done(self, offsets: Iterable[int]) -> int:
        """Note that messages are done. Return how many were neither done nor released before, and were received."""
        opened = self._open
        before = len(opened)
        for offset in offsets:
            opened.pop(offset, None)
        return before - len(opened)

    def release(self, offset: int) -> bool:
        """Note that a message will not be handled here: it stays uncommitted."""
        if self._open.pop(offset, None) is None:
            return False
        self._released = offset if self._released is None else min(offset, self._released)
        return True

    def revoke(self) -> None:
        """Note that the partition is no longer ours."""
        self.live = False

    @property
    def position(self) -> int | None:
        """The offset to commit: the first one that the next reader gets. None before the first message."""
        first = next(iter(self._open), self._end)
        return first if first is None or self._released is None else min(first, self._released)

    def after(self, offset: int) -> int:
        """The position if everything up to this offset were done, which was received and not released."""
        end = offset + 1 if self._end is None else self._end
        first = next((other for other in self._open if other > offset), end)
        return first if self._released is None else min(first, self._released)

    @property
    def unsettled(self) -> list[T]:
        """The messages that were received and neither done nor released, by offset."""
        return list(self._open.values())

    def __repr__(self) -> str:
        state = "" if self.live else ", revoked"
        return f"<Offsets {self.topic}/{self.partition} at {self.position}, {len(self._open)} open{state}>"
