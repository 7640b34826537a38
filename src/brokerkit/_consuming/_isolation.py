"""Isolation: messages that were delivered too often run alone, to find the one that ends the process.

A count of deliveries proves nothing. The neighbours of a message that kills the process are delivered as often as that
message. So is everything that a process has fetched if it ends before any handler starts. So a message with too many
deliveries is only a suspect. The source takes nothing new, waits for running handlers, and then runs each suspect
alone. Before each one, it counts the start at the broker, durably (`LoneStarts.begin_alone`). Only a message that was
started alone too often, and never finished, becomes a dead letter without another try.

A paused source begins nothing either. So what it has received waits here too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from brokerkit._consuming._executor import Executor
from brokerkit._consuming._flow import Flow
from brokerkit._consuming._suspects import Suspects, is_last, most_below
from brokerkit._deadline import wait_for_event
from brokerkit._errors import BrokerkitError, ConnectionLost, describe
from brokerkit._guard import Failed, start
from brokerkit._logging import get_logger
from brokerkit._messages._delivery import Delivery, State
from brokerkit._messages._log_fields import about
from brokerkit.adapters.api import LoneStarts

logger = get_logger(__name__)

FEWEST_STARTS: Final = 3
"""After this many unfinished lone starts a message is given up. One or two may be a process that ended by itself."""

_LOOK: Final = 1.0
"""Seconds between two checks whether an abandoned thread has ended: nothing announces that."""
_SETTLING: Final = 10.0
"""Seconds to wait for settlements before the next suspect runs anyway."""
_TRIES: Final = 5
"""Tries to store a mark at the broker; after them the message runs without one."""

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


class Isolation:
    """Runs the suspects of one source alone. While there are any, or the source is paused, it is the inbox of that source.

    Args:
        flow: the source's.
        starts: marks lone starts.
        topics: those of the source whose deliveries the broker may limit.
        name: the source's name, for the log.
        limit: unfinished lone starts after which a message is given up.
        executor: runs handlers.
        dead_letter: makes a message a dead letter.
        stopping: set when nothing starts any more.
        back_off: waits between tries to reach the broker, longer with each failure.
        crashed: told of a defect in here, which ends the source.

    Attributes:
        on: whether nothing begins as usual: only suspects run, each alone, or the source is paused.
        paused: whether nothing begins at all.
        suspects: the deliveries that wait meanwhile.
    """

    def __init__(
        self,
        flow: Flow,
        *,
        starts: LoneStarts,
        topics: Sequence[str],
        name: str,
        limit: int,
        executor: Executor,
        dead_letter: Callable[[Delivery, BrokerkitError], None],
        stopping: asyncio.Event,
        back_off: Callable[[int], Awaitable[None]],
        crashed: Failed,
    ) -> None:
        self.on = self.paused = False
        # Whether suspects run alone. It stays so over a pause.
        self._alone = False
        self._lanes = flow.lanes if flow.ordered else None
        self.suspects = Suspects(most=flow.most_deliveries, lanes=self._lanes)
        self._flow = flow
        self._starts = starts
        self._topics = topics
        self._most = flow.most_deliveries
        self._name = name
        self._limit = limit
        self._executor = executor
        self._dead_letter = dead_letter
        self._stopping = stopping
        self._back_off = back_off
        self._crashed = crashed
        self._loop = asyncio.get_running_loop()
        self._wanted = asyncio.Event()
        # The message that runs alone, and how often it had failed before.
        self._running: tuple[Delivery, int] | None = None
        self._marked: set[Delivery] = set()
        self._unmarking: set[asyncio.Task[Any]] = set()
        self._ran = 0
        self._told = False

    def __repr__(self) -> str:
        state = "paused" if self.paused else "on" if self.on else "off"
        return f"<Isolation of {self._name}: {state}, {self.suspects!r}>"

    @property
    def count(self) -> int:
        """How many messages must run alone, including the one that does."""
        return self.suspects.count + (self._running is not None)

    def learn_limits(self) -> None:
        """Suspect earlier where the broker itself takes messages away: what it takes is lost."""
        limits = [self._starts.delivery_limit(topic) for topic in self._topics]
        most = min((most_below(limit) for limit in limits if limit is not None), default=self._most)
        self._flow.most_deliveries = self.suspects.most = min(most, self._most)

    def is_last(self, delivery: Delivery) -> bool:
        """Whether the broker takes a message away if it comes back."""
        topic = delivery.topic
        return topic in self._topics and is_last(delivery.count, self._starts.delivery_limit(topic))

    def save(self, delivery: Delivery) -> None:
        """Make a dead letter of a message that would be lost if it came back. Nobody knows whether it ends the process."""
        self._give_up(
            delivery,
            f"delivered {delivery.count} times without an end, and its queue takes a message away soon after that: kept "
            "before it is lost. A higher limit leaves time to find the message that ends the process",
        )

    def pause(self) -> None:
        """Let nothing begin until `resume`. What runs is not disturbed."""
        if not self._stopping.is_set():  # else nothing begins any more
            self.paused = True
            self._keep_all()

    def resume(self) -> None:
        """Go on after a pause: with the suspects if there are any, or else as usual."""
        if self._stopping.is_set():
            return
        self.paused = False
        for lost in self.suspects.drop_lost():
            self._flow.advance(lost)
        if self._alone:
            self._wanted.set()
        else:
            self._let_begin()

    def pick(self) -> Delivery | None:
        """Hand out a delivery that may begin although the source is paused, and is no suspect; None if there is none."""
        for lost in self.suspects.drop_lost():
            self._flow.advance(lost)
        if (delivery := self.suspects.innocent()) is not None:
            self.suspects.remove(delivery)
        return delivery

    def append(self, delivery: Delivery, /) -> None:
        """Take a delivery that may be handled. It waits while there are suspects."""
        if not self._keeps(delivery):
            self._flow.ready.append(delivery)

    def appendleft(self, delivery: Delivery, /) -> None:
        """Take a delivery whose turn it is in its lane, in that order."""
        if not self._keeps(delivery):
            self._flow.ready.appendleft(delivery)

    def _keeps(self, delivery: Delivery) -> bool:
        if self._stopping.is_set() and self._flow.inbox is not self:
            self._flow.inbox.append(delivery)  # Nothing begins any more.
            return True
        if delivery.count > self.suspects.most and not self._alone:
            self._begin(delivery)
        if self.on:
            self.suspects.add(delivery)
        return self.on

    def _begin(self, delivery: Delivery) -> None:
        logger.warning(
            "source %s: %s was delivered %d times without an end, more than %s = %d: until no such message is "
            "left, each of them runs alone and nothing else begins",
            self._name,
            delivery.stable_id or "a message without an id",
            delivery.count,
            "max_deliveries" if self.suspects.most == self._most else "half of what the broker allows",
            self.suspects.most,
            extra=about(delivery, self._name),
        )
        self._alone = True
        self._ran = 0
        self._told = False
        self._keep_all()
        self._wanted.set()

    def _keep_all(self) -> None:
        """Let everything wait here that no slot has taken yet, and what comes from now on."""
        self.on = True
        ready = self._flow.ready
        for collected in self._flow.batches.dissolve():
            self.suspects.add(collected)
        while ready:
            self.suspects.add(ready.popleft())
        self._flow.inbox = self

    async def run(self) -> None:
        """Run suspects whenever there are any, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._alone and not self._stopping.is_set():
                await self._quiet()
                await wait_for_limits(self._flow, self._stopping)
                if self.paused or self._stopping.is_set():
                    break
                for lost in self.suspects.drop_lost():
                    self._flow.advance(lost)
                if (delivery := self.suspects.next()) is None:
                    self._end()
                    break
                # Two sources of one process would take each other's crashes for their own.
                async with _turns.setdefault(self._loop, asyncio.Lock()):
                    await self._run_alone(delivery)

    def _end(self) -> None:
        """Return to normal operation."""
        self._alone = False
        self._let_begin()
        logger.warning(
            "source %s: no message with too many deliveries is left (%d ran alone); going on as usual",
            self._name,
            self._ran,
        )

    def _let_begin(self) -> None:
        """Let begin what waits here, before what comes from now on."""
        self.on = False
        ready = self._flow.ready
        ready.extend(self.suspects.clear())
        # A delivery that leaves its lane later must not be mistaken for another.
        self._flow.inbox = self if self.suspects.in_lanes else ready
        self._flow.wake(max(len(ready), 1))  # A slot also looks for what waits for a rate limit.
        self._flow.wake_pollers()

    async def _quiet(self) -> None:
        """Wait until no handler runs and everything is settled: it would come again if the next message ends the process."""
        while self._executor.are_busy:
            await self._flow.progress(_LOOK)
        until = self._loop.time() + _SETTLING
        while self._flow.settlement.is_busy and not self._stopping.is_set() and self._loop.time() < until:
            await self._flow.progress(_LOOK)

    async def _run_alone(self, delivery: Delivery) -> None:
        suspect = delivery.count > self.suspects.most
        starts = await self._mark(delivery) if suspect and not self._executor.have_strays else 0
        if self.paused or self._stopping.is_set() or delivery.state is not State.WAITING:
            self.forget(delivery)  # It has not begun.
            return
        self.suspects.remove(delivery)
        if starts > self._limit:
            self._give_up(
                delivery,
                f"started {starts - 1} times while nothing else of its source ran, and never finished: each time the "
                f"process ended, or a handler failed (delivered {delivery.count} times)",
            )
            return
        self._ran += 1
        self._running = (delivery, _failures(delivery))
        self._flow.ready.append(delivery)
        self._flow.wake(1)
        while delivery in self._flow.ready or self._executor.are_busy:
            await self._flow.progress(_LOOK)
        self._conclude()
        if self._unmarking:
            await asyncio.wait(self._unmarking)

    def _give_up(self, delivery: Delivery, why: str) -> None:
        key = delivery.key
        if self._lanes is not None and delivery.lane is None and key is not None and key not in self._lanes:
            # With a strict order its key waits for the letter.
            self._lanes.enter(delivery, key)
        self._dead_letter(delivery, BrokerkitError(why))

    async def _mark(self, delivery: Delivery) -> int:
        """Count a lone start at the broker. Return how many there are; 0 if they cannot be counted."""
        error: BrokerkitError | None = None
        for tries in range(1, _TRIES + 1):
            try:
                starts = await self._starts.begin_alone(delivery)
            except ConnectionLost as lost:
                error = lost
                await self._back_off(tries)
                if self._stopping.is_set() or delivery.state is not State.WAITING:
                    return 0
            except BrokerkitError as refused:
                error = refused
                break
            else:
                self._marked.add(delivery)
                return starts
        if not self._told:
            self._told = True
            logger.error(
                "source %s: the broker cannot store the note that a message runs alone: one that ends the process "
                "every time will never become a dead letter: %s",
                self._name,
                describe(error) if error else "no answer",
            )
        return 0

    def _conclude(self) -> None:
        """Decide about the mark of a message that ran alone: it stays only after a failure or the end of the process."""
        if self._running is not None:
            (delivery, failures), self._running = self._running, None
            if _failures(delivery) == failures:
                self.forget(delivery)

    def forget(self, delivery: Delivery) -> None:
        """Remove the mark of a message that is finished or was given back: its start does not count against it."""
        if delivery in self._marked:
            self._marked.remove(delivery)
            task = start(self._unmark(delivery), self._crashed)
            self._unmarking.add(task)
            task.add_done_callback(self._unmarking.discard)

    async def _unmark(self, delivery: Delivery) -> None:
        try:
            await self._starts.end_alone(delivery)
        except BrokerkitError as error:
            logger.warning(
                "source %s: the note that %s ran alone stays at the broker for a while: %s",
                self._name,
                delivery,
                describe(error),
                extra=about(delivery, self._name),
            )

    async def stop(self, timeout: float) -> None:
        """Remove the mark of a message that was cancelled: being stopped is not a failure."""
        self._conclude()
        if self._unmarking:
            await asyncio.wait(self._unmarking, timeout=timeout)


async def wait_for_limits(flow: Flow, stopping: asyncio.Event) -> None:
    """Wait until rate limits let a message begin that runs while nothing else may begin."""
    while flow.limits is not None and (wait := flow.limits.wait()) > 0.0 and not stopping.is_set():
        await wait_for_event(stopping, wait)


def _failures(delivery: Delivery) -> int:
    return delivery.retry_state.failures if delivery.retry_state is not None else 0
