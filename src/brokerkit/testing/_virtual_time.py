"""Virtual time: the running event loop skips waits, so a retry in an hour takes no time in a test."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from brokerkit import _clock


class VirtualTime:
    """The time of a loop while `virtual_time` holds."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._begun: float = loop.time()
        self._now: float = self._begun
        self._wall: float = _clock.wall_time()
        self._selector: selectors.BaseSelector = loop._selector
        self._own_files = len(self._selector.get_map())
        self._run_in_executor: Callable[..., asyncio.Future[Any]] = loop.run_in_executor
        self._threads = 0

    def __repr__(self) -> str:
        return f"<VirtualTime: {self.elapsed:g} s have passed>"

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the beginning."""
        return self._now - self._begun

    def time(self) -> float:
        """Return the loop's time, which stands still while callbacks run."""
        return self._now

    def wall(self) -> float:
        """Return the matching Unix time in seconds."""
        return self._wall + self.elapsed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Select for the loop: skip a wait in which only timers are pending."""
        if timeout is None or timeout <= 0:
            return self._wait(timeout)
        if found := self._selector.select(0):
            return found
        if self._threads or len(self._selector.get_map()) > self._own_files:
            # A thread or a peer is working in real time, so the timers that limit its work must run in real time too.
            return self._wait(timeout)
        self._now += timeout
        return []

    def _wait(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return self._selector.select(0)
        begun = time.monotonic()
        found = self._selector.select(timeout)
        self._now += time.monotonic() - begun
        return found

    def run_in_executor(self, executor: Any, function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        """Run a function in a thread, and skip no wait until it is done or given up."""
        future: asyncio.Future[Any] = self._run_in_executor(executor, function, *arguments)
        self._threads += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._threads -= 1

    def give_back(self, real: float) -> None:
        """Keep the distance of every remaining timer in real time."""
        ahead = self._now - real
        for handle in self._loop._scheduled:
            handle._when -= ahead


class _Selector:
    """The loop's selector, with waits replaced."""

    def __init__(self, selector: selectors.BaseSelector, select: Callable[..., Any]) -> None:
        self._selector = selector
        self.select = select

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)


@contextmanager
def virtual_time() -> Generator[VirtualTime]:
    """Let the running event loop skip waits: when nothing is ready, its clock jumps to the next timer.

    brokerkit's wall clock follows: retries, leases and dead letters have the times that they would have. ``time.time()``
    and ``time.monotonic()`` in your own code stay real; ask ``asyncio.get_running_loop().time()``. While a function runs
    in a thread (a plain handler, `asyncio.to_thread`), or a socket is open on the loop, time takes its time. At the end
    the loop has its own clock again, and timers that are left are as far away as they were.

    Raises:
        RuntimeError: the loop is none of asyncio's selector loops (uvloop, Windows' proactor), or its time is virtual
            already.
    """
    loop: Any = asyncio.get_running_loop()
    if not isinstance(getattr(loop, "_selector", None), selectors.BaseSelector):
        raise RuntimeError(
            f"virtual_time needs one of asyncio's selector loops with its own clock, not {type(loop).__name__}: "
            "run the test on asyncio.SelectorEventLoop, and do not nest virtual_time"
        )
    virtual, selector = VirtualTime(loop), loop._selector
    own: dict[str, Any] = loop.__dict__
    before = dict(own)
    loop._selector = _Selector(selector, virtual.select)
    loop.time = virtual.time
    loop.run_in_executor = virtual.run_in_executor
    read = _clock.use(virtual.wall)
    try:
        yield virtual
    finally:
        _clock.use(read)
        loop._selector = selector
        for name in ("time", "run_in_executor"):
            if name in before:
                setattr(loop, name, before[name])
            else:
                delattr(loop, name)
        virtual.give_back(loop.time())
