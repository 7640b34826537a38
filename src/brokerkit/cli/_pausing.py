"""Pauses all sources of a bus that the command line runs, and resumes them: at a signal, or when a supervisor says so."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from brokerkit import BrokerkitError, Bus
from brokerkit._guard import start
from brokerkit._logging import get_logger

logger = get_logger(__name__)

TOGGLE: Final[signal.Signals | None] = getattr(signal, "SIGUSR1", None)
"""The signal that pauses and resumes. Windows has none."""
_WHY: Final = "paused by SIGUSR1"


class Pausing:
    """Pauses and resumes the sources of a bus, one order after another.

    Args:
        bus: it consumes.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._orders: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Pausing of {self._bus!r}>"

    def toggle(self) -> None:
        """Pause all sources, or resume them if all are paused. On the event loop."""
        self.order(pause=not all(one.pause.is_on for one in self._bus.runtime.consumers.values()))

    def order(self, *, pause: bool) -> None:
        """Pause all sources, or resume them. On the event loop."""
        task = start(self._carry_out(pause=pause), self._failed)
        self._orders.add(task)
        task.add_done_callback(self._orders.discard)

    async def _carry_out(self, *, pause: bool) -> None:
        try:
            await (self._bus.pause(reason=_WHY) if pause else self._bus.resume())
        except BrokerkitError as error:
            logger.warning("the signal has no effect: %s", error)

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
