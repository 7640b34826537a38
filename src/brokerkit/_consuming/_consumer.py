"""The consumer of one source: receive, look up, lanes, handlers, settle, and the order in which all that stops.

One message's way through this file: `_poll` gets it in a batch, `_take` looks up its route and its lane, one of the
`Workers` runs its handlers, `_finish` decides the outcome, and `Settlement` tells the broker. What fails takes the way
through `failed`, and either waits (`_hold`), goes back to the broker (`RetryLater`) or becomes a dead letter (`_bury`).

Nothing here is done once for each message that can be done once for a batch: workers, pollers and the settling task live
as long as the consumer, and there is no task, context manager or log record for a message that is handled.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from brokerkit import _clock
from brokerkit._consuming._deadletters import Burial, DeadLetters
from brokerkit._consuming._lanes import Lanes
from brokerkit._consuming._leases import OURS, Leases
from brokerkit._consuming._patience import Patience
from brokerkit._consuming._prefix import Prefix
from brokerkit._consuming._probation import Probation, show
from brokerkit._consuming._routes import Call, Route, Routes
from brokerkit._consuming._settlement import Settlement
from brokerkit._consuming._trouble import DUE, FAILURES, ONLY, Memory, Trouble, copy_of
from brokerkit._consuming._workers import Workers
from brokerkit._deadline import SOURCE_GRACE, within
from brokerkit._errors import BrokerkitError, ConnectionLost, DecodeError, Reject, WrongNameRule, describe
from brokerkit._health import Life, SourceHealth
from brokerkit._hooks import Hooks, Kind, Notice
from brokerkit._message import (
    ACK,
    RELEASE,
    Delivery,
    Message,
    Outcome,
    RetryLater,
    Settled,
    State,
    header_text,
    text,
)
from brokerkit._rules import Lookup, compile_rules
from brokerkit._settings import SourceSettings
from brokerkit._transport import Adapter, Capabilities
from brokerkit.formats import Format

logger = logging.getLogger("brokerkit")

_DELIVERIES_FOR_EACH_ATTEMPT: Final = 5
"""Releases and crashes count as deliveries too, so there may be more of them than attempts."""
_SOON: Final = 0.02
_YEAR: Final = 366 * 86_400.0
_SKEW: Final = 60.0
"""Seconds by which the clocks of two of our processes may differ."""
_LONGEST_PAUSE: Final = 10.0
_LAG_TIMEOUT: Final = 2.0
_GRACE: Final = 1.0
"""Seconds beyond the stop timeout: for cancelled handlers to clean up, and for the last settlements."""


@dataclass(slots=True)
class Stats:
    """What became of a source's messages, counted since the start.

    Attributes:
        received: deliveries, those that come again included.
        handled: all handlers are done.
        failed: attempts that failed.
        retried: attempts that failed and are tried again.
        dead_lettered: stored as dead letters.
        skipped: acknowledged because no handler wants the name.
        released: given back at shutdown.
        lost: taken away by the broker (rebalance, lease over, connection gone): somebody gets them again.
        duplicates: handlers that did not run, because their `Dedupe` has the message as done.
    """

    received: int = 0
    handled: int = 0
    failed: int = 0
    retried: int = 0
    dead_lettered: int = 0
    skipped: int = 0
    released: int = 0
    lost: int = 0
    duplicates: int = 0


class Consumer:
    """Consumes one source until it is stopped.

    Args:
        name: the source's name in settings, logs and `Message.source`.
        adapter: the broker that the source is on; it must be open.
        routes: the handlers by event name.
        dead_letters: where what cannot be handled goes.
        stop_timeout: seconds for which handlers may run on once `stop` was called.
        hooks: told of what is rare.
    """

    def __init__(
        self,
        *,
        name: str,
        adapter: Adapter,
        settings: SourceSettings,
        routes: Routes,
        dead_letters: DeadLetters,
        stop_timeout: float,
        hooks: Hooks,
    ) -> None:
        self.name = name
        self.stats = Stats()
        self._settings = settings
        self._routes = routes
        self._dead_letters = dead_letters
        self._stop_timeout = stop_timeout
        self._capabilities: Capabilities = adapter.capabilities((settings.topic or settings.queue)[0])
        attempts = max(each.attempts for policy in (settings.retry, *routes.policies) for each in policy.policies)
        self._most_deliveries = settings.max_deliveries or _DELIVERIES_FOR_EACH_ATTEMPT * attempts
        subscription = settings.subscription(
            self._capabilities, drain_timeout=stop_timeout, max_deliveries=self._most_deliveries
        )
        self._source = adapter.subscribe(subscription, self._lost)
        self._max_in_flight = subscription.max_in_flight
        about = Notice(
            kind="stopped",
            broker=self._capabilities.broker,
            source=name,
            topic=subscription.topics[0],
            group=settings.group,
        )
        self._patience = Patience.of(settings, self._capabilities)
        self._hooks = hooks
        self.life = Life(hooks, about, state="starting", good="consuming")

        wire = settings.wire
        self._rules = settings.name_from or wire.name_from
        self._name_of = compile_rules(
            self._rules, what="name_from", fields_if=None if settings.name_from else wire.fields_if
        )
        self._id_of = _lookup(settings.id_from, wire.id_from, wire, what="id_from")
        self._key_of = _lookup(settings.key_from, (), wire, what="key_from")

        self._in_flight = 0
        self._asked = 0
        self._lanes = Lanes()
        self._held: set[Delivery] = set()
        self._probation: Probation | None = None
        if settings.unknown != "ack":
            self._probation = Probation(source=name, rules=self._rules, limit=self._max_in_flight)
        self._prefix = Prefix()
        self._memory = Memory()
        self._leases = Leases(self._source, seconds=settings.lease, lost=self._drop)

        self._watchers: list[asyncio.Future[None]] = []

        self._loop = asyncio.get_running_loop()
        self._workers = Workers(
            source=name,
            concurrency=settings.concurrency,
            timeout=settings.timeout,
            timeouts=routes.timeouts,
            message=self._message,
            results=self,
        )
        self._slots: list[asyncio.Future[None]] = []
        self._background: set[asyncio.Task[None]] = set()
        self._pollers: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._settlement = Settlement(
            self._source,
            name=name,
            acknowledged=self._forget,
            settled=self._settled,
            not_put_off=self._not_put_off,
            stopping=self._stopping,
        )
        self._burial = Burial(
            dead_letters,
            source=name,
            group=settings.group,
            stored=self._buried,
            kept=self._not_buried,
            stopping=self._stopping,
            back_off=self._back_off,
        )
        self._failure: BaseException | None = None
        self._over = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Consumer {self.name}: {self.life.state}, {self._in_flight} in flight, {len(self._held)} held>"

    async def health(self, *, lag: bool) -> SourceHealth:
        """How it is now; with ``lag`` the broker is asked, for a little while."""
        known: int | None = None
        if lag and self.life.state == "consuming":
            with suppress(BrokerkitError, TimeoutError):
                async with asyncio.timeout(_LAG_TIMEOUT):
                    known = await self._source.lag()
        return SourceHealth(
            broker=self.life.broker,
            order=self._settings.reach(self._capabilities),
            state=self.life.state,
            since=self.life.since,
            error=self.life.error,
            failures=self.life.failures,
            in_flight=self._in_flight,
            held=len(self._held),
            lag=known,
        )

    # ---- life ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the source and begin.

        Raises:
            BrokerkitError: as `Source.open` does.
        """
        await self._dead_letters.open()
        await self._source.open()
        self.life.become("consuming")
        self._workers.start()
        self._run_beside(self._settlement.run())
        self._run_beside(self._burial.run())
        if self._capabilities.lease is not None:
            self._run_beside(self._leases.keep())
        for once in self._routes.onces:
            self._run_beside(once.keep())
        self._pollers = [self._loop.create_task(self._poll()) for _ in range(self._capabilities.pollers)]

    async def failure(self) -> BaseException:
        """Wait until the source ends by itself, which only an error makes it do; the error."""
        await self._over.wait()
        assert self._failure is not None
        return self._failure

    async def stop(self) -> None:
        """Stop in the order that loses nothing and repeats nothing that finished in time.

        Take nothing new; release what never started; wait for the handlers, up to the stop timeout; settle while the
        connection lives; close.
        """
        deadline = self._loop.time() + self._stop_timeout
        self._stopping.set()
        if self._failure is None:
            self.life.become("stopping")
        await within(
            min(self._stop_timeout, SOURCE_GRACE), f"source {self.name}: the end of reading", self._source.stop()
        )
        self._free_slots()
        if self._pollers:
            await asyncio.wait(self._pollers, timeout=max(deadline - self._loop.time(), 0))
        self._release_waiting(but=self._before_started())
        await self._workers.stop(timeout=max(deadline - self._loop.time(), 0), grace=_GRACE)
        while self._in_flight and self._loop.time() < deadline + _GRACE:
            self._release_waiting()
            await self._progress(_GRACE)
        if ending := [*self._pollers, *self._background]:
            for task in ending:
                task.cancel()
            await asyncio.wait(ending, timeout=_GRACE)
        left = deadline + SOURCE_GRACE - self._loop.time()
        await within(max(left, _GRACE), f"source {self.name}: its close", self._source.close())
        if self._failure is None:
            self.life.become("stopped")
        self.life.tell("stopped", error=self._failure)

    def _run_beside(self, coroutine: Any) -> None:
        """Run one of the consumer's long-lived tasks; its failure is the consumer's."""
        task: asyncio.Task[None] = self._loop.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail_source(error)

    def _fail_source(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
            logger.error("source %s ends: %s: %s", self.name, type(error).__name__, describe(error))
            self.life.note(error)
            self.life.become("failed")
            self.life.tell("source_failed", error=error)
        self._over.set()

    # ---- in: receive, look up, lanes -------------------------------------------------------------------------

    async def _poll(self) -> None:
        # Never all at once: while one half is handled the adapter fetches the other.
        share = -(-self._max_in_flight // max(self._capabilities.pollers, 2))
        failures = 0
        while not self._stopping.is_set():
            limit = min(self._max_in_flight - self._in_flight - self._asked, share)
            if limit <= 0:
                slot: asyncio.Future[None] = self._loop.create_future()
                self._slots.append(slot)
                await slot
                continue
            self._asked += limit
            try:
                batch = await self._source.receive(limit)
            except ConnectionLost as error:
                failures += 1
                logger.warning("source %s: %s; trying again (%d)", self.name, error, failures)
                self.life.lose(error)
                await self._back_off(failures)
                continue
            except Exception as error:  # noqa: BLE001 (whatever it is, it ends the source, and serve raises it)
                self._fail_source(error)
                return
            finally:
                self._asked -= limit
            if self.life.failures and not self._stopping.is_set():
                self.life.recover()
            failures = 0
            if batch:
                try:
                    self._take(batch)
                except Exception as error:  # noqa: BLE001 (a defect in here must end the source, never stall it)
                    self._fail_source(error)
                    return

    def _take(self, batch: Sequence[Delivery]) -> None:
        """Give each delivery its route and a place in its lane."""
        self._in_flight += len(batch)
        self.stats.received += len(batch)
        if self._capabilities.lease is not None:
            self._leases.add(batch)
        if self._capabilities.prefix:
            self._prefix.add(batch)
        name_of, key_of, id_of = self._name_of, self._key_of, self._id_of
        find, ready, enter = self._routes.find, self._workers.ready, self._lanes.enter
        waiting = State.WAITING
        by_key, remembered = self._settings.order != "none", self._memory.troubles
        before = len(ready)
        for delivery in batch:
            if delivery.state is not waiting:
                continue  # lost on the way here
            if key_of is not None:
                delivery.key = key_of(delivery) or delivery.key
            if id_of is not None and (found := id_of(delivery)):
                delivery.id = found if isinstance(found, str) else str(text(found))
            name = name_of(delivery)
            delivery.route = route = find(name) or self._routes[name]
            if (FAILURES in delivery.headers or remembered) and not self._recall(delivery):
                continue
            if (not route.known or self._probation is not None) and not self._recognise(delivery, route):
                continue
            if not route.calls:
                self.stats.skipped += 1
                self._finish(delivery, ACK)
            elif delivery.count > self._most_deliveries:
                self._bury(delivery, BrokerkitError(f"delivered {delivery.count} times without an end"))
            elif not by_key or (key := delivery.key) is None or enter(delivery, key):
                ready.append(delivery)
        self._workers.wake(len(ready) - before)

    def _recognise(self, delivery: Delivery, route: Route) -> bool:
        """Decide on a message whose name is unknown, or on all that waited for the first known one. True: go on with it.

        Until the first known name nothing is acknowledged: a wrong rule must not run a vendor's stream dry in silence.
        """
        probation = self._probation
        if probation is not None and self._failure is not None:
            # The source has ended: whatever came in one batch with the last message is given back like it.
            probation.kept.append(delivery)
            return False
        if route.known:
            self._probation = None
            for earlier in probation.kept if probation else ():
                self._handle_unknown(earlier)
            return True
        if probation is None:
            self._handle_unknown(delivery)
            return False
        if not probation.kept:
            logger.warning("source %s: no known event name yet; first message: %s", self.name, show(delivery))
        try:
            probation.keep(delivery)
        except WrongNameRule as error:
            self._fail_source(error)
        return False

    def _handle_unknown(self, delivery: Delivery) -> None:
        name = delivery.route.name
        if not name:
            self._bury(delivery, DecodeError("the message has no event name where name_from looks for it"))
        elif self._settings.unknown == "reject":
            self._bury(delivery, Reject(f"no handler for event {name!r}"))
        elif self._settings.unknown == "retry":
            self.failed(delivery, None, BrokerkitError(f"no handler for event {name!r}"))
        else:
            self.stats.skipped += 1
            self._finish(delivery, ACK)

    def _recall(self, delivery: Delivery) -> bool:
        """Restore what is known of a message that failed before. False where its time has not come yet, and where it was
        replayed for another group.
        """
        if FAILURES not in delivery.headers:
            delivery.trouble = trouble = self._memory.take(delivery)
            if trouble is None:
                return True
        elif ONLY in delivery.headers and header_text(delivery.headers, ONLY) != (self._settings.group or ""):
            self.stats.skipped += 1
            self._finish(delivery, ACK)
            return False
        else:
            delivery.trouble = trouble = Trouble.from_headers(delivery.headers)
            # What nobody of us writes was written by somebody else: a topic that is not read here, a wait without end.
            if trouble.topic not in self._settings.topic and not self._settings.queue:
                trouble.topic = ""
            if trouble.due - _clock.now() > min(self._capabilities.durable_retry, _YEAR) + _SKEW:
                trouble.due = 0.0
        if trouble.topic:
            delivery.topic = trouble.topic
        wait = trouble.due - _clock.now()
        if wait <= _SOON:
            return True
        if self._patience.strict and delivery.key is not None and not self._lanes.enter(delivery, delivery.key):
            return False  # behind another of its key, which it must not overtake
        self._put_off(delivery, wait, crowded=False)
        return False

    # ---- what the workers say (`Results`) --------------------------------------------------------------------

    def handled(self, delivery: Delivery) -> None:
        """Acknowledge, and let the next message of the key begin."""
        self.stats.handled += 1
        self._settlement.add(delivery, ACK)
        if delivery.lane is not None and (following := self._lanes.leave(delivery)) is not None:
            # Nobody need be woken for it: the worker that says this looks for its next delivery now.
            self._workers.ready.append(following)

    def cancelled(self, delivery: Delivery) -> None:
        """Release: a handler that was cancelled at shutdown has not failed."""
        self._finish(delivery, RELEASE)

    def postponed(self, delivery: Delivery, wait: float) -> None:
        """Try again without counting a failure: held here rather than with the broker, however long it may take."""
        delivery.trouble = trouble = delivery.trouble or Trouble()
        wait = min(wait, self._settings.hold) or wait
        trouble.due = _clock.now() + wait
        self._put_off(delivery, wait, crowded=self._is_crowded)

    def duplicate(self, delivery: Delivery, call: Call) -> None:
        """Count it, and tell the hooks."""
        self.stats.duplicates += 1
        self._tell("duplicate", delivery)

    def passed_over(self, delivery: Delivery) -> None:
        """Let the next of its lane begin."""
        self._advance(delivery)

    def crashed(self, error: BaseException) -> None:
        """End the source."""
        self._fail_source(error)

    def _message(self, delivery: Delivery) -> Message:
        trouble: Trouble | None = delivery.trouble
        return Message(
            delivery.route.name,
            delivery.body,
            key=delivery.key,
            headers=delivery.headers,
            id=(trouble.origin if trouble else "") or delivery.stable_id,
            time=delivery.time,
            topic=delivery.topic,
            source=self.name,
            attempt=max((trouble.failures if trouble else 0) + 1, delivery.count),
            native=delivery.native,
        )

    def failed(self, delivery: Delivery, call: Call | None, error: BaseException) -> None:
        """Count a failure and decide: again soon, again later, or dead letter."""
        self.stats.failed += 1
        trouble: Trouble = delivery.trouble or Trouble()
        delivery.trouble = trouble
        trouble.failures += 1
        trouble.handler = call.handler.name if call else ""
        trouble.first_failure = trouble.first_failure or _clock.now()
        policy = (call and call.handler.retry) or self._settings.retry
        asked = self._patience.wait(error, policy, trouble.failures)
        if asked is None:
            self._bury(delivery, error)
            return
        trouble.error = error
        self.stats.retried += 1
        wait = self._patience.cut(asked)
        if wait < asked:
            logger.warning(
                'source %s: %s can be held for %.3g s and not for %.3g: with order = "strict" it is tried again earlier',
                self.name,
                delivery.stable_id or "a message without an id",
                wait,
                asked,
            )
        trouble.due = _clock.now() + wait
        logger.warning(
            "source %s: %s failed on %s %s (attempt %d of %d), again in %.3g s: %s: %s",
            self.name,
            trouble.handler or "dispatch",
            delivery.route.name,
            delivery.stable_id or "without an id",
            trouble.failures,
            (policy.for_error(error) or policy).attempts,
            wait,
            type(error).__name__,
            describe(error),
        )
        self._tell("failed", delivery, error=error, wait=wait)
        self._put_off(delivery, wait, crowded=self._is_crowded)

    @property
    def _is_crowded(self) -> bool:
        """Whether what waits here takes up so many slots that the rest should wait at the broker."""
        return len(self._held) >= self._max_in_flight // 2

    def _put_off(self, delivery: Delivery, wait: float, *, crowded: bool) -> None:
        """Have a message wait until it is due, here or at the broker."""
        if self._patience.here(wait, crowded=crowded):
            self._hold(delivery)
        else:
            self._finish(delivery, self._retry_later(delivery, wait))

    def _hold(self, delivery: Delivery) -> None:
        """Keep a message in its lane until it is due, or for as long as that is possible at a stretch."""
        delivery.state = State.WAITING
        self._held.add(delivery)
        wait = max(delivery.trouble.due - _clock.now(), 0.0)
        longest = self._capabilities.max_hold or wait
        delivery.trouble.timer = self._loop.call_later(min(wait, longest), self._resume, delivery)
        self._tell_progress()

    def _resume(self, delivery: Delivery) -> None:
        self._held.discard(delivery)
        delivery.trouble.timer = None
        if (left := delivery.trouble.due - _clock.now()) > _SOON:
            # It could not wait at the broker before, and cannot wait here any longer.
            self._put_off(delivery, left, crowded=True)
            return
        if not delivery.route.known:
            self._handle_unknown(delivery)
            return
        # A retry that came back early from the broker has no place in a lane yet.
        in_lane = delivery.lane is not None or self._settings.order == "none"
        if in_lane or (key := delivery.key) is None or self._lanes.enter(delivery, key):
            self._begin(delivery)

    def _begin(self, delivery: Delivery) -> None:
        self._workers.ready.append(delivery)
        self._workers.wake(1)

    def _retry_later(self, delivery: Delivery, wait: float) -> RetryLater:
        """What the broker is asked for; a wait longer than it can keep is done in steps, see `_recall`."""
        if not self._capabilities.copies_retries:
            self._memory.keep(delivery)
        copy = copy_of(delivery)
        copy = replace(copy, headers={**copy.headers, DUE: f"{delivery.trouble.due:.3f}"})
        return RetryLater(min(wait, self._capabilities.durable_retry), copy)

    def _bury(self, delivery: Delivery, error: BaseException) -> None:
        """Make it a dead letter; the original stays unsettled until the letter is confirmed."""
        delivery.trouble = trouble = delivery.trouble or Trouble()
        trouble.error = error
        trouble.first_failure = trouble.first_failure or _clock.now()
        logger.error(
            "source %s: dead letter: %s %s (failed attempts: %d): %s: %s",
            self.name,
            delivery.route.name or "message",
            delivery.stable_id or "without an id",
            trouble.failures,
            type(error).__name__,
            describe(error),
        )
        delivery.state = State.FINISHED
        self._burial.add(delivery)
        if not self._patience.strict:
            self._advance(delivery)

    def _buried(self, delivery: Delivery) -> None:
        self.stats.dead_lettered += 1
        self._tell("dead_letter", delivery, error=delivery.trouble.error)
        self._settlement.add(delivery, ACK)
        # Under a strict order the key has waited for the letter: whoever replays it finds nothing done behind it before.
        self._advance(delivery)

    def _not_buried(self, delivery: Delivery) -> None:
        self._settlement.add(delivery, RELEASE)

    # ---- out: settle -----------------------------------------------------------------------------------------

    def _finish(self, delivery: Delivery, outcome: Outcome) -> None:
        """Have the outcome settled, and let the next message of the key begin.

        Behind one that goes back to the broker the lane stays closed until the broker has it: a FIFO queue takes the
        later messages of the key back with it, and they must not have begun by then.
        """
        self._settlement.add(delivery, outcome)
        if delivery.lane is not None and not isinstance(outcome, RetryLater):
            self._advance(delivery)

    def _advance(self, delivery: Delivery) -> None:
        """Leave the lane, and let the next message in it begin."""
        if (following := self._lanes.leave(delivery)) is not None:
            self._begin(following)

    def _settled(self, delivery: Delivery, outcome: Outcome, answer: Settled) -> None:
        if answer is Settled.LOST:
            self.stats.lost += 1
            self._tell("lost", delivery)
        elif outcome is RELEASE:
            self.stats.released += 1
        if isinstance(outcome, RetryLater):
            # Whatever the source said is lost beside it is dropped first: it says so in a task of its own.
            self._loop.call_soon(self._advance, delivery)
        self._forget()

    def _not_put_off(self, delivery: Delivery, outcome: RetryLater) -> None:
        logger.warning(
            "source %s: %s cannot be put off durably: it waits %.3g s in this process",
            self.name,
            delivery,
            outcome.after,
        )
        self._hold(delivery)

    def _forget(self, count: int = 1) -> None:
        """So many deliveries are no longer ours: their slots are free."""
        self._in_flight -= count
        self._free_slots()
        self._tell_progress()

    async def _lost(self, deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
        """`Lost`: drop what has not started, wait for what runs and its settlement."""
        needed = set[Delivery]() if gone else self._before_started()
        while deliveries := [
            one
            for one in deliveries
            if ((one in needed and one not in self._held) or not self._drop(one)) and one.state in OURS
        ]:
            await self._progress()

    def _before_started(self) -> set[Delivery]:
        """What has to be handled, or else what has begun is handled twice."""
        return self._prefix.before_started(self._held)

    def _drop(self, delivery: Delivery) -> bool:
        """Forget a delivery that has not started. False where a handler is at it, or it waits to be settled."""
        if delivery.state is not State.WAITING:
            return delivery.state is State.LOST
        delivery.state = State.LOST
        self._memory.keep(delivery)
        if delivery in self._held:
            self._held.discard(delivery)
            delivery.trouble.timer.cancel()
            self._advance(delivery)
        if self._probation is not None and delivery in self._probation.kept:
            self._probation.kept.remove(delivery)
        self.stats.lost += 1
        self._tell("lost", delivery)
        self._forget()
        return True

    def _release_waiting(self, *, but: AbstractSet[Delivery] = frozenset()) -> None:
        """Give back everything that no handler has begun with, but for some."""
        # The first of each lane goes first: a list has no other order than the one in which values come back to it.
        waiting = [*self._held, *self._workers.ready, *self._lanes.waiting()]
        waiting += self._probation.kept if self._probation else ()
        kept = [delivery for delivery in self._workers.ready if delivery in but]
        self._workers.ready.clear()
        self._workers.ready.extend(kept)
        self._held.clear()
        self._probation = None
        for delivery in waiting:
            if delivery.trouble is not None and delivery.trouble.timer is not None:
                delivery.trouble.timer.cancel()
            if delivery.state is State.WAITING and delivery not in but:
                self._settlement.add(delivery, RELEASE)

    # ---- what others are told --------------------------------------------------------------------------------

    def _tell(
        self, kind: Kind, delivery: Delivery, *, error: BaseException | None = None, wait: float | None = None
    ) -> None:
        """Tell the hooks what became of a message."""
        if self._hooks:
            trouble: Trouble | None = delivery.trouble
            self.life.tell(
                kind,
                topic=delivery.topic,
                event=delivery.route.name if delivery.route else "",
                message_id=(trouble.origin if trouble else "") or delivery.stable_id,
                attempt=trouble.failures if trouble else 0,
                error=error,
                wait=wait,
            )

    # ---- waiting and waking ----------------------------------------------------------------------------------

    def _free_slots(self) -> None:
        _resolve(self._slots)

    def _tell_progress(self) -> None:
        _resolve(self._watchers)

    async def _progress(self, timeout: float | None = None) -> None:
        """Wait until something was settled or held, at most ``timeout`` seconds."""
        watcher: asyncio.Future[None] = self._loop.create_future()
        self._watchers.append(watcher)
        await asyncio.wait([watcher], timeout=timeout)

    async def _back_off(self, failures: int) -> None:
        """Wait longer with each failure, with jitter, but not while the consumer is to stop."""
        pause = min(_LONGEST_PAUSE, 0.1 * 2.0**failures) * random.uniform(0.5, 1.0)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._stopping.wait()


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    while futures:
        if not (future := futures.pop()).done():
            future.set_result(None)


def _lookup(stated: Sequence[str], usual: Sequence[str], wire: Format, *, what: str) -> Lookup | None:
    """The rules that the source states, else the format's; None where there are none."""
    if stated:
        return compile_rules(stated, what=what)
    return compile_rules(usual, what=what, fields_if=wire.fields_if) if usual else None
