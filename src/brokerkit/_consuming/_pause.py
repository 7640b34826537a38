"""Pauses one source: it hands nothing new to handlers and takes nothing from the broker, and stays what it is there."""

from __future__ import annotations

import asyncio

from brokerkit._consuming._isolation import Isolation
from brokerkit._logging import get_logger
from brokerkit._status._health import Status
from brokerkit.adapters.api import PausesReading, Source

logger = get_logger(__name__)


class Pause:
    """Begins and ends pauses.

    What was received before waits in this process, with its lease extended, and keeps its place among the messages of its
    key. What the adapter has fetched in addition is given back where somebody else could handle it.

    Args:
        isolation: keeps what may not begin.
        source: what is read.
        name: the source's name, for the log.
        status: shows the pause.

    Attributes:
        is_asked_for: whether somebody has asked for it.
        is_open: whether the circuit breaker is open.
    """

    def __init__(self, isolation: Isolation, *, source: Source, name: str, status: Status) -> None:
        self._isolation = isolation
        self._reading = source if isinstance(source, PausesReading) else None
        self._name = name
        self._status = status
        self.is_asked_for = self.is_open = False
        self._changing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Pause of {self._name}: {'on' if self._isolation.paused else 'off'}>"

    @property
    def is_on(self) -> bool:
        """Whether the source is paused, for whatever reason."""
        return self._isolation.paused

    async def begin(self, why: str) -> None:
        """Let nothing new begin from now on, and return when nothing more is fetched. Does nothing if it is so already.

        Args:
            why: the reason, for health, hooks and the log.
        """
        async with self._changing:
            if self.is_asked_for:
                return
            self.is_asked_for = self._stop_beginning(why)
            if self.is_asked_for and self._reading is not None:
                await self._reading.pause_reading()

    async def end(self) -> None:
        """Go on, with what waits here first, also where the circuit breaker is open. Does nothing if there is no pause."""
        async with self._changing:
            if self.is_asked_for and self._reading is not None:
                await self._reading.resume_reading()
            self.is_asked_for = self.is_open = False
            self._go_on()

    def open(self, why: str) -> None:
        """Let nothing new begin, because the circuit breaker opens. What was fetched stays: it is for a short while."""
        self.is_open = self._stop_beginning(why)

    def close(self) -> None:
        """Go on, because the circuit breaker closes, unless a pause was asked for."""
        self.is_open = False
        if not self.is_asked_for:
            self._go_on()

    def _stop_beginning(self, why: str) -> bool:
        """Return False where the source is stopping, so that nothing begins anyway."""
        self._isolation.pause()
        if not self._isolation.paused:
            return False
        logger.warning("source %s: paused: %s", self._name, why)
        self._status.pause(why)
        return True

    def _go_on(self) -> None:
        if self._isolation.paused:
            logger.warning("source %s: resumed", self._name)
            self._status.resume()
            self._isolation.resume()
