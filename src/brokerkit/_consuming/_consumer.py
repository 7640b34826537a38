"""The consumer of one source: receive, look up, handlers, settle, and the order in which all that stops.

One message's way through this file: `_poll` gets it in a batch, `_take` looks up its route, one of the `Workers` runs its
handlers when nothing of its key is before it, `handled` or `finish` says the outcome, and `Settlement` tells the broker.
What fails goes to `Retries`, where it waits, goes back to the broker or becomes a dead letter.

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
from typing import Any, Final

from brokerkit._consuming._deadletters import DeadLetters
from brokerkit._consuming._lanes import Lanes
from brokerkit._consuming._leases import OURS, Leases
from brokerkit._consuming._prefix import Prefix
from brokerkit._consuming._probation import Probation, show
from brokerkit._consuming._retries import Retries
from brokerkit._consuming._routes import Call, Route, Routes
from brokerkit._consuming._settlement import Settlement
from brokerkit._consuming._stats import Stats
from brokerkit._consuming._trouble import FAILURES, Trouble
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
    text,
)
from brokerkit._rules import Lookup, compile_rules
from brokerkit._settings import SourceSettings
from brokerkit._transport import Adapter, Capabilities
from brokerkit.formats import Format

logger = logging.getLogger("brokerkit")

_DELIVERIES_FOR_EACH_ATTEMPT: Final = 5
"""Releases and crashes count as deliveries too, so there may be more of them than attempts."""
_LONGEST_PAUSE: Final = 10.0
_LAG_TIMEOUT: Final = 2.0
_GRACE: Final = 1.0
"""Seconds beyond the stop timeout: for cancelled handlers to clean up, and for the last settlements."""


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
        self._probation: Probation | None = None
        if settings.unknown != "ack":
            self._probation = Probation(source=name, rules=self._rules, limit=self._max_in_flight)
        self._prefix = Prefix()
        self._leases = Leases(self._source, seconds=settings.lease, lost=self._drop)

        self._watchers: list[asyncio.Future[None]] = []

        self._loop = asyncio.get_running_loop()
        self._workers = Workers(
            source=name,
            concurrency=settings.concurrency,
            timeout=settings.timeout,
            timeouts=routes.timeouts,
            lanes=None if settings.order == "none" else self._lanes,
            message=self._message,
            results=self,
        )
        self._slots: list[asyncio.Future[None]] = []
        self._background: set[asyncio.Task[None]] = set()
        self._pollers: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._retries = Retries(
            self,
            name=name,
            settings=settings,
            capabilities=self._capabilities,
            max_in_flight=self._max_in_flight,
            stats=self.stats,
            lanes=self._lanes,
            dead_letters=dead_letters,
            stopping=self._stopping,
            back_off=self._back_off,
        )
        self._settlement = Settlement(
            self._source,
            name=name,
            acknowledged=self._forget,
            settled=self._settled,
            not_put_off=self._retries.not_put_off,
            stopping=self._stopping,
        )
        self._failure: BaseException | None = None
        self._over = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Consumer {self.name}: {self.life.state}, {self._in_flight} in flight, {len(self._retries.held)} held>"

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
            held=len(self._retries.held),
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
        self._run_beside(self._retries.burial.run())
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

    # ---- in: receive and look up -----------------------------------------------------------------------------

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
        """Give each delivery its route."""
        self._in_flight += len(batch)
        self.stats.received += len(batch)
        if self._capabilities.lease is not None:
            self._leases.add(batch)
        if self._capabilities.prefix:
            self._prefix.add(batch)
        name_of, key_of, id_of = self._name_of, self._key_of, self._id_of
        find, ready = self._routes.find, self._workers.ready
        waiting, remembered = State.WAITING, self._retries.memory.troubles
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
            if (FAILURES in delivery.headers or remembered) and not self._retries.recall(delivery):
                continue
            if (not route.known or self._probation is not None) and not self._recognise(delivery, route):
                continue
            if not route.calls:
                self.stats.skipped += 1
                self.finish(delivery, ACK)
            elif delivery.count > self._most_deliveries:
                self._retries.bury(delivery, BrokerkitError(f"delivered {delivery.count} times without an end"))
            else:
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
            self._retries.bury(delivery, DecodeError("the message has no event name where name_from looks for it"))
        elif self._settings.unknown == "reject":
            self._retries.bury(delivery, Reject(f"no handler for event {name!r}"))
        elif self._settings.unknown == "retry":
            self._retries.failed(delivery, None, BrokerkitError(f"no handler for event {name!r}"))
        else:
            self.stats.skipped += 1
            self.finish(delivery, ACK)

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
        self.finish(delivery, RELEASE)

    def failed(self, delivery: Delivery, call: Call | None, error: BaseException) -> None:
        """Have it tried again, or buried."""
        self._retries.failed(delivery, call, error)

    def postponed(self, delivery: Delivery, wait: float) -> None:
        """Have it tried again without counting a failure."""
        self._retries.postponed(delivery, wait)

    def duplicate(self, delivery: Delivery, call: Call) -> None:
        """Count it, and tell the hooks."""
        self.stats.duplicates += 1
        self.tell("duplicate", delivery)

    def passed_over(self, delivery: Delivery) -> None:
        """Let the next of its lane begin."""
        self.advance(delivery)

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
            id=delivery.origin,
            time=delivery.time,
            topic=delivery.topic,
            source=self.name,
            attempt=max((trouble.failures if trouble else 0) + 1, delivery.count),
            native=delivery.native,
        )

    # ---- what the retries ask for (`Steps`) ------------------------------------------------------------------

    def again(self, delivery: Delivery) -> None:
        """Have it handled when its lane is free."""
        if not delivery.route.known:
            self._handle_unknown(delivery)
        else:
            self._begin(delivery)

    def is_behind(self, key: str | bytes) -> bool:
        """Look among all that was taken: a message gets its place in a lane only when a worker comes to it."""
        return key in self._lanes or any(waiting.key == key for waiting in self._workers.ready)

    def _begin(self, delivery: Delivery) -> None:
        self._workers.ready.append(delivery)
        self._workers.wake(1)

    # ---- out: settle -----------------------------------------------------------------------------------------

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Have the outcome settled."""
        self._settlement.add(delivery, outcome)

    def finish(self, delivery: Delivery, outcome: Outcome) -> None:
        """Have the outcome settled, and let the next message of the key begin.

        Behind one that goes back to the broker the lane stays closed until the broker has it: a FIFO queue takes the
        later messages of the key back with it, and they must not have begun by then.
        """
        self._settlement.add(delivery, outcome)
        if delivery.lane is not None and not isinstance(outcome, RetryLater):
            self.advance(delivery)

    def advance(self, delivery: Delivery) -> None:
        """Leave the lane, and let the next message in it begin."""
        if (following := self._lanes.leave(delivery)) is not None:
            self._begin(following)

    def _settled(self, delivery: Delivery, outcome: Outcome, answer: Settled) -> None:
        if answer is Settled.LOST:
            self.stats.lost += 1
            self.tell("lost", delivery)
        elif outcome is RELEASE:
            self.stats.released += 1
        if isinstance(outcome, RetryLater):
            # Whatever the source said is lost beside it is dropped first: it says so in a task of its own.
            self._loop.call_soon(self.advance, delivery)
        self._forget()

    def _forget(self, count: int = 1) -> None:
        """So many deliveries are no longer ours: their slots are free."""
        self._in_flight -= count
        self._free_slots()
        self.tell_progress()

    async def _lost(self, deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
        """`Lost`: drop what has not started, wait for what runs and its settlement."""
        needed = set[Delivery]() if gone else self._before_started()
        while deliveries := [
            one
            for one in deliveries
            if ((one in needed and one not in self._retries.held) or not self._drop(one)) and one.state in OURS
        ]:
            await self._progress()

    def _before_started(self) -> set[Delivery]:
        """What has to be handled, or else what has begun is handled twice."""
        return self._prefix.before_started(self._retries.held)

    def _drop(self, delivery: Delivery) -> bool:
        """Forget a delivery that has not started. False where a handler is at it, or it waits to be settled."""
        if delivery.state is not State.WAITING:
            return delivery.state is State.LOST
        delivery.state = State.LOST
        self._retries.memory.keep(delivery)
        if self._retries.let_go(delivery):
            self.advance(delivery)
        if self._probation is not None and delivery in self._probation.kept:
            self._probation.kept.remove(delivery)
        self.stats.lost += 1
        self.tell("lost", delivery)
        self._forget()
        return True

    def _release_waiting(self, *, but: AbstractSet[Delivery] = frozenset()) -> None:
        """Give back everything that no handler has begun with, but for some."""
        # The first of each key goes first: a list has no other order than the one in which values come back to it.
        # In `ready` are those whose turn it is in their lanes, and those that no worker has come to yet.
        ready = self._workers.ready
        next_ones = [delivery for delivery in ready if delivery.lane is not None]
        others = [delivery for delivery in ready if delivery.lane is None]
        waiting = [*self._retries.held, *next_ones, *self._lanes.waiting(), *others]
        waiting += self._probation.kept if self._probation else ()
        kept = [delivery for delivery in ready if delivery in but]
        ready.clear()
        ready.extend(kept)
        self._retries.held.clear()
        self._probation = None
        for delivery in waiting:
            if delivery.trouble is not None and delivery.trouble.timer is not None:
                delivery.trouble.timer.cancel()
            if delivery.state is State.WAITING and delivery not in but:
                self._settlement.add(delivery, RELEASE)

    # ---- what others are told --------------------------------------------------------------------------------

    def tell(
        self, kind: Kind, delivery: Delivery, *, error: BaseException | None = None, wait: float | None = None
    ) -> None:
        """Tell the hooks what became of a message."""
        if self._hooks:
            trouble: Trouble | None = delivery.trouble
            self.life.tell(
                kind,
                topic=delivery.topic,
                event=delivery.route.name if delivery.route else "",
                message_id=delivery.origin,
                attempt=trouble.failures if trouble else 0,
                error=error,
                wait=wait,
            )

    # ---- waiting and waking ----------------------------------------------------------------------------------

    def _free_slots(self) -> None:
        _resolve(self._slots)

    def tell_progress(self) -> None:
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
