"""Prefix: what a broker that remembers one number for each partition will take as done. Pure, without I/O.

Such a broker (Kafka) gives everything behind the first message that is not done to the partition's next reader. To give
back a message that waits, while one behind it has begun, has that one handled twice; so those few are handled first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from brokerkit._message import Delivery, State

_OVER: Final = (State.SETTLED, State.LOST)
_MANY: Final = 16
"""Batches from which on it is worth a look which of them are over."""


class Prefix:
    """The batches of a source in order of receipt, as long as one before them is not over.

    The broker's number is kept for all deliveries with the same `Delivery.token`.
    """

    def __init__(self) -> None:
        self._batches: deque[Sequence[Delivery]] = deque()
        self._full = _MANY

    def __repr__(self) -> str:
        return f"<Prefix: {len(self._batches)} batches>"

    def add(self, batch: Sequence[Delivery]) -> None:
        """Remember a batch that was just received, and forget the first ones where nothing is open any more."""
        batches = self._batches
        while batches and _is_over(batches[0]):
            batches.popleft()
        batches.append(batch)
        if len(batches) >= self._full:
            self._shrink()

    def _shrink(self) -> None:
        """Keep no more than that there was something done behind a message that waits for long."""
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
        """What waits before a message of its token that has begun: given back, it would have that one handled twice.

        Args:
            held: those that wait for their next attempt. That may take long; what is behind one of them repeats anyway.
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
