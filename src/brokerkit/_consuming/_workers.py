"""Workers: the tasks that run handlers, one for each concurrency slot, for as long as the consumer lives."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from functools import partial
from inspect import isawaitable
from typing import Any, Final, Protocol

from brokerkit._consuming._lanes import Lanes
from brokerkit._consuming._once import Postponed
from brokerkit._consuming._routes import Call
from brokerkit._consuming._trouble import Trouble
from brokerkit._errors import HandlerTimeout
from brokerkit._following import HANDLED
from brokerkit._message import Delivery, Message, State

logger = logging.getLogger("brokerkit")

_AT_ONCE: Final = 2
"""Slots that one call wakes: with each of them waking as many, a thousand run within ten turns of the loop."""


class Results(Protocol):
    """Who is told what became of a delivery; each is called exactly once for a delivery that was started."""

    def handled(self, delivery: Delivery) -> None:
        """All its handlers are done."""
        ...

    def failed(self, delivery: Delivery, call: Call, error: BaseException) -> None:
        """One of its handlers failed."""
        ...

    def postponed(self, delivery: Delivery, wait: float) -> None:
        """One of its handlers is to run after so many seconds, without having failed."""
        ...

    def cancelled(self, delivery: Delivery) -> None:
        """Its handler was cancelled by `Workers.stop`."""
        ...

    def passed_over(self, delivery: Delivery) -> None:
        """It was lost before its turn came; no handler ran."""
        ...

    def duplicate(self, delivery: Delivery, call: Call) -> None:
        """One of its handlers did not run, because it is done with the message; more is said afterwards."""
        ...

    def crashed(self, error: BaseException) -> None:
        """A handler raised what no handler may (SystemExit, KeyboardInterrupt)."""
        ...


class _Worker:
    """One slot, and what runs in it.

    Attributes:
        seen: the delivery and call that the watch over timeouts saw at its last look, and when it saw them first. So no
            message has to take the time itself.
    """

    __slots__ = ("call", "delivery", "seen", "task", "timed_out")

    def __init__(self) -> None:
        self.task: asyncio.Task[None]
        self.delivery: Delivery | None = None
        self.call: Call | None = None
        self.seen: tuple[Delivery | None, Call | None, float] = (None, None, 0.0)
        self.timed_out = False

    def __repr__(self) -> str:
        return f"<worker: {self.delivery or 'idle'}>"


class Workers:
    """Runs the handlers of deliveries that are put into `ready`.

    Args:
        source: the source's name, for logs and thread names.
        concurrency: how many handlers run at once.
        timeout: seconds that a handler may take that has no timeout of its own.
        timeouts: those that handlers have.
        lanes: keep messages of one key one after another; None where that is not wanted.
        message: makes the `Message` of a delivery for handlers that take one.
        results: who is told.
    """

    def __init__(
        self,
        *,
        source: str,
        concurrency: int,
        timeout: float,
        timeouts: Iterable[float],
        lanes: Lanes | None,
        message: Callable[[Delivery], Message],
        results: Results,
    ) -> None:
        self.ready: deque[Delivery] = deque()
        self._source = source
        self._concurrency = concurrency
        self._timeout = timeout
        self._shortest_timeout = min([timeout, *timeouts])
        self._lanes = lanes
        self._message = message
        self._results = results
        self._loop = asyncio.get_running_loop()
        self._context: Context = copy_context()
        self._workers: set[_Worker] = set()
        self._idle: list[asyncio.Future[None]] = []
        self._leaving = False
        self._watchdog: asyncio.Task[None] | None = None
        self._threads = self._new_threads()

    def __repr__(self) -> str:
        busy = sum(worker.delivery is not None for worker in self._workers)
        return f"<Workers: {busy} of {len(self._workers)} busy, {len(self.ready)} ready>"

    def _new_threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._concurrency, thread_name_prefix=f"brokerkit-{self._source}")

    def start(self) -> None:
        """Start all slots and the watch over timeouts."""
        for _ in range(self._concurrency):
            self._add()
        self._watchdog = self._loop.create_task(self._watch_timeouts())

    def wake(self, count: int) -> None:
        """So many deliveries were put into `ready`: wake idle slots, which wake others while something is left.

        To wake one for each delivery costs more than a handler that never waits, after which one slot has done them all.
        """
        idle, count = self._idle, min(count, _AT_ONCE)
        while count > 0 and idle:
            waiter = idle.pop()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    async def stop(self, *, timeout: float, grace: float) -> None:
        """Let running handlers finish, cancel them after ``timeout`` seconds, and wait ``grace`` seconds for that."""
        self._leaving = True
        while self._idle:
            self.wake(_AT_ONCE)
        await self._wait_for_all(timeout)
        for worker in self._workers:
            worker.task.cancel()
        await self._wait_for_all(grace)
        for worker in self._workers:
            logger.error("source %s: a handler ignores its cancellation: %s", self._source, worker)
        if self._watchdog is not None:
            self._watchdog.cancel()
            await asyncio.wait([self._watchdog])
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _wait_for_all(self, timeout: float) -> None:
        if tasks := [worker.task for worker in self._workers]:
            await asyncio.wait(tasks, timeout=timeout)

    def _add(self) -> None:
        worker = _Worker()
        # Each slot has a context of its own, a copy of the one that the bus was started in.
        worker.task = self._loop.create_task(self._work(worker), context=self._context.copy())
        self._workers.add(worker)

    async def _work(self, worker: _Worker) -> None:
        ready, results = self.ready, self._results
        waiting, running = State.WAITING, State.RUNNING
        enter = None if self._lanes is None else self._lanes.enter
        try:
            while True:
                while not ready:
                    if self._leaving:
                        return
                    waiter: asyncio.Future[None] = self._loop.create_future()
                    self._idle.append(waiter)
                    await waiter
                    self.wake(len(ready) - 1)
                delivery = ready.popleft()
                if delivery.state is not waiting:
                    results.passed_over(delivery)
                    continue
                # One that had to wait, or is tried again, has its place already.
                if (
                    enter is not None
                    and delivery.lane is None
                    and (key := delivery.key) is not None
                    and not enter(delivery, key)
                ):
                    continue
                worker.delivery = delivery
                delivery.state = running
                HANDLED.set(delivery)
                before = copy_context()
                call = delivery.route.only
                if call is None or delivery.trouble is not None:
                    await self._run(delivery, worker)
                else:
                    # The usual message, without a coroutine of our own around the handler's.
                    worker.call = call
                    try:
                        if call.takes_message:
                            await call.function(call.read(delivery), self._message(delivery))
                        else:
                            await call.function(call.read(delivery))
                    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (any error of a handler is a failure)
                        self._fail(delivery, worker, call, error)
                    else:
                        if worker.timed_out:
                            self._fail(delivery, worker, call, None)
                        else:
                            results.handled(delivery)
                worker.delivery = None
                if copy_context() != before:
                    # A handler has set a context variable. The next message must not see it, and only a new task is
                    # rid of it. To compare what nothing has changed costs next to nothing.
                    self._add()
                    return
        except asyncio.CancelledError:
            if worker.delivery is not None:
                results.cancelled(worker.delivery)
        except BaseException as error:  # noqa: BLE001 (SystemExit and the like end the source)
            if worker.delivery is not None:
                results.cancelled(worker.delivery)
            results.crashed(error)
        finally:
            self._workers.discard(worker)

    async def _run(self, delivery: Delivery, worker: _Worker) -> None:
        """Run the handlers of one message that are not done with it yet."""
        trouble: Trouble | None = delivery.trouble
        read = event = message = None
        calls = delivery.route.calls
        for call in calls:
            if trouble is not None and call.handler.name in trouble.done:
                continue
            worker.call = call
            error: BaseException | None = None
            try:
                if call.read is not read:
                    event, read = call.read(delivery), call.read
                if call.takes_message:
                    message = message or self._message(delivery)
                arguments: tuple[Any, ...] = (event, message) if call.takes_message else (event,)
                if call.once is not None:
                    message = message or self._message(delivery)
                    if not await call.once(event, message, self._run_in_thread):
                        self._results.duplicate(delivery, call)
                elif call.handler.is_async:
                    await call.function(*arguments)
                else:
                    await self._run_in_thread(call.function, *arguments)
            except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 (any error of a handler is a failure)
                error = raised
            if error is not None or worker.timed_out:
                self._fail(delivery, worker, call, error)
                return
            if len(calls) > 1:
                trouble = delivery.trouble = trouble or Trouble()
                trouble.done = (*trouble.done, call.handler.name)
        self._results.handled(delivery)

    def _fail(self, delivery: Delivery, worker: _Worker, call: Call, error: BaseException | None) -> None:
        """Tell what a handler's error means: its timeout, its failure, or that it was cancelled by `stop`.

        Raises:
            asyncio.CancelledError: it was cancelled by `stop`.
        """
        if worker.timed_out:
            self._results.failed(delivery, call, self._time_out(worker, call))
        elif worker.task.cancelling():
            # Client libraries turn a cancellation into errors of their own; it is one all the same.
            raise asyncio.CancelledError from error
        elif isinstance(error, Postponed):
            self._results.postponed(delivery, error.wait)
        else:
            assert error is not None
            self._results.failed(delivery, call, error)

    async def _run_in_thread(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Run a plain function in a worker thread, with the context that a coroutine would have."""
        call = partial(copy_context().run, _without_stop_iteration, function, *arguments)
        result = await self._loop.run_in_executor(self._threads, call)
        if isawaitable(result):
            # A plain function that wraps a coroutine function: what it promised must not be dropped unrun.
            await result

    async def _watch_timeouts(self) -> None:
        """Cancel handlers that take too long: one look at all slots is cheaper than a clock for each message."""
        pause = min(max(self._shortest_timeout / 20, 0.01), 1.0)
        while True:
            await asyncio.sleep(pause)
            now = self._loop.time()
            for worker in self._workers:
                if worker.delivery is None or worker.timed_out:
                    continue
                delivery, call, since = worker.seen
                if worker.delivery is not delivery or worker.call is not call:
                    worker.seen = (worker.delivery, worker.call, now)
                elif call is not None and now - since > (call.handler.timeout or self._timeout):
                    worker.timed_out = True
                    worker.task.cancel()

    def _time_out(self, worker: _Worker, call: Call) -> HandlerTimeout:
        worker.timed_out = False
        worker.task.uncancel()
        handler, seconds = call.handler, call.handler.timeout or self._timeout
        if not handler.is_async:
            logger.error(
                "source %s: %s took longer than %g s and cannot be stopped: its thread runs on, its result is ignored",
                self._source,
                handler.name,
                seconds,
            )
            # The thread that is stuck must not take the place of others.
            self._threads.shutdown(wait=False)
            self._threads = self._new_threads()
        return HandlerTimeout(f"{handler.name} took longer than {seconds:g} s")


def _without_stop_iteration(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function; no future can carry its StopIteration."""
    try:
        return function(*arguments)
    except StopIteration as error:
        raise RuntimeError("the handler raised StopIteration") from error
