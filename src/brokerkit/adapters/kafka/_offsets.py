"""Which offset of a partition may be committed: never beyond a message that is not done.

Kafka keeps one number for each partition, so a message that is still being handled holds back everything behind it.
Offsets have gaps (transaction markers, compaction): only offsets that were received count, never "the next one".
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Offsets(Generic[T]):
    """The unsettled messages of one partition, for as long as one assignment lasts.

    A new assignment gets an object of its own, so what was received under an older one can never be committed under it.

    Attributes:
        live: whether the partition is still ours; `revoke` ends it for good.
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
        """A message was received; offsets only rise."""
        self._open[offset] = item
        self._end = offset + 1

    def done(self, offset: int) -> bool:
        """A message is done. False if it was done or released before, or never received."""
        return self._open.pop(offset, None) is not None

    def release(self, offset: int) -> bool:
        """A message will not be handled here: it stays uncommitted, and nobody asks for it any more."""
        if self._open.pop(offset, None) is None:
            return False
        self._released = offset if self._released is None else min(offset, self._released)
        return True

    def revoke(self) -> None:
        """The partition is no longer ours."""
        self.live = False

    @property
    def position(self) -> int | None:
        """The offset to commit: the next one to be read by whoever comes after. None before the first message."""
        first = next(iter(self._open), self._end)
        return first if first is None or self._released is None else min(first, self._released)

    @property
    def unsettled(self) -> list[T]:
        """What was received and neither done nor released, in the order of offsets."""
        return list(self._open.values())

    def __repr__(self) -> str:
        state = "" if self.live else ", revoked"
        return f"<Offsets {self.topic}/{self.partition} at {self.position}, {len(self._open)} open{state}>"
