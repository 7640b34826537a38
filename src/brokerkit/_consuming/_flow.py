"""The flow of one source: which of its deliveries may start, how they end, and how much room is left.

A delivery enters by `begin`, or directly through the `inbox`. The executor takes it from `ready`. It leaves by `handled`,
`finish` or `settle`, and makes room when the broker has answered the settlement.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Final, Protocol

from brokerkit._consuming._backlog import Backlog
from brokerkit._consuming._batches import Batches
from brokerkit._consuming._lanes import Lanes
from brokerkit._consuming._settlement import Settling
from brokerkit._consuming._suspects import Suspects
from brokerkit._errors import BrokerkitError
from brokerkit._guard import Failed, guarded
from brokerkit._messages._delivery import ACK, RELEASE, Delivery, Outcome, RetryLater, Settled
from brokerkit._status._figures import SourceFigures
from brokerkit._status._health import Status
from brokerkit._status._hooks import Hooks, Kind

_AT_ONCE: Final = 2
"""How many slots one call wakes. Each of them wakes as many, so a thousand run within ten turns of the loop."""


class Inbox(Protocol):
    """Takes deliveries that may be handled."""

    def append(self, delivery: Delivery, /) -> None:
        """Take a delivery."""
        ...

    def appendleft(self, delivery: Delivery, /) -> None:
        """Take a delivery, before all others."""
        ...


class Ready(Protocol):
    """What slots take from."""

    def __bool__(self) -> bool: ...
    def __len__(self) -> int: ...
    def popleft(self) -> Delivery:
        """Take the next delivery, if there is one."""
        ...


class Limits(Protocol):
    """The rate limits of a source: see `RateLimits`."""

    @property
    def gate(self) -> Ready:
        """What slots take from instead of `Flow.ready`."""
        ...

    @property
    def waiting(self) -> Mapping[Delivery, object]:
        """The deliveries that wait for a limit."""
        ...

    def let_go(self, delivery: Delivery) -> bool:
        """Forget a delivery. Return False if it does not wait there."""
        ...

    def waiting_by_handler(self) -> Mapping[str, int]:
        """Return how many deliveries wait for the limit of each handler that has one."""
        ...

    def wait(self) -> float:
        """Return the seconds after which any message may begin; 0 if it may now."""
        ...


class SuspectInbox(Inbox, Protocol):
    """Takes deliveries that came too often: see `Isolation`."""

    on: bool
    """Whether suspects run alone, and nothing else starts; or nothing at all."""

    paused: bool
    """Whether nothing starts at all."""

    @property
    def suspects(self) -> Suspects:
        """The deliveries that wait there."""
        ...

    def learn_limits(self) -> None:
        """Find out how many deliveries the broker allows."""
        ...

    def is_last(self, delivery: Delivery) -> bool:
        """Whether the broker takes a message away if it comes back."""
        ...

    def save(self, delivery: Delivery) -> None:
        """Make a dead letter of one that would be lost."""
        ...

    def forget(self, delivery: Delivery) -> None:
        """Forget a message that is finished, or has become another message."""
        ...


class Flow:
    """The deliveries of one source that are in this process.

    Args:
        max_in_flight: the most deliveries that are unsettled at once, not counting the backlog of lanes.
        most_deliveries: a message with more deliveries is a suspect.
        backlog: the deliveries that wait in lanes.
        ordered: whether messages of one key are handled one after another.
        copies_retries: whether a retry through the broker is another message there.
        figures: the source's.
        status: the source's.
        hooks: told of what is rare.
        crashed: called with a defect in this module, which ends the source.

    Attributes:
        ready: the deliveries that the executor takes next.
        inbox: takes deliveries that may be handled: `ready`, or the isolation while there are suspects.
        limits: keeps what may not begin yet, between `ready` and the slots; None if there are no limits.
        batches: what handlers of batches wait for.
        idle: slots of the executor that wait for work.
        settlement: tells the broker; set when the consumer is made, as `isolation` is.
        in_flight: deliveries that are not settled.
        asked: deliveries that were requested and have not arrived.
        settlements: how many settlements the broker has confirmed.
    """

    settlement: Settling
    isolation: SuspectInbox

    def __init__(
        self,
        *,
        max_in_flight: int,
        most_deliveries: int,
        backlog: Backlog,
        ordered: bool,
        copies_retries: bool,
        figures: SourceFigures,
        status: Status,
        hooks: Hooks,
        crashed: Failed,
    ) -> None:
        self.max_in_flight = max_in_flight
        self.most_deliveries = most_deliveries
        self.backlog = backlog
        self.lanes = Lanes(backlog)
        self.ordered = ordered
        self.figures = figures
        self.stats = figures.stats
        self.ready: deque[Delivery] = deque()
        self.inbox: Inbox = self.ready
        self.limits: Limits | None = None
        self.batches = Batches(
            self.ready,
            lanes=self.lanes if ordered else None,
            wake=self.wake,
            is_suspect=lambda delivery: delivery.count > self.most_deliveries,
            crashed=crashed,
        )
        self.idle: list[asyncio.Future[None]] = []
        self.in_flight = 0
        self.asked = 0
        self.settlements = 0
        self._copies_retries = copies_retries
        self._status = status
        self._hooks = hooks
        self._crashed = crashed
        self._loop = asyncio.get_running_loop()
        self._pollers: list[asyncio.Future[None]] = []
        self._watchers: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        return f"<Flow: {self.in_flight} in flight, {len(self.ready)} ready, {self.lanes!r}>"

    # ---- in --------------------------------------------------------------------------------------------------

    def room(self, held: int) -> int:
        """Return how many deliveries may be requested now.

        Args:
            held: how many deliveries wait here for their next attempt.
        """
        room = self.max_in_flight - self.in_flight - self.asked
        if room <= 0 and self.backlog and not (self.limits is not None and self.limits.waiting):
            return self.backlog.room(in_flight=self.in_flight, asked=self.asked, held=held)
        return room

    def begin(self, delivery: Delivery) -> None:
        """Handle a delivery once its lane is free."""
        (self.isolation if delivery.count > self.most_deliveries else self.inbox).append(delivery)
        self.wake(1)

    def wake(self, count: int) -> None:
        """Wake idle slots for this many deliveries in `ready`. They wake others while something is left.

        Waking a slot for each delivery would cost more than a handler that never waits: one slot would have handled
        them all.
        """
        idle, count = self.idle, min(count, _AT_ONCE)
        while count > 0 and idle:
            waiter = idle.pop()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    def is_under_way(self, key: str | bytes) -> bool:
        """Whether a message of this key runs or waits. It joins its lane only when a slot takes it."""
        received = (*self.ready, *self.isolation.suspects)
        return key in self.lanes or any(waiting.key == key for waiting in received)

    # ---- out -------------------------------------------------------------------------------------------------

    def handled(self, delivery: Delivery) -> None:
        """Acknowledge a delivery whose handlers are all done, and start the next message of its key."""
        self.stats.handled += 1
        self.settlement.add(delivery, ACK)
        if delivery.lane is not None and (following := self.lanes.leave(delivery)) is not None:
            # No slot need be woken for it: the slot that calls this looks for its next delivery now. It goes first, because
            # it came before all deliveries that no slot has taken yet.
            self.inbox.appendleft(following)

    def skip(self, delivery: Delivery) -> None:
        """Acknowledge and count a message that no handler wants."""
        self.stats.skipped += 1
        self.finish(delivery, ACK)

    def skip_tombstone(self, delivery: Delivery) -> None:
        """Acknowledge and count a message without a value that no handler takes. On Kafka, its key is deleted."""
        self.stats.tombstones += 1
        self.finish(delivery, ACK)

    def duplicate(self, delivery: Delivery) -> None:
        """Count a handler that did not run because it is done with the message, and tell the hooks."""
        self.stats.duplicates += 1
        self.tell("duplicate", delivery)

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Settle a delivery with this outcome."""
        self.settlement.add(delivery, outcome)
        if outcome is ACK:
            self.isolation.forget(delivery)

    def finish(self, delivery: Delivery, outcome: Outcome) -> None:
        """Settle a delivery with this outcome, and start the next message of its key.

        If the delivery goes back to the broker, the lane stays closed until the broker has it. A FIFO queue takes back the
        later messages of the key too, and they must not have begun by then.
        """
        self.settlement.add(delivery, outcome)
        if delivery.lane is not None and not isinstance(outcome, RetryLater):
            self.advance(delivery)

    def advance(self, delivery: Delivery) -> None:
        """Leave the lane, and start the next message in it."""
        if (following := self.lanes.leave(delivery)) is not None:
            (self.isolation if following.count > self.most_deliveries else self.inbox).appendleft(following)
            self.wake(1)

    # ---- what the broker answers -----------------------------------------------------------------------------

    def acknowledged(self, count: int) -> None:
        """Make room for this many acknowledged deliveries."""
        self.settlements += count
        self.forget(count)

    def settled(self, delivery: Delivery, outcome: Outcome, answer: Settled) -> None:
        """Take the broker's answer for a delivery that is not simply acknowledged."""
        if answer is Settled.LOST:
            self.stats.lost += 1
            self.tell("lost", delivery)
        elif outcome is RELEASE:
            self.stats.released += 1
        else:
            self.settlements += 1
        if isinstance(outcome, RetryLater):
            # Drop first what the source reports as lost at the same time, which it does in another task.
            self._loop.call_soon(guarded(self.advance, self._crashed), delivery)
            if self._copies_retries:
                self.isolation.forget(delivery)  # Its copy is another message.
        self.forget()

    def forget(self, count: int = 1) -> None:
        """Make room for this many deliveries that are no longer ours."""
        self.in_flight -= count
        self.wake_pollers()
        self.tell_progress()

    # ---- waiting ---------------------------------------------------------------------------------------------

    async def wait_for_room(self, held: int) -> None:
        """Wait until there may be room.

        Args:
            held: as for `room`.
        """
        if not self.asked:
            self.batches.close_if_alone(self.in_flight - len(self.backlog) - held)
        poller: asyncio.Future[None] = self._loop.create_future()
        self._pollers.append(poller)
        await poller

    def wake_pollers(self) -> None:
        """Make the pollers check for room."""
        _resolve(self._pollers)

    def out_of_work(self) -> None:
        """Note an idle slot, and request more if the deliveries that are here wait for each other."""
        if self._pollers and self.backlog:
            self.wake_pollers()

    def tell_progress(self) -> None:
        """Wake the tasks that wait for a change."""
        _resolve(self._watchers)

    async def progress(self, timeout: float | None = None) -> None:
        """Wait until something was settled or held, at most ``timeout`` seconds."""
        watcher: asyncio.Future[None] = self._loop.create_future()
        self._watchers.append(watcher)
        await asyncio.wait([watcher], timeout=timeout)

    # ---- what others are told --------------------------------------------------------------------------------

    def tell(
        self, kind: Kind, delivery: Delivery, *, error: BaseException | None = None, wait: float | None = None
    ) -> None:
        """Tell the hooks what happened to a message."""
        if self._hooks:
            retry_state = delivery.retry_state
            self._status.tell(
                kind,
                topic=delivery.topic,
                event=delivery.name,
                message_id=delivery.origin,
                attempt=retry_state.failures if retry_state else 0,
                error=error,
                wait=wait,
            )

    def block(self, what: str, error: BrokerkitError | None) -> None:
        """Note that something is refused again and again; None if it no longer is."""
        if error is None:
            self._status.unblock(what)
        else:
            self._status.block(what, error)


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    while futures:
        if not (future := futures.pop()).done():
            future.set_result(None)
