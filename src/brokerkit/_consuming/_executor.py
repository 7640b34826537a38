"""The executor: runs handlers in slots, tasks that live as long as the consumer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from contextvars import Context, copy_context
from functools import partial
from time import perf_counter

from brokerkit._consuming._batch_runs import BatchRuns
from brokerkit._consuming._caller import Caller
from brokerkit._consuming._failure import Stopped, outcome_of
from brokerkit._consuming._flow import Flow
from brokerkit._consuming._lanes import Key
from brokerkit._consuming._retries import Retries
from brokerkit._consuming._routes import Call, NoValue, Route, route_of
from brokerkit._consuming._slot import Slot, message_of
from brokerkit._consuming._threads import HandlerThreads
from brokerkit._errors import HandlerTimeout
from brokerkit._guard import Failed, start, watch
from brokerkit._handlers._scopes import Scope
from brokerkit._logging import get_logger
from brokerkit._messages._delivery import Delivery, State
from brokerkit._messages._log_fields import about
from brokerkit._messages._trace_context import HANDLED
from brokerkit._publishing._transaction import TRANSACTION
from brokerkit._status._spans import SourceSpans

logger = get_logger(__name__)


class Executor:
    """Runs the handlers of the deliveries that are ready in a flow.

    Args:
        flow: the source's.
        source: the source's name, for logs and thread names.
        concurrency: how many handlers run at once.
        timeout: seconds that a handler without its own timeout may take.
        timeouts: the timeouts of handlers that have one.
        retries: told of what failed.
        bus_scope: the dependencies that live as long as the bus.
        begin: told of each delivery before a handler begins with it, in the handler's context; None where nobody asks.
        crashed: told when a handler raised what no handler may (SystemExit, KeyboardInterrupt).
    """

    def __init__(
        self,
        flow: Flow,
        *,
        source: str,
        concurrency: int,
        timeout: float,
        timeouts: Iterable[float],
        retries: Retries,
        bus_scope: Scope,
        begin: Callable[[Delivery], None] | None,
        crashed: Failed,
    ) -> None:
        self._flow = flow
        self._threads = HandlerThreads(source, concurrency)
        self._caller = Caller(bus_scope, self._threads.run)
        self._source = source
        self._concurrency = concurrency
        self._timeout = timeout
        self._shortest_timeout = min([timeout, *timeouts])
        self._retries = retries
        self._begin = begin
        self._clock = perf_counter if flow.figures.durations.measured else None
        self._spans = flow.figures.spans
        self._handled = flow.handled if self._spans is None else partial(self._handled_in, self._spans)
        self._batch_runs = BatchRuns(
            flow,
            source=source,
            retries=retries,
            caller=self._caller,
            clock=self._clock,
            time_out=self._time_out,
            handled=self._handled,
            skip_tombstone=self._skip_tombstone,
            decide=self._decide,
        )
        self._crashed = crashed
        self._loop = asyncio.get_running_loop()
        self._context: Context = copy_context()
        # A handler that is in a transaction may have opened the bus.
        self._context.run(TRANSACTION.set, None)
        self._slots: set[Slot] = set()
        self._leaving = False
        self._watchdog: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        busy = sum(slot.delivery is not None for slot in self._slots)
        return f"<Executor: {busy} of {len(self._slots)} busy, {len(self._flow.ready)} ready>"

    @property
    def are_busy(self) -> bool:
        """Whether any slot has a delivery."""
        return any(slot.delivery is not None for slot in self._slots)

    @property
    def running(self) -> list[Delivery]:
        """The deliveries that are being handled."""
        busy = [(slot.batch, delivery) for slot in list(self._slots) if (delivery := slot.delivery) is not None]
        return [each for batch, delivery in busy for each in batch or (delivery,)]

    @property
    def running_lanes(self) -> AbstractSet[Key]:
        """The lanes of the deliveries that are being handled."""
        return {delivery.lane for delivery in self.running if delivery.lane is not None}

    @property
    def have_strays(self) -> bool:
        """Whether a thread still runs a handler that timed out."""
        return self._threads.have_strays

    def start(self) -> None:
        """Start all slots and the timeout check."""
        for _ in range(self._concurrency):
            self._add()
        self._watchdog = start(self._watch_timeouts(), self._crashed)

    async def stop(self, *, timeout: float, grace: float) -> None:
        """Let running handlers finish, cancel them after ``timeout`` seconds, and wait ``grace`` seconds for that."""
        self._leaving = True
        while self._flow.idle:
            self._flow.wake(len(self._flow.idle))
        await self._wait_for_all(timeout)
        for slot in self._slots:
            slot.task.cancel()
        await self._wait_for_all(grace)
        for slot in self._slots:
            extra = about(slot.delivery, self._source)
            logger.error("source %s: a handler ignores its cancellation: %s", self._source, slot, extra=extra)
        if self._watchdog is not None:
            self._watchdog.cancel()
            await asyncio.wait([self._watchdog])
        self._threads.close()

    def abort(self) -> None:
        """Cancel all handlers that run."""
        for slot in self._slots:
            if slot.delivery is not None and slot.delivery.state is State.RUNNING:
                slot.task.cancel()

    async def _wait_for_all(self, timeout: float) -> None:
        if tasks := [slot.task for slot in self._slots]:
            await asyncio.wait(tasks, timeout=timeout)

    def _add(self) -> None:
        slot, context = Slot(), self._context.copy()
        # Each slot has a context of its own, a copy of the one that the bus was started in.
        slot.task = self._loop.create_task(self._work(slot, context), context=context)
        watch(slot.task, self._crashed)
        self._slots.add(slot)

    # one piece: another function call would make each message slower
    async def _work(self, slot: Slot, context: Context) -> None:
        flow = self._flow
        ready = flow.ready if flow.limits is None else flow.limits.gate
        waiting, running = State.WAITING, State.RUNNING
        enter = flow.lanes.enter if flow.ordered else None
        mark = HANDLED.set if self._begin is None and self._spans is None else self._mark
        handled = self._handled
        clock, begun = self._clock, 0.0
        try:
            while True:
                while not ready:
                    if self._leaving:
                        if flow.batches.close_all():
                            continue
                        return
                    waiter: asyncio.Future[None] = self._loop.create_future()
                    flow.idle.append(waiter)
                    flow.out_of_work()
                    await waiter
                    begun = 0.0
                    flow.wake(len(ready) - 1)
                delivery = ready.popleft()
                if delivery.state is not waiting:
                    if (batch := flow.batches.take(delivery)) is None:
                        flow.advance(delivery)
                    elif await self._batch_runs.run(batch, slot):
                        self._add()
                        return
                    begun = 0.0
                    continue
                # A delivery that had to wait, or is tried again, is in its lane already.
                if (
                    enter is not None
                    and delivery.lane is None
                    and (key := delivery.key) is not None
                    and not enter(delivery, key)
                ):
                    if (call := route_of(delivery).batch) is not None:
                        flow.batches.add_waiting(call, key)
                    continue
                slot.delivery = delivery
                delivery.state = running
                mark(delivery)
                before = context.copy()
                route = delivery.route
                assert isinstance(route, Route)  # `route_of`, without a call
                call = route.only
                if call is None or delivery.retry_state is not None:
                    await self._run(delivery, slot)
                    begun = 0.0
                else:
                    # The usual case, without another coroutine around the handler's.
                    slot.call = call
                    if clock is not None:
                        # The end of the handler before is near enough, and the clock need not be read twice.
                        slot.begun = begun = begun or clock()
                    try:
                        if call.takes_message:
                            await call.function(call.read(delivery), message_of(delivery, self._source))
                        else:
                            await call.function(call.read(delivery))
                    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (any error of a handler is a failure)
                        self._fail(delivery, slot, call, error)
                        begun = 0.0
                    else:
                        if slot.timed_out:
                            self._fail(delivery, slot, call, None)
                            begun = 0.0
                        else:
                            if clock is not None:
                                now = clock()
                                timing, took = call.timing, now - begun
                                # Most handlers are quick, and for them a call would double the price of a duration.
                                if took <= timing.quick_end:
                                    timing.quick += 1
                                    timing.sum += took
                                else:
                                    timing.add(took)
                                begun = now
                            handled(delivery)
                slot.delivery = None
                if context != before:
                    # A handler has set a context variable. The next message must not see it, and only a new task gets
                    # rid of it. Comparing unchanged contexts costs almost nothing.
                    self._add()
                    return
        except asyncio.CancelledError:
            if slot.delivery is not None:
                self._decide(slot.delivery, None, Stopped())
        except BaseException as error:  # noqa: BLE001 (SystemExit and the like end the source)
            if slot.delivery is not None:
                self._decide(slot.delivery, None, Stopped())
            self._crashed(error)
        finally:
            self._slots.discard(slot)

    def _mark(self, delivery: Delivery) -> None:
        HANDLED.set(delivery)
        if self._begin is not None:
            self._begin(delivery)
        if self._spans is not None:
            self._spans.begin(delivery)

    def _handled_in(self, spans: SourceSpans, delivery: Delivery) -> None:
        spans.end(delivery)
        self._flow.handled(delivery)

    def _skip_tombstone(self, delivery: Delivery) -> None:
        if self._spans is not None:
            self._spans.end(delivery)
        self._flow.skip_tombstone(delivery)

    async def _run(self, delivery: Delivery, slot: Slot) -> None:
        """Run those handlers of one message that are not done with it yet."""
        slot.seen = (None, None, 0.0)  # The same message may have been tried in this slot before.
        retry_state = delivery.retry_state
        read = event = message = None
        route = route_of(delivery)
        calls = route.calls
        earlier = retry_state.done if retry_state is not None else ()
        scopes = self._caller.scopes(route)
        passed_null = bool(calls)
        left, batch = route.left(earlier)
        for call in left:
            slot.call = call
            error: BaseException | None = None
            slot.begun = 0.0 if self._clock is None else self._clock()
            try:
                if call.read is not read:
                    event, read = call.read(delivery), call.read
                message = message or message_of(delivery, self._source)
                if call.idempotent is None:
                    await self._caller.call(call, scopes, event, message)
                elif not await call.idempotent(event, message, partial(self._caller.call, call, scopes)):
                    self._flow.duplicate(delivery)
                passed_null = False
                self._count_duration(slot, call)
            except NoValue:
                continue
            except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 (any error of a handler is a failure)
                error = raised
            if error is not None or slot.timed_out:
                await self._caller.close(scopes, error)
                self._fail(delivery, slot, call, error)
                return
            if len(calls) > 1:
                retry_state = delivery.need_retry_state()
                retry_state.done = (*retry_state.done, call.handler.name)
                if self._begin is not None:
                    self._begin(delivery)
        if (error := await self._caller.close(scopes)) is not None:
            # Closing what the handlers share, such as a transaction, has failed: all of them run again.
            if retry_state is not None:
                retry_state.done = earlier
            assert slot.call is not None
            self._fail(delivery, slot, slot.call, error)
        elif batch is not None:
            await self._batch_runs.collect(delivery, batch, slot)
        elif passed_null and delivery.body is None:
            self._skip_tombstone(delivery)
        else:
            self._handled(delivery)

    def _count_duration(self, slot: Slot, call: Call) -> None:
        if self._clock is not None and not slot.timed_out:
            call.timing.add(self._clock() - slot.begun)

    def _fail(self, delivery: Delivery, slot: Slot, call: Call, error: BaseException | None) -> None:
        """Return what a handler's error means: a timeout, a failure, or that `stop` cancelled it.

        Raises:
            asyncio.CancelledError: it was cancelled by `stop`.
        """
        if slot.timed_out:
            overdue = self._time_out(slot, call)
            # Its traceback says where the handler was when its time was over.
            overdue.__traceback__ = None if error is None else error.__traceback__
            self._failed(delivery, slot, call, overdue)
        elif slot.task.cancelling():
            # Client libraries turn a cancellation into their own errors. It is still a cancellation.
            raise asyncio.CancelledError from error
        elif isinstance(error, NoValue):
            self._skip_tombstone(delivery)
        else:
            assert error is not None
            self._failed(delivery, slot, call, error)

    def _failed(self, delivery: Delivery, slot: Slot, call: Call, error: BaseException) -> None:
        if self._clock is not None:
            seconds = self._clock() - slot.begun
            self._flow.figures.took(call.handler.name, call.event, error, seconds)
        self._decide(delivery, call, error)

    def _decide(self, delivery: Delivery, call: Call | None, error: BaseException) -> None:
        if self._spans is not None:
            delivery.need_retry_state().trace_id = self._spans.trace_id(delivery)
        outcome, wait = outcome_of(self._retries.failed(delivery, call, error))
        if self._spans is not None:
            self._spans.fail(delivery, error, outcome, wait=wait)

    async def _watch_timeouts(self) -> None:
        """Cancel handlers that take too long. Checking all slots is cheaper than a timer for each message."""
        pause = min(max(self._shortest_timeout / 20, 0.01), 5.0)
        while True:
            await asyncio.sleep(pause)
            if len(self._flow.idle) == len(self._slots):
                continue  # With many sources most of them have nothing to do.
            now = self._loop.time()
            for slot in self._slots:
                if slot.delivery is None or slot.timed_out:
                    continue
                delivery, call, since = slot.seen
                if slot.delivery is not delivery or slot.call is not call:
                    slot.seen = (slot.delivery, slot.call, now)
                elif call is not None and now - since > (call.handler.timeout or self._timeout):
                    slot.timed_out = True
                    slot.task.cancel()

    def _time_out(self, slot: Slot, call: Call) -> HandlerTimeout:
        slot.timed_out = False
        slot.task.uncancel()
        handler, seconds = call.handler, call.handler.timeout or self._timeout
        if not handler.is_async:
            logger.error(
                "source %s: %s took longer than %g s and cannot be stopped: its thread runs on, its result is ignored",
                *(self._source, handler.name, seconds),
                extra=about(slot.delivery, self._source, handler=handler.name),
            )
            self._threads.renew()
        return HandlerTimeout(f"{handler.name} took longer than {seconds:g} s")
