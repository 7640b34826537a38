"""A message in a simulated queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brokerkit._messages._delivery import Delivery
from brokerkit._messages._outgoing import Outgoing
from tests.simulation.link import SimulatedDelivery, number_of

if TYPE_CHECKING:
    from tests.simulation.queue_broker import QueueSource


class Entry:
    """A message in the queue.

    Attributes:
        holder: who has it.
        delivery: the delivery that counts.
        acknowledged: the delivery that was acknowledged.
        granted: when its lease began.
        silent: its holder never got it, or is gone.
    """

    def __init__(self, message: Outgoing, number: int, time: float, *, own: bool) -> None:
        self.message = message
        self.number = number
        self.time = time
        self.own = own
        self.count = 0
        self.starts = 0
        self.is_ready = True
        self.holder: QueueSource | None = None
        self.delivery: SimulatedDelivery | None = None
        self.acknowledged: Delivery | None = None
        self.granted = 0.0
        self.silent = False

    @property
    def lineage(self) -> int:
        return number_of(self.message.body)
