"""Dead letters: where messages end that cannot be handled, with the reason beside them and their bytes untouched."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol, cast

from brokerkit import _clock
from brokerkit._consuming._letter_file import FileOfDeadLetters
from brokerkit._consuming._trouble import (
    DONE,
    DUE,
    ERROR,
    ERROR_TYPE,
    EVENT,
    FAILURES,
    FIRST_FAILURE,
    GROUP,
    HANDLER,
    LAST_FAILURE,
    Trouble,
    copy_of,
)
from brokerkit._errors import BrokerkitError, InvalidMessage, MessageTooLarge, describe
from brokerkit._message import Delivery, Outgoing, Receipt
from brokerkit._transport import Adapter

logger = logging.getLogger("brokerkit")

FAILURE_HEADERS: Final = (GROUP, EVENT, HANDLER, ERROR_TYPE, ERROR, FIRST_FAILURE, LAST_FAILURE, FAILURES, DONE)

_LONGEST_ERROR: Final = 1024
_HOPELESS: Final = (MessageTooLarge, InvalidMessage)
"""Sending the same letter again would fail for ever."""


def dead_letter(delivery: Delivery, *, group: str | None) -> Outgoing:
    """A copy of a message that says why it is a dead letter. The same headers on every broker."""
    letter, trouble = copy_of(delivery), cast("Trouble", delivery.trouble)
    error = trouble.error
    return replace(
        letter,
        headers={
            **{name: value for name, value in letter.headers.items() if name != DUE},
            GROUP: group or "",
            EVENT: letter.name,
            HANDLER: trouble.handler,
            ERROR_TYPE: type(error).__name__,
            ERROR: describe(error).encode(errors="replace")[:_LONGEST_ERROR].decode(errors="ignore"),
            LAST_FAILURE: str(int(_clock.now())),
        },
    )


class DeadLetters(Protocol):
    """A place for dead letters."""

    async def open(self) -> None:
        """See that dead letters can be put there."""
        ...

    async def put(self, letters: Sequence[Outgoing]) -> list[BrokerkitError | None]:
        """Store them; for each None, or why it is not stored. Does not raise."""
        ...


class Burial:
    """Stores dead letters in batches, again and again until it has worked: before that no original is acknowledged.

    Args:
        place: where they go.
        source: the source's name, for the log.
        group: the group, for the letters.
        stored: told of each delivery whose letter is stored.
        refused: told of each whose letter is not stored yet, and why; after each try.
        kept: told of each whose letter could not be stored before `stopping` was set.
        back_off: waits between tries, longer with each failure.
    """

    def __init__(
        self,
        place: DeadLetters,
        *,
        source: str,
        group: str | None,
        stored: Callable[[Delivery], None],
        refused: Callable[[Delivery, BrokerkitError], None],
        kept: Callable[[Delivery], None],
        stopping: asyncio.Event,
        back_off: Callable[[int], Awaitable[None]],
    ) -> None:
        self._place = place
        self._source = source
        self._group = group
        self._stored = stored
        self._refused = refused
        self._kept = kept
        self._stopping = stopping
        self._back_off = back_off
        self._waiting: list[Delivery] = []
        self._added = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Burial of {self._source} in {self._place}: {len(self._waiting)} waiting>"

    def add(self, delivery: Delivery) -> None:
        """Store a letter for this delivery, whose `Trouble` says why."""
        self._waiting.append(delivery)
        self._added.set()

    async def run(self) -> None:
        """Store what was added, until cancelled."""
        failures = 0
        while True:
            await self._added.wait()
            self._added.clear()
            batch, self._waiting = self._waiting, []
            letters = [dead_letter(delivery, group=self._group) for delivery in batch]
            again: list[Delivery] = []
            last: BrokerkitError | None = None
            for delivery, failure in zip(batch, await self._place.put(letters), strict=True):
                if failure is None:
                    self._stored(delivery)
                else:
                    self._refused(delivery, failure)
                    again.append(delivery)
                    last = failure
            if again:
                logger.error("source %s: %d dead letters are not stored yet: %s", self._source, len(again), last)
            failures = failures + 1 if again else 0
            if again and not self._stopping.is_set():
                await self._back_off(failures)
                self._waiting += again
                self._added.set()
            else:
                for delivery in again:
                    self._kept(delivery)


class QueueOfDeadLetters:
    """Dead letters on a broker: this source's own or another.

    Args:
        overflow: takes what the broker cannot: larger than it takes even without the failure headers, or with a header
            that it refuses.
    """

    def __init__(self, adapter: Adapter, topic: str, *, create: bool | None, overflow: FileOfDeadLetters) -> None:
        self.adapter = adapter
        self.topic = topic
        self.overflow = overflow
        self._create = create

    async def open(self) -> None:
        """Provision the queue; with ``create`` None it is not even looked at."""
        if self._create is not None:
            await self.adapter.ensure([self.topic], stored=True, create=self._create)

    async def put(self, letters: Sequence[Outgoing]) -> list[BrokerkitError | None]:
        """Publish and wait for confirmation."""
        addressed = [replace(letter, topic=self.topic, stored=True) for letter in letters]
        results = await self.adapter.send(addressed)
        return [
            await self._squeeze(letter) if isinstance(result, _HOPELESS) else _failure(result)
            for letter, result in zip(addressed, results, strict=True)
        ]

    async def _squeeze(self, letter: Outgoing) -> BrokerkitError | None:
        """Leave away the error's text, then every failure header; what does not fit then goes to the overflow file."""
        for dropped in ((ERROR,), FAILURE_HEADERS):
            headers = {name: value for name, value in letter.headers.items() if name not in dropped}
            [result] = await self.adapter.send([replace(letter, headers=headers)])
            if not isinstance(result, _HOPELESS):
                return _failure(result)
        [stored] = await self.overflow.put([letter])
        return stored

    def __repr__(self) -> str:
        return f"<dead letters to {self.topic}>"


class NoDeadLetters:
    """For brokers that can store nothing, where no other place was named: dead letters are counted and logged."""

    async def open(self) -> None:
        """Nothing to do."""

    async def put(self, letters: Sequence[Outgoing]) -> list[BrokerkitError | None]:
        """Drop them; the consumer has logged each."""
        return [None] * len(letters)

    def __repr__(self) -> str:
        return "<dead letters nowhere>"


def _failure(result: Receipt | BrokerkitError) -> BrokerkitError | None:
    return result if isinstance(result, BrokerkitError) else None
