"""Writes dead letters: messages that cannot be handled, with their bytes unchanged and the reason in headers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from brokerkit import _clock
from brokerkit._dead_letters._store import DeadLetterQueue, DeadLetterStore
from brokerkit._errors import BrokerkitError, describe
from brokerkit._logging import Reminder, excerpt, get_logger
from brokerkit._messages._copies import copy_of
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._outgoing import Outgoing
from brokerkit._messages._retry_state import (
    DUE,
    ERROR,
    ERROR_TYPE,
    EVENT,
    GROUP,
    HANDLER,
    LAST_FAILURE,
    TRACEBACK,
    WAIT,
)

logger = get_logger(__name__)

_LONGEST_ERROR: Final = 1_024
_LONGEST_TRACEBACK: Final = 2_048
"""Bytes of the traceback in a dead letter."""


def dead_letter(delivery: Delivery, *, group: str | None) -> Outgoing:
    """Return a copy of a message that says why it is a dead letter, with the same headers on every broker."""
    letter, retry_state = copy_of(delivery), delivery.need_retry_state()
    error = retry_state.error
    frames = excerpt(error, size=_LONGEST_TRACEBACK) if error is not None else ""
    return replace(
        letter,
        headers={
            **{name: value for name, value in letter.headers.items() if name not in (DUE, WAIT)},
            GROUP: group or "",
            EVENT: letter.name,
            HANDLER: retry_state.handler,
            ERROR_TYPE: type(error).__name__,
            ERROR: describe(error).encode(errors="replace")[:_LONGEST_ERROR].decode(errors="ignore"),
            **({TRACEBACK: frames} if frames else {}),
            LAST_FAILURE: str(int(_clock.wall_time())),
        },
    )


class DeadLetterWriter:
    """Stores dead letters in batches, and tries until it succeeds. No original is acknowledged before.

    Args:
        store: the dead-letter store.
        source: the source's name, for the log.
        group: the group, for the headers.
        stored: called with each delivery whose dead letter is stored.
        refused: called after each try, with each delivery whose dead letter is not stored yet, and the reason.
        blocked: called after each try with the reason why dead letters are not stored, or None if all are.
        kept: called with each delivery whose dead letter could not be stored before `stopping` was set.
        back_off: waits between tries, longer with each failure.
    """

    def __init__(
        self,
        store: DeadLetterStore,
        *,
        source: str,
        group: str | None,
        stored: Callable[[Delivery], None],
        refused: Callable[[Delivery, BrokerkitError], None],
        blocked: Callable[[BrokerkitError | None], None],
        kept: Callable[[Delivery], None],
        stopping: asyncio.Event,
        back_off: Callable[[int], Awaitable[None]],
    ) -> None:
        self._store = store
        self._source = source
        self._group = group
        self._stored = stored
        self._refused = refused
        self._blocked = blocked
        self._kept = kept
        self._stopping = stopping
        self._back_off = back_off
        self._waiting: list[Delivery] = []
        self._added = asyncio.Event()
        self._reminder = Reminder()
        self._asked_at: float | None = None
        self._clock = asyncio.get_running_loop().time

    def __repr__(self) -> str:
        return f"<DeadLetterWriter of {self._source} in {self._store}: {len(self._waiting)} waiting>"

    def letter(self, delivery: Delivery) -> Outgoing:
        """Return the dead letter of a delivery, for a transaction of the broker on which the queue is."""
        assert isinstance(self._store, DeadLetterQueue)  # see `refuse_impossible_transactions`
        return self._store.address(dead_letter(delivery, group=self._group))

    def add(self, delivery: Delivery) -> None:
        """Store a dead letter for this delivery, whose `RetryState` has the reason."""
        self._waiting.append(delivery)
        self._added.set()

    @property
    def is_busy(self) -> bool:
        """Whether a dead letter has yet to be stored."""
        return bool(self._waiting) or self._asked_at is not None

    def silent_for(self) -> float:
        """Seconds for which the store owes an answer; 0 if it owes none."""
        return 0.0 if self._asked_at is None else self._clock() - self._asked_at

    async def run(self) -> None:
        """Store the added dead letters, until cancelled."""
        failures = 0
        while True:
            await self._added.wait()
            self._added.clear()
            batch, self._waiting = self._waiting, []
            letters = [dead_letter(delivery, group=self._group) for delivery in batch]
            again: list[Delivery] = []
            last: BrokerkitError | None = None
            self._asked_at = self._clock()
            failed = await self._store.put(letters)
            self._asked_at = None
            for delivery, failure in zip(batch, failed, strict=True):
                if failure is None:
                    self._stored(delivery)
                else:
                    self._refused(delivery, failure)
                    again.append(delivery)
                    last = failure
            self._blocked(last)
            if again and self._reminder.due():
                logger.error("source %s: %d dead letters are not stored yet: %s", self._source, len(again), last)
            elif not again and (lasted := self._reminder.over()) is not None:
                logger.warning("source %s: dead letters are stored again, after %.3g s", self._source, lasted)
            failures = failures + 1 if again else 0
            if again and not self._stopping.is_set():
                await self._back_off(failures)
                self._waiting += again
                self._added.set()
            else:
                for delivery in again:
                    self._kept(delivery)
