"""Gives messages back before a handler has started on them: at a stop, a revocation, or the end of a lease or a hold."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from brokerkit._consuming._commit_watermark import CommitWatermark
from brokerkit._consuming._executor import Executor
from brokerkit._consuming._flow import Flow
from brokerkit._consuming._intake import Intake
from brokerkit._consuming._lanes import Key
from brokerkit._consuming._leases import OURS
from brokerkit._consuming._retries import Retries
from brokerkit._consuming._transactions import Transactions
from brokerkit._messages._delivery import RELEASE, Delivery, State


class GivingBack:
    """Gives deliveries back, or forgets those that the broker has taken.

    While the source stops, it is the inbox of the flow: messages that would start then are given back.

    Args:
        flow: the source's.
        retries: what waits for its next attempt.
        intake: what the guard of the first messages keeps.
        watermark: how far each partition is done.
        executor: what runs.
        transactions: told of what is lost; None where there are none.
        drain_timeout: seconds after which an adapter gives up waiting for what is only about to go.
    """

    def __init__(
        self,
        flow: Flow,
        *,
        retries: Retries,
        intake: Intake,
        watermark: CommitWatermark,
        executor: Executor,
        transactions: Transactions | None,
        drain_timeout: float,
    ) -> None:
        self._flow = flow
        self._retries = retries
        self._intake = intake
        self._watermark = watermark
        self._executor = executor
        self._transactions = transactions
        self._drain_timeout = drain_timeout
        self._loop = asyncio.get_running_loop()
        self._needed: AbstractSet[Delivery] = frozenset()

    async def lose(self, deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
        """See `Lost`: drop deliveries that have not started, and wait until running ones are settled."""
        needed = set[Delivery]() if gone else self.before_started()
        over = self._loop.time() + self._drain_timeout
        while deliveries := [
            one
            for one in deliveries
            if ((one in needed and one not in self._retries.held) or not self.drop(one)) and one.state in OURS
        ]:
            self._flow.batches.close_all()
            await self._flow.progress(over - self._loop.time() if needed else None)
            if needed:
                needed &= (
                    self.before_started()
                )  # Behind what has failed and is held everything repeats, and would pass it.
            if needed and self._loop.time() >= over:
                needed.clear()  # They are gone now, and would begin here beside their next reader.

    def before_started(self) -> set[Delivery]:
        """Return the deliveries that must be handled, because otherwise started ones would be handled twice.

        While the source is paused there are none: nobody waits for handlers that may not begin.
        """
        if self._flow.isolation.paused:
            return set()
        return self._watermark.before_started(self._put_off)

    @property
    def _put_off(self) -> AbstractSet[Delivery]:
        """What waits here for its next attempt, or for a rate limit."""
        held, limits = self._retries.held, self._flow.limits
        return held if limits is None else held.union(limits.waiting)

    def _let_go(self, delivery: Delivery) -> bool:
        limits = self._flow.limits
        return self._retries.let_go(delivery) or (limits is not None and limits.let_go(delivery))

    def drop(self, delivery: Delivery) -> bool:
        """Forget a delivery that has not started. Return False if a handler is at it, or it waits to be settled."""
        if delivery.state is not State.WAITING:
            return delivery.state is State.LOST
        delivery.state = State.LOST
        self._flow.backlog.remove(delivery)
        self._retries.retry_states.keep(delivery)
        if self._let_go(delivery):
            self._flow.advance(delivery)
        self._intake.drop(delivery)
        if self._transactions is not None:
            self._transactions.drop(delivery)
        self._flow.stats.lost += 1
        self._flow.tell("lost", delivery)
        self._flow.forget()
        return True

    def expire(self, expired: Sequence[Delivery]) -> None:
        """Give back deliveries that have waited for too long, together with all that wait behind them.

        An open batch that has some of them is handled instead: another member would only let them wait again.
        """
        flow, waiting = self._flow, State.WAITING
        chosen = dict.fromkeys(expired)
        for begun in flow.batches.close_with(chosen):
            del chosen[begun]
        if flow.ordered and (keys := {one.key for one in chosen if one.key is not None}):
            # Otherwise later messages would start before it comes again.
            chosen.update(dict.fromkeys(one for one in flow.lanes.waiting() if one.key in keys))
            received = (*flow.ready, *flow.isolation.suspects)
            chosen.update(dict.fromkeys(one for one in received if one.key in keys))
        released = [one for one in chosen if one.state is waiting and not self._retries.expire(one)]
        gone = set(released)
        firsts = [one for one in flow.ready if one in gone]
        if firsts:
            kept = [one for one in flow.ready if one not in gone]
            flow.ready.clear()
            flow.ready.extend(kept)
        for delivery in released:
            flow.backlog.remove(delivery)
            self._retries.retry_states.keep(delivery)
            if self._let_go(delivery):
                firsts.append(delivery)
            self._intake.drop(delivery)
            flow.settlement.add(delivery, RELEASE)
        for delivery in firsts:
            flow.advance(delivery)  # if it is in a lane, it is the first there

    def begin_stop(self) -> None:
        """Give back all deliveries that no handler has started on, except those that must still be handled.

        Messages behind a running one of their key wait until it has ended, and are given back then: a queue delivers
        messages in the order in which they were given back. Batches that have begun to fill are handled at once.
        """
        batches = self._flow.batches.waiting
        self._needed = self.before_started().union(batches)
        self._flow.inbox = self
        lanes = {delivery.lane for delivery in batches if delivery.lane is not None}
        self._release_waiting(but=self._needed, running=self._executor.running_lanes | lanes)
        self._flow.batches.close_all()

    async def finish_needed(self, timeout: float) -> None:
        """Wait until what must still be handled has begun, at most ``timeout`` seconds.

        Its turn may come late, without a handler at work meanwhile: when the message before it has its dead letter.
        """
        over, flow = self._loop.time() + timeout, self._flow
        while any(one.state is State.WAITING for one in self._needed) and (left := over - self._loop.time()) > 0:
            moves = flow.ready or self._executor.are_busy or flow.settlement.is_busy or self._retries.writer.is_busy
            if not moves:  # It is behind what waits for its next attempt.
                return
            await flow.progress(left)

    def append(self, delivery: Delivery, /) -> None:
        """Give back a message whose turn has come, and what is behind it."""
        self.appendleft(delivery)

    def appendleft(self, delivery: Delivery, /) -> None:
        """Give back a message whose turn has come, and what is behind it."""
        if delivery in self._needed:
            self._flow.ready.append(delivery)
            return
        following: Delivery | None = delivery
        while following is not None:  # Behind what goes back everything comes again, also what is needed otherwise.
            self._flow.settlement.add(following, RELEASE)
            following = self._flow.lanes.leave(following)

    def release_rest(self) -> None:
        """Give back all deliveries that no handler has started on."""
        self._flow.ready.extendleft(reversed(self._flow.batches.dissolve()))
        self._release_waiting(but=frozenset(), running=frozenset())

    def _release_waiting(self, *, but: AbstractSet[Delivery], running: AbstractSet[Key]) -> None:
        # The first message of each key goes first, because a list has only the order in which values are given back.
        # `ready` has the messages whose turn it is in their lanes, and those that no slot has taken yet.
        flow = self._flow
        next_ones = [delivery for delivery in flow.ready if delivery.lane is not None]
        others = [delivery for delivery in flow.ready if delivery.lane is None]
        suspects = flow.isolation.suspects.clear()
        next_ones += [delivery for delivery in suspects if delivery.lane is not None]
        others += [delivery for delivery in suspects if delivery.lane is None]
        limited = [] if flow.limits is None else [one for one in flow.limits.waiting if one not in but]
        for delivery in limited:
            self._let_go(delivery)
        next_ones = [*(one for one in limited if one.lane is not None), *next_ones]
        others = [*(one for one in limited if one.lane is None), *others]
        waiting = [*self._retries.held, *next_ones, *flow.lanes.waiting(), *others, *self._intake.close()]
        kept = [delivery for delivery in flow.ready if delivery in but]
        flow.ready.clear()
        flow.ready.extend(kept)
        self._retries.held.clear()
        for delivery in waiting:
            if delivery.retry_state is not None:
                delivery.retry_state.cancel_timer()
            if delivery.state is not State.WAITING or delivery in but:
                continue
            if delivery.key is None or delivery.key not in running:
                flow.settlement.add(delivery, RELEASE)
            elif delivery.lane is None:
                flow.lanes.enter(delivery, delivery.key)
