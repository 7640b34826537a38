"""The backlog of lanes: messages that wait in this process behind another one of their key. Pure, without I/O.

A hot key would fill `max_in_flight` with messages that wait for each other, and no slot would get a message of another
key. So the source may take in more than `max_in_flight` while slots are idle, up to a limit by number and by bytes. If
a topic has partitions, one that holds many such messages is paused, and the others continue.
"""

from __future__ import annotations

from typing import Any, Final

from brokerkit._messages._delivery import Delivery
from brokerkit.adapters.api import Partitions

_TIMES: Final = 16
"""The most deliveries in this process, in multiples of `max_in_flight`."""
_PARTITION_TIMES: Final = 4
"""The same for the backlog of one partition, which is then paused until half of it is handled. It is smaller, because
messages that are done behind a waiting one are repeated after a crash."""
_BYTES: Final = 64 * 2**20
"""Once the bodies in the backlog have this many bytes, nothing is taken in beyond `max_in_flight`."""


class Backlog:
    """The deliveries that wait behind the first one of their lane.

    Args:
        max_in_flight: the most deliveries at once while no lane has a backlog.
        concurrency: how many handlers run at once.
        partitions: pauses partitions; None if the broker has none.

    Attributes:
        bytes: bytes of the bodies that wait.
    """

    def __init__(self, *, max_in_flight: int, concurrency: int, partitions: Partitions | None) -> None:
        self.bytes = 0
        self._waiting: set[Delivery] = set()
        self._most = _TIMES * max_in_flight
        # More is requested when half of it is left. So there is a message for each slot, and one for it to continue
        # with.
        self._enough = min(4 * concurrency, max_in_flight)
        self._partitions = partitions
        self._full = _PARTITION_TIMES * max_in_flight
        self._counts: dict[Any, int] = {}
        self._paused: set[Any] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<Backlog: {len(self._waiting)} waiting, {self.bytes} bytes, {len(self._paused)} partitions paused>"

    def add(self, delivery: Delivery) -> None:
        """Add a delivery that must wait for another one of its key."""
        self._waiting.add(delivery)
        self.bytes += len(delivery.body or b"")
        if self._partitions is not None:
            token = delivery.token
            count = self._counts[token] = self._counts.get(token, 0) + 1
            if count >= self._full and token not in self._paused:
                self._paused.add(token)
                self._partitions.pause(token)

    def remove(self, delivery: Delivery) -> None:
        """Remove a delivery whose turn has come, or that is no longer ours. Does nothing if it does not wait."""
        if delivery not in self._waiting:
            return
        self._waiting.remove(delivery)
        self.bytes -= len(delivery.body or b"")
        if self._partitions is not None:
            token = delivery.token
            count = self._counts[token] = self._counts[token] - 1
            if count <= self._full // 2 and token in self._paused:
                self._paused.remove(token)
                self._partitions.resume(token)
            if not count:
                del self._counts[token]

    def room(self, *, in_flight: int, asked: int, held: int) -> int:
        """Return how many deliveries may be requested although `max_in_flight` are here.

        Args:
            in_flight: deliveries that are not settled.
            asked: deliveries that were requested and have not arrived.
            held: deliveries that wait for their next attempt.
        """
        busy = in_flight + asked - len(self._waiting) - held
        if busy > self._enough // 2 or self.bytes >= _BYTES:
            return 0
        return min(self._enough - busy, self._most - in_flight - asked)
