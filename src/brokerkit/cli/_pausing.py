"""Pauses the sources of a bus that the command line runs, and resumes them: at a signal, or when a supervisor says so."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from queue import SimpleQueue
from typing import Final

from brokerkit import BrokerkitError, Bus
from brokerkit._guard import start
from brokerkit._logging import get_logger

logger = get_logger(__name__)

TOGGLE: Final[signal.Signals | None] = getattr(signal, "SIGUSR1", None)
"""The signal that pauses and resumes. Windows has none."""
_WHY: Final = "paused by SIGUSR1"
_PATIENCE: Final = 1.5
"""Seconds to wait until an order is carried out. Meanwhile a worker answers no other question of its supervisor."""


@dataclass(frozen=True, slots=True)
class Change:
    """Pause sources, or resume them.

    Attributes:
        pause: whether to pause.
        source: the name of one source; None for all.
        why: the reason of a pause.
    """

    pause: bool
    source: str | None
    why: str

    def __str__(self) -> str:
        return (
            f"{'pause' if self.pause else 'resume'} {'all sources' if self.source is None else f'source {self.source}'}"
        )


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to change.

    Attributes:
        changes: one after another.
        number: how many changes were asked for over HTTP up to here.
    """

    changes: tuple[Change, ...]
    number: int


class Pauses:
    """What is paused in all workers of a bus. Signals and HTTP ask for changes, and the supervisor takes them in one order.

    Args:
        sources: the names of all sources.

    Attributes:
        woken: gets a message whenever the supervisor has something to do.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        self.woken, self._waker = Pipe(duplex=False)
        self._sources = sources
        # Its `put` may be called in a handler of signals, which may interrupt another `put`.
        self._asked: SimpleQueue[tuple[Change | None, int]] = SimpleQueue()
        self._numbers = itertools.count(1)
        self._number = 0
        self._paused = dict[str, Change]()

    def __repr__(self) -> str:
        return f"<Pauses: {', '.join(self._paused) or 'none'}>"

    def wake(self) -> None:
        """Wake the supervisor. A handler of signals may call it, and a thread."""
        self._waker.send(None)

    def toggle(self) -> None:
        """Ask to pause all sources, or to resume them if all are paused. A handler of signals may call it."""
        self._asked.put((None, 0))
        self.wake()

    def ask(self, change: Change) -> int:
        """Ask for a change, in the thread of HTTP. Return its number."""
        number = next(self._numbers)
        self._asked.put((change, number))
        self.wake()
        return number

    def take(self) -> Iterator[Order]:
        """Yield what was asked for since the last call. For the supervisor alone."""
        while not self._asked.empty():
            asked, number = self._asked.get()
            change = asked or Change(len(self._paused) < len(self._sources), None, _WHY)
            self._number = max(number, self._number)
            for name in self._sources if change.source is None else [change.source]:
                if change.pause:
                    self._paused.setdefault(name, Change(True, name, change.why))
                else:
                    self._paused.pop(name, None)
            yield Order((change,), self._number)

    def standing(self, known: Collection[str] = ()) -> Order:
        """Return what a worker needs to know.

        Args:
            known: the sources that are paused in it already.
        """
        resumed = (Change(False, name, "") for name in known if name not in self._paused)
        return Order((*self._paused.values(), *resumed), self._number)


class Pausing:
    """Pauses and resumes the sources of a bus, one order after another.

    Args:
        bus: it consumes.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._orders: set[asyncio.Task[None]] = set()
        self._progress = asyncio.Condition()
        self._number = 0

    def __repr__(self) -> str:
        return f"<Pausing of {self._bus!r}>"

    def toggle(self) -> None:
        """Pause all sources, or resume them if all are paused. On the event loop."""
        pause = not all(one.pause.is_on for one in self._bus.runtime.consumers.values())
        self.order(Order((Change(pause, None, _WHY),), 0))

    def order(self, order: Order) -> None:
        """Carry out an order. On the event loop."""
        task = start(self._carry_out(order), self._failed)
        self._orders.add(task)
        task.add_done_callback(self._orders.discard)

    async def carried_out(self, number: int) -> None:
        """Return when the order with this number is carried out, or a later one.

        Raises:
            BrokerkitError: that takes too long.
        """
        try:
            async with asyncio.timeout(_PATIENCE), self._progress:
                await self._progress.wait_for(lambda: self._number >= number)
        except TimeoutError:
            raise BrokerkitError(f"it has not done so within {_PATIENCE} seconds, and goes on trying") from None

    async def _carry_out(self, order: Order) -> None:
        async with self._progress:
            try:
                for change in order.changes:
                    if change.pause:
                        await self._bus.pause(change.source, reason=change.why)
                    else:
                        await self._bus.resume(change.source)
            except BrokerkitError as error:
                logger.warning("the sources are as they were: %s", error)
            finally:
                self._number = order.number
                self._progress.notify_all()

    def _failed(self, error: BaseException) -> None:
        logger.error("the sources could not be paused or resumed: %r", error, exc_info=error)


@contextmanager
def toggled(bus: Bus) -> Generator[None]:
    """Pause all sources of a bus at SIGUSR1, and resume them at the next, while the block runs on the event loop."""
    loop = asyncio.get_running_loop()
    if TOGGLE is not None:
        loop.add_signal_handler(TOGGLE, Pausing(bus).toggle)
    try:
        yield
    finally:
        if TOGGLE is not None:
            loop.remove_signal_handler(TOGGLE)
