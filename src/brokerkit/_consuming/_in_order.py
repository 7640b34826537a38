"""Which outcomes may be settled by now, where the broker keeps one offset for a partition. Pure, without I/O.

What a transaction publishes and the offset that it commits must be about the same messages. So a message goes into a
transaction only when all messages before it, in its partition, are in this one or in an earlier one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

from brokerkit._messages._delivery import RELEASE, Delivery, Part, State


class InOrder:
    """Deliveries in order of receipt, for each `Delivery.token`, and the parts that wait for a delivery before them."""

    def __init__(self) -> None:
        self._queues: dict[Any, deque[Delivery]] = {}
        self._finished: dict[Delivery, Part] = {}
        # Behind a message that was given back, nothing can be committed: its offset comes first. False: it was lost.
        self._given_back: dict[Any, bool] = {}

    def __repr__(self) -> str:
        return f"<InOrder: {len(self._queues)} tokens, {len(self._finished)} wait for others>"

    def receive(self, batch: Sequence[Delivery]) -> None:
        """Remember the order of a batch."""
        queues, token, queue = self._queues, None, None
        for delivery in batch:
            if queue is None or delivery.token is not token:
                token = delivery.token
                queue = queues.get(token)
                if queue is None:
                    queue = queues[token] = deque()
            queue.append(delivery)

    def finish(self, part: Part) -> list[Part]:
        """An outcome is decided. Return what may be settled now."""
        self._finished[part.delivery] = part
        return self.advance(part.delivery.token)

    def advance(self, token: Any) -> list[Part]:
        """Return what may be settled of a token, because something before it is settled or lost."""
        queue, free = self._queues.get(token), list[Part]()
        while queue:
            part = self._finished.pop(queue[0], None)
            if part is not None:
                if token in self._given_back:
                    part = replace(part, outcome=RELEASE, messages=())
                if part.outcome is RELEASE:
                    self._given_back.setdefault(token, True)
                free.append(part)
            elif queue[0].state is State.LOST:
                # A delivery that has not begun is lost with its partition only, and so is all behind it.
                self._given_back[token] = False
            else:
                break
            queue.popleft()
        if queue is not None and not queue:
            del self._queues[token]
            if self._given_back.get(token) is False:
                del self._given_back[token]
        return free

    def put_back(self, parts: Sequence[Part], *, undecided: Container[Delivery]) -> None:
        """Put parts that are not settled before everything else of their token, in their order.

        Args:
            parts: all of one token.
            undecided: deliveries about which nothing is decided any more.
        """
        queue = self._queues.setdefault(parts[0].delivery.token, deque())
        queue.extendleft(part.delivery for part in reversed(parts))
        self._finished.update((part.delivery, part) for part in parts if part.delivery not in undecided)
