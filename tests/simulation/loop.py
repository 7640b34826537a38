"""An event loop in which a seed decides which task goes on, time costs nothing, and processes can die at any await."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import heapq
import logging
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context, ContextVar, copy_context
from hashlib import blake2b
from inspect import CORO_CREATED, getcoroutinestate
from types import FunctionType, MethodType
from typing import Any, Final, Self

from brokerkit import _clock
from brokerkit._consuming import _executor, _isolation

BEGINNING: Final = 1_800_000_000.0
"""Unix time at which every simulation begins."""
_MOST_STEPS: Final = 400_000
_REAL_TASK: Final = asyncio.Task


class Endless(Exception):
    """The simulation did not come to an end: nothing is left to do, or far too much was done."""


class Life:
    """One process, from its start to its stop or death.

    Attributes:
        number: which of the processes it is.
        dead: nothing of it runs any more.
        frozen: nothing of it runs for a while.
        skew: seconds by which its wall clock is wrong.
        turns: whose turn it is to run a message alone.
    """

    def __init__(self, number: int, loop: SimulatedLoop) -> None:
        loop.lives.append(self)
        self.number = number
        self.dead = False
        self.frozen = False
        self.waiting: list[_Handle] = []
        self.skew = 0.0
        self.turns: asyncio.Lock | None = None


LIFE: Final[ContextVar[Life | None]] = ContextVar("life", default=None)


class _Handle:
    """A callback that will be called: as asyncio's own, without what a simulation does not need."""

    __slots__ = ("_args", "_callback", "_cancelled", "_context", "_when")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None, when: float = 0.0
    ) -> None:
        self._callback: Any = callback
        self._args = args
        self._context = copy_context() if context is None else context
        self._cancelled = False
        self._when = when

    def __lt__(self, _: _Handle) -> bool:
        return False  # Of those that are due at once, none comes before another.

    def cancel(self) -> None:
        self._cancelled = True
        self._callback, self._args = None, ()  # Nothing lives longer because of it.

    def cancelled(self) -> bool:
        return self._cancelled

    def when(self) -> float:
        return self._when


class _Task(asyncio.Task[Any]):
    """A task whose place in a set is the same in each run."""

    _number: int

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        loop = kwargs.get("loop") or asyncio.get_running_loop()
        made._number = loop.count()
        loop.tasks.append(made)
        return made

    def __hash__(self) -> int:
        return self._number


class _Turns:
    """The turns of lone starts: each process has its own, though all share a loop."""

    def setdefault(self, loop: object, lock: asyncio.Lock) -> asyncio.Lock:
        life = LIFE.get()
        assert life is not None
        life.turns = life.turns or lock
        return life.turns


class _Slot(_executor.Slot):
    """A slot whose place in a set is the same in each run."""

    __slots__ = ("_number",)

    def __init__(self) -> None:
        super().__init__()
        self._number = asyncio.get_running_loop().count()  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return self._number


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs one callback at a time.

    Args:
        seed: decides the order.
        disorder: how often, between 0 and 1, a task that is not the first one goes on.

    Attributes:
        faults: errors that nobody caught.
        alarms: what is called after so many steps.
    """

    def __init__(self, seed: str, disorder: float) -> None:
        super().__init__()
        self._now = 0.0
        self._random = random.Random(seed)
        self._disorder = disorder
        self._numbers = 0
        self._digest = blake2b(digest_size=8)
        self._dropped: list[_Handle] = []
        self.steps = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self.lives: list[Life] = []
        self.faults: list[str] = []
        self.alarms: dict[int, Callable[[], None]] = {}
        self.lines: list[str] | None = None
        self._running = True
        self.set_exception_handler(self._note)
        self.set_debug(False)

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if self._running:
            self.faults.append(f"nobody caught: {context.get('exception') or context['message']!r}")

    def count(self) -> int:
        """A number that nothing else in this run has."""
        self._numbers += 1
        return self._numbers

    def trace(self, line: str) -> None:
        """Note what happens; two runs are the same if all their lines are."""
        line = f"{self._now:.6f} {self.steps} {line}"
        self._digest.update(line.encode())
        if self.lines is not None:
            self.lines.append(line)

    @property
    def hash(self) -> str:
        """The digest of all lines."""
        return self._digest.hexdigest()

    def time(self) -> float:
        return self._now

    def wall(self) -> float:
        """The wall clock of the running process."""
        life = LIFE.get()
        return BEGINNING + self._now + (life.skew if life is not None else 0.0)

    def create_task(self, coro: Coroutine[Any, Any, Any], **kwargs: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        return _Task(coro, loop=self, **kwargs)

    def _process_events(self, event_list: Any) -> None: ...

    def _write_to_self(self) -> None: ...

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:
        handle = _Handle(callback, args, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:
        handle = _Handle(callback, args, context, when)
        heapq.heappush(self._scheduled, (when, handle))  # type: ignore[attr-defined]
        return handle

    def _run_once(self) -> None:
        self._run_until(_MOST_STEPS)
        if not self._stopping:  # type: ignore[attr-defined]
            raise Endless(f"more than {_MOST_STEPS} steps")

    # one piece: most of the time goes by here, and a call for each step takes longer than the step
    def _run_until(self, most: int) -> None:
        """Run until so many steps are done, or the loop is told to stop."""
        ready: deque[_Handle] = self._ready  # type: ignore[attr-defined]
        scheduled: list[tuple[float, _Handle]] = self._scheduled  # type: ignore[attr-defined]
        disorder, chance, alarms = self._disorder, self._random.random, self.alarms
        while self.steps < most and not self._stopping:  # type: ignore[attr-defined]
            while scheduled and (scheduled[0][1]._cancelled or not ready):
                when, handle = heapq.heappop(scheduled)
                if not handle._cancelled:
                    self._now = max(self._now, when)
                    ready.append(handle)
            while scheduled and scheduled[0][0] <= self._now:
                ready.append(heapq.heappop(scheduled)[1])
            if not ready:
                raise Endless("nothing is left that could happen")
            if disorder and len(ready) > 1 and chance() < disorder:
                handle = self._out_of_order(ready)
            else:
                handle = ready.popleft()
            if handle._cancelled:
                continue
            self.steps += 1
            life = handle._context.get(LIFE)
            if life is not None and (life.dead or life.frozen):
                (self._dropped if life.dead else life.waiting).append(handle)
                continue
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self.call_exception_handler({"message": f"{handle._callback!r} failed", "exception": error})
            if alarms and (alarm := alarms.pop(self.steps, None)) is not None:
                alarm()

    def _out_of_order(self, ready: deque[_Handle]) -> _Handle:
        index = self._random.randrange(len(ready))
        handle = ready[index]
        # The order of plain callbacks is what asyncio promises.
        if isinstance(handle._callback, (FunctionType, MethodType)):
            return ready.popleft()
        del ready[index]
        return handle

    def thaw(self, life: Life) -> None:
        """Let a frozen process go on."""
        life.frozen = False
        self._ready.extend(life.waiting)  # type: ignore[attr-defined]
        life.waiting.clear()

    def finish(self) -> None:
        """End what is left of dead processes in peace, so that the garbage collector finds nothing to report."""
        self._running = False
        ready: Any = self._ready  # type: ignore[attr-defined]
        ready.extend(self._dropped)
        for life in self.lives:
            life.dead = life.frozen = False
            ready.extend(life.waiting)
        asyncio._set_running_loop(self)
        try:
            self._scheduled.clear()  # type: ignore[attr-defined]
            self._run_rest()  # What has not begun must begin before it can be cancelled.
            for _ in range(5):
                self.tasks = [task for task in self.tasks if not self._is_over(task)]
                for task in self.tasks:
                    if getcoroutinestate(task.get_coro()) != CORO_CREATED:  # type: ignore[arg-type]
                        task.cancel()
                self._run_rest()
            for task in self.tasks:
                if not self._is_over(task):
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
        finally:
            asyncio._set_running_loop(None)
        ready.clear()
        self.close()

    def _is_over(self, task: asyncio.Task[Any]) -> bool:
        if task.done() and not task.cancelled():
            task.exception()  # it counts as looked at
        return task.done()

    def _run_rest(self) -> None:
        self.steps = 0
        with contextlib.suppress(Endless):
            self._run_until(500)


@contextlib.contextmanager
def simulated(seed: str, disorder: float) -> Iterator[SimulatedLoop]:
    """Make a loop, and have everything that makes tasks and reads clocks use it."""
    loop = SimulatedLoop(seed, disorder)
    read, slot, turns = _clock.use(loop.wall), _executor.Slot, _isolation._turns
    state = random.getstate()
    random.seed(f"core {seed}")
    asyncio.Task = _Task  # type: ignore[misc]
    _executor.Slot = _Slot  # type: ignore[misc]
    _isolation._turns = _Turns()  # type: ignore[assignment]
    try:
        yield loop
    finally:
        loop.finish()
        asyncio.Task = _REAL_TASK  # type: ignore[misc]
        _executor.Slot = slot  # type: ignore[misc]
        _isolation._turns = turns  # type: ignore[misc]
        random.setstate(state)
        _clock.use(read)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Write no log, and keep the garbage collector away from what was there before. Many simulations share one such block,
    because both take time to set up.
    """
    disabled = logging.root.manager.disable
    if disabled == logging.CRITICAL:
        yield
        return
    logging.disable(logging.CRITICAL)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        logging.disable(disabled)


def outside(call: Callable[..., Any], *args: Any) -> Any:
    """Call something as the world and not as the process that happens to run."""
    context = Context()
    return context.run(call, *args)
