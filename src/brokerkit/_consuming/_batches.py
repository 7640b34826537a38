"""Batches of one source: which deliveries wait for a handler of batches, and when a batch is handled.

A batch is open while it takes deliveries. It is closed when it has its size, when its time is over, and when nothing more
can come. A closed batch is announced to the slots by a mark in `Flow.ready`: a delivery that nobody settles. A delivery of a
batch waits like any other: it can be given back or lost until a slot takes the batch.

Deliveries of one key may be in one batch, in their order. They share the lane of their key, and the next one begins when all
of them have left it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Container
from typing import Final

from brokerkit._consuming._lanes import Key, Lanes
from brokerkit._consuming._routes import Call, route_of
from brokerkit._guard import Failed, guarded
from brokerkit._handlers._batch import Batch
from brokerkit._messages._delivery import Delivery, State

_WAITING: Final = State.WAITING
_SOON: Final = 0.02


def batch_of(call: Call) -> Batch:
    """Return how the handler of a call takes batches."""
    batch = call.handler.batch
    assert batch is not None  # only such calls are collected for
    return batch


class Collected:
    """One batch.

    Attributes:
        call: the handler that gets it.
        deliveries: in the order in which they came.
        keys: how many of its deliveries are in the lane of each key.
        timer: closes it.
    """

    __slots__ = ("call", "deliveries", "keys", "size", "timer")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.deliveries: list[Delivery] = []
        self.size = batch_of(call).size
        self.keys: dict[Key, int] = {}
        self.timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Collected: {len(self.deliveries)} of {self.size} for {self.call.handler.name}>"


class Batches:
    """The batches of one source that no slot has taken yet.

    Args:
        ready: where the slots look for work.
        lanes: the lanes of the source; None if it keeps no order.
        wake: wakes idle slots for this many entries of ``ready``.
        is_suspect: whether a delivery came so often that it must run alone.
        crashed: told of a defect in here, which ends the source.
    """

    def __init__(
        self,
        ready: deque[Delivery],
        *,
        lanes: Lanes | None,
        wake: Callable[[int], None],
        is_suspect: Callable[[Delivery], bool],
        crashed: Failed,
    ) -> None:
        self._ready = ready
        self._lanes = lanes
        self._wake = wake
        self._is_suspect = is_suspect
        self._crashed = crashed
        self._loop = asyncio.get_running_loop()
        self._open: dict[Call, Collected] = {}
        self._closed: dict[Delivery, Collected] = {}

    def __repr__(self) -> str:
        return f"<Batches: {list(self._open.values())} open, {list(self._closed.values())} closed>"

    @property
    def waiting(self) -> list[Delivery]:
        """The deliveries of all batches that no slot has taken. Any thread may ask."""
        batches = (*list(self._closed.values()), *list(self._open.values()))
        return [each for batch in batches for each in list(batch.deliveries) if each.state is _WAITING]

    @property
    def are_all_that_is_ready(self) -> bool:
        """Whether no message waits for a slot that may have to be handled before one that is added now."""
        return len(self._ready) <= len(self._closed)

    def add(self, delivery: Delivery, call: Call) -> None:
        """Take a waiting delivery into the open batch of a handler, or let it wait behind its key."""
        lanes, key = self._lanes, delivery.key
        was_first = delivery.lane is not None
        if lanes is not None and key is not None and not was_first:
            opened = self._open.get(call)
            # Most messages of one key follow each other, and need not wait behind each other for a moment. One that failed
            # before may have to.
            sharers = 0 if opened is None or delivery.retry_state is not None else opened.keys.get(key, 0)
            if not (sharers and lanes.join(delivery, key, sharers)) and not lanes.enter(delivery, key):
                self.add_waiting(call, key)
                return
        batch = self._open.get(call) or self._begin(call)
        deliveries = batch.deliveries
        deliveries.append(delivery)
        if lanes is not None and key is not None:
            batch.keys[key] = batch.keys.get(key, 0) + 1
        if len(deliveries) >= batch.size:
            self._close(call)
        elif was_first and key is not None:
            self.add_waiting(call, key)

    def _begin(self, call: Call) -> Collected:
        batch = self._open[call] = Collected(call)
        within = batch_of(call).within
        batch.timer = self._loop.call_later(within, guarded(self._time_is_over, self._crashed), call, batch)
        return batch

    def add_waiting(self, call: Call, key: Key) -> None:
        """Take what waits in a lane, and is for this handler alone, into the open batch that has all in front of it."""
        batch, lanes = self._open.get(call), self._lanes
        if lanes is None or batch is None or not (sharers := batch.keys.get(key, 0)):
            return
        now = self._loop.time()

        def belongs(delivery: Delivery) -> bool:
            retry_state = delivery.retry_state
            return (
                route_of(delivery).batch is call
                and (retry_state is None or retry_state.due - now <= _SOON)
                and not self._is_suspect(delivery)
            )

        while (following := lanes.share_next(key, sharers, belongs)) is not None:
            batch.deliveries.append(following)
            sharers += 1
            if len(batch.deliveries) >= batch.size:
                self._close(call)
                return
        batch.keys[key] = sharers

    def _time_is_over(self, call: Call, batch: Collected) -> None:
        if self._open.get(call) is batch:
            self._close(call)
            self._wake(1)

    def _close(self, call: Call) -> None:
        batch = self._open.pop(call)
        if batch.timer is not None:
            batch.timer.cancel()
        mark = Delivery(body=None, topic="")
        mark.state = State.SETTLED
        self._closed[mark] = batch
        self._ready.append(mark)

    def take(self, mark: Delivery) -> Collected | None:
        """Return the closed batch that a mark announces, and forget it; None if this is no mark, or one of a batch that
        was taken.
        """
        return self._closed.pop(mark, None)

    def close_all(self) -> bool:
        """Have all batches handled at once, and announce again those that were closed. False if there is none."""
        for call in list(self._open):
            self._close(call)
        self._ready.extend(mark for mark in self._closed if mark not in self._ready)
        self._wake(len(self._closed))
        return bool(self._closed)

    def close_with(self, deliveries: Container[Delivery]) -> set[Delivery]:
        """Have the open batches handled at once that have any of these deliveries, and return those that they have."""
        found = set[Delivery]()
        for call, batch in list(self._open.items()):
            if there := [each for each in batch.deliveries if each in deliveries]:
                found.update(there)
                self._close(call)
        self._wake(len(self._closed))
        return found

    def close_if_alone(self, others: int) -> None:
        """Close the open batches if no other message is here that could make room for more.

        Args:
            others: how many unsettled deliveries are neither held nor behind their key.
        """
        if self._open and others <= sum(len(batch.deliveries) for batch in self._open.values()):
            self.close_all()

    def dissolve(self) -> list[Delivery]:
        """Forget all batches, and return those of their deliveries that may begin, in order, as single ones.

        Of each key that is the first. The others wait behind it.
        """
        batches = [*self._closed.values(), *self._open.values()]
        self._closed.clear()
        self._open.clear()
        found, behind = list[Delivery](), dict[Key, list[Delivery]]()
        for batch in batches:
            if batch.timer is not None:
                batch.timer.cancel()
            for delivery in batch.deliveries:
                if delivery.state is not _WAITING:
                    if self._lanes is not None and (following := self._lanes.leave(delivery)) is not None:
                        found.append(following)
                elif delivery.lane is None:
                    found.append(delivery)
                elif delivery.lane in behind:
                    behind[delivery.lane].append(delivery)
                else:
                    behind[delivery.lane] = []
                    found.append(delivery)
        for key, deliveries in behind.items():
            if self._lanes is not None:
                self._lanes.put_back(key, deliveries)
        return found
