"""Rate limits: let no more messages of a source, or for one handler, begin in a second than they are allowed to.

A message waits before its first handler, as a whole: until the source and each handler that it has left may begin one
more. It waits at the front of its lane, so its key stays in order. For each limit, messages begin in the order in which
they came there. So a message with several limits is passed by none that shares one of them, and its turn always comes.

A source without limits has none of this: its slots take what is ready.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Final

from brokerkit._config._rate import Rate
from brokerkit._consuming._flow import Flow
from brokerkit._consuming._routes import route_of
from brokerkit._guard import Failed, guarded
from brokerkit._messages._delivery import WAITING, Delivery

_LONGEST_WAIT: Final = 300.0
"""Seconds for which the last of the messages that are here waits for its turn, if all of them have one limit. RabbitMQ
ends a channel whose message takes half an hour, and each message that comes back counts as delivered."""
_EARLY: Final = 1e-6
"""Seconds by which a message may begin too early, because a timer may. The next ones do not begin earlier for that."""


class Limit:
    """One limit: at most so many at once, and then one more in each interval.

    It knows when all that have begun would have begun one interval after another. That may be later than now, by the burst.

    Args:
        rate: how many.

    Attributes:
        waiting: what waits for it, in order. Some may be gone.
    """

    def __init__(self, rate: Rate) -> None:
        self._interval = 1.0 / rate.per_second
        self._ahead = (rate.at_once - 1) * self._interval
        self._until = -math.inf
        self.waiting: deque[Delivery] = deque()

    def __repr__(self) -> str:
        return f"<Limit of {1 / self._interval:g} a second: {len(self.waiting)} waiting>"

    @property
    def free_at(self) -> float:
        """The time of the loop at which one more may begin."""
        return self._until - self._ahead

    def take(self, now: float) -> None:
        """Count one that begins now."""
        self._until = max(self._until, now) + self._interval


class RateLimits:
    """The limits of one source, and the messages that wait for them.

    Args:
        flow: the source's.
        own: the source's limit, if it has one.
        handlers: the limits of its handlers, by name.
        crashed: told of a defect in here, which ends the source.

    Attributes:
        waiting: what waits here, with its limits, in order.
        gate: what slots take from.
    """

    def __init__(self, flow: Flow, *, own: Rate | None, handlers: Mapping[str, Rate], crashed: Failed) -> None:
        self._flow = flow
        self._own = () if own is None else (Limit(own),)
        self._of_handlers = {name: Limit(rate) for name, rate in handlers.items()}
        self._limits = (*self._own, *self._of_handlers.values())
        self._crashed = crashed
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.waiting: dict[Delivery, Sequence[Limit]] = {}
        self.gate = Gate(self, flow.ready)

    def __repr__(self) -> str:
        return f"<RateLimits: {len(self._limits)} limits, {len(self.waiting)} waiting>"

    def let_go(self, delivery: Delivery) -> bool:
        """Forget a message that waits here. Return False if it does not."""
        if self.waiting.pop(delivery, None) is None:
            return False
        self._wake_in_time()
        return True

    def waiting_by_handler(self) -> Mapping[str, int]:
        """Return how many messages wait for the limit of each handler that has one."""
        counts = Counter(limit for limits in self.waiting.values() for limit in limits)
        return {name: counts[limit] for name, limit in self._of_handlers.items()}

    def wait(self) -> float:
        """Return the seconds after which any message may begin if nothing else does until then; 0 if it may now."""
        left: float = max(limit.free_at for limit in self._limits) - self._loop.time()
        return left if left > _EARLY else 0.0

    def take(self) -> Delivery | None:
        """Return what a slot takes next, as `Flow.ready` has it, and count it; None if nothing may begin now."""
        flow, now = self._flow, self._loop.time()
        # A message that runs alone has waited before (`wait`): those that wait here may not begin, and do not hold it up.
        alone = flow.isolation.on
        if not alone and (first := self._first(now)) is not None:
            return self._begin(first, self.waiting.pop(first), now)
        ready = flow.ready
        while ready:
            delivery = ready.popleft()
            if delivery.state is not WAITING or not (limits := self._limits_of(delivery)):
                return delivery
            if not self._is_first_of_key(delivery):
                continue
            if alone:
                return self._begin(delivery, limits, now)
            self.waiting[delivery] = limits
            for limit in limits:
                limit.waiting.append(delivery)
            if self._may_begin(delivery, now):
                return self._begin(delivery, self.waiting.pop(delivery), now)
        self._wake_in_time()
        return None

    def _limits_of(self, delivery: Delivery) -> Sequence[Limit]:
        calls = route_of(delivery).calls
        if not calls:
            return ()
        done = () if delivery.retry_state is None else delivery.retry_state.done
        names = (call.handler.name for call in calls if call.handler.name not in done)
        return (*self._own, *(self._of_handlers[name] for name in names if name in self._of_handlers))

    def _is_first_of_key(self, delivery: Delivery) -> bool:
        key = delivery.key
        return (
            not self._flow.ordered or delivery.lane is not None or key is None or self._flow.lanes.enter(delivery, key)
        )

    def _begin(self, delivery: Delivery, limits: Sequence[Limit], now: float) -> Delivery:
        for limit in limits:
            limit.take(now)
        self._wake_in_time()
        return delivery

    def _head(self, limit: Limit) -> Delivery | None:
        waiting = limit.waiting
        while waiting and waiting[0] not in self.waiting:
            waiting.popleft()
        return waiting[0] if waiting else None

    def _may_begin(self, delivery: Delivery, now: float) -> bool:
        return self._time_of(delivery) <= now + _EARLY

    def _time_of(self, delivery: Delivery) -> float:
        """When it may begin; never, as long as another one is before it."""
        return max(limit.free_at if self._head(limit) is delivery else math.inf for limit in self.waiting[delivery])

    def _first(self, now: float) -> Delivery | None:
        for limit in self._limits:
            if (head := self._head(limit)) is not None and self._may_begin(head, now):
                return head
        return None

    def _wake_in_time(self) -> None:
        """See to it that a slot looks here when the next one may begin. Slots that are busy look when they have ended."""
        heads = {head for limit in self._limits if (head := self._head(limit)) is not None} if self.waiting else ()
        when = min(map(self._time_of, heads), default=math.inf)
        if self._timer is not None:
            if self._timer.when() == when:
                return
            self._timer.cancel()
            self._timer = None
        if heads and not self._flow.isolation.on:
            self._timer = self._loop.call_at(when, guarded(self._wake, self._crashed))

    def _wake(self) -> None:
        self._timer = None
        self._flow.wake(1)


class Gate:
    """Stands for `Flow.ready` before slots. Whoever asks whether something is there takes it next."""

    def __init__(self, limits: RateLimits, ready: deque[Delivery]) -> None:
        self._limits = limits
        self._ready = ready
        self._next: Delivery | None = None

    def __repr__(self) -> str:
        return f"<Gate of {self._limits!r}>"

    def __bool__(self) -> bool:
        if self._next is None:
            self._next = self._limits.take()
        return self._next is not None

    def __len__(self) -> int:
        return len(self._ready)

    def popleft(self) -> Delivery:
        """Return what may begin."""
        delivery, self._next = self._next, None
        assert delivery is not None
        return delivery


def most_in_flight(most: int, *, rates: Sequence[Rate], max_hold: float | None) -> int:
    """Return how many messages may be here at once, so that none waits too long for its turn.

    Args:
        most: how many may be here without limits.
        rates: the limits of the source and its handlers.
        max_hold: seconds for which a message can be held; None for no limit.
    """
    longest = _LONGEST_WAIT if max_hold is None else min(_LONGEST_WAIT, max_hold / 4)
    return min([most, *(max(1, math.ceil(rate.per_second * longest)) for rate in rates)])
