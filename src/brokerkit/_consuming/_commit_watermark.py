"""The commit watermark: which deliveries a broker repeats that keeps one offset for each partition. Pure, without I/O.

It commits nothing; the adapter does. Such a broker (Kafka) gives the next reader of the partition everything from the
first message that is not done. If a waiting message were given back while a later one has started, the later one would
be handled twice. So such waiting messages are handled first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from brokerkit._messages._delivery import Delivery, State

_OVER: Final = (State.SETTLED, State.LOST)
_MANY: Final = 16
"""From this many batches on, look for batches that are finished."""


class CommitWatermark:
    """The batches of a source in order of receipt. A batch stays while an earlier one is unfinished.

    The broker keeps one offset for all deliveries with the same `Delivery.token`.
    """

    def __init__(self) -> None:
        self._batches: deque[Sequence[Delivery]] = deque()
        self._full = _MANY

    def __repr__(self) -> str:
        return f"<CommitWatermark: {len(self._batches)} batches>"

    def add(self, batch: Sequence[Delivery]) -> None:
        """Remember a batch that was just received, and forget the first ones if they are finished."""
        batches = self._batches
        while batches and _is_over(batches[0]):
            batches.popleft()
        batches.append(batch)
        if len(batches) >= self._full:
            self._shrink()

    def _shrink(self) -> None:
        """Keep only one done delivery of each token behind a message that waits for a long time."""
        kept: deque[Sequence[Delivery]] = deque()
        done: dict[Any, Delivery] = {}
        for batch in self._batches:
            if _is_over(batch):
                done.update((one.token, one) for one in batch if one.state is State.SETTLED)
                continue
            if done:
                kept.append(list(done.values()))
                done = {}
            kept.append(batch)
        if done:
            kept.append(list(done.values()))
        self._batches = kept
        self._full = max(_MANY, 2 * len(kept))

    def before_started(self, held: AbstractSet[Delivery]) -> set[Delivery]:
        """Return waiting deliveries before a started one of the same token. Giving them back would repeat the started
        one.

        Args:
            held: deliveries that wait for their next attempt. That may take long, so messages behind them are repeated
                anyway.
        """
        needed: set[Delivery] = set()
        waiting: dict[Any, list[Delivery]] = {}
        repeats: set[Any] = set()
        for batch in self._batches:
            for delivery in batch:
                token = delivery.token
                if delivery.state is State.LOST or token in repeats:
                    continue
                if delivery in held:
                    repeats.add(token)
                elif delivery.state is State.WAITING:
                    waiting.setdefault(token, []).append(delivery)
                else:
                    needed.update(waiting.pop(token, ()))
        return needed


def _is_over(batch: Sequence[Delivery]) -> bool:
    return all(delivery.state in _OVER for delivery in batch)
