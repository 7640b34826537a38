"""Where dead letters are kept: in a queue of a broker, in a file, or nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from brokerkit._dead_letters._file import DeadLetterFile
from brokerkit._errors import BrokerkitError, InvalidMessage, MessageTooLarge
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._messages._retry_state import (
    DONE,
    ERROR,
    ERROR_TYPE,
    EVENT,
    FAILURES,
    FIRST_FAILURE,
    GROUP,
    HANDLER,
    LAST_FAILURE,
    TRACEBACK,
)
from brokerkit.adapters.api import Adapter, Cursor

LONG_HEADERS: Final = (TRACEBACK, ERROR)
"""Headers that are removed first if a dead letter is too large."""
FAILURE_HEADERS: Final = (GROUP, EVENT, HANDLER, ERROR_TYPE, *LONG_HEADERS, FIRST_FAILURE, LAST_FAILURE, FAILURES, DONE)
"""Headers that a dead letter adds to its message."""

_HOPELESS: Final = (MessageTooLarge, InvalidMessage)
"""Errors that sending again cannot fix."""


class DeadLetterStore(Protocol):
    """Stores dead letters."""

    async def open(self) -> None:
        """Check that dead letters can be stored."""
        ...

    async def put(self, letters: Sequence[Outgoing]) -> list[BrokerkitError | None]:
        """Store them. Return for each None, or why it is not stored. Does not raise."""
        ...


class DeadLetterQueue:
    """Dead letters on a broker: the source's own broker, or another.

    Args:
        overflow: takes dead letters that the broker cannot take: too large even without the failure headers, or with a
            header that it refuses.
    """

    def __init__(self, adapter: Adapter, topic: str, *, create: bool | None, overflow: DeadLetterFile) -> None:
        self.adapter = adapter
        self.topic = topic
        self.overflow = overflow
        self._create = create

    async def open(self) -> None:
        """Check or create the queue; with ``create`` None, do neither. Look at the overflow file."""
        self.overflow.look()
        if self._create is not None:
            await self.adapter.ensure([self.topic], is_queue=True, create=self._create)

    def address(self, letter: Outgoing) -> Outgoing:
        """Return a letter for this queue."""
        return replace(letter, topic=self.topic, is_queue=True, unordered=True)

    async def put(self, letters: Sequence[Outgoing]) -> list[BrokerkitError | None]:
        """Publish, and wait for the confirmations."""
        addressed = [self.address(letter) for letter in letters]
        results = await self.adapter.send(addressed)
        return [
            await self._squeeze(letter) if isinstance(result, _HOPELESS) else _failure(result)
            for letter, result in zip(addressed, results, strict=True)
        ]

    async def _squeeze(self, letter: Outgoing) -> BrokerkitError | None:
        """Remove the traceback, then the text of the error, then all failure headers, and at last use the overflow file."""
        for dropped in ((TRACEBACK,), LONG_HEADERS, FAILURE_HEADERS):
            headers = {name: value for name, value in letter.headers.items() if name not in dropped}
            [result] = await self.adapter.send([replace(letter, headers=headers)])
            if not isinstance(result, _HOPELESS):
                return _failure(result)
        [error] = await self.overflow.put([letter])
        return error

    def cursor(self) -> Cursor:
        """Return a cursor through the queue."""
        return self.adapter.cursor(self.topic)

    def __repr__(self) -> str:
        return f"<dead letters to {self.topic}>"


class NoDeadLetterStore:
    """Used if the broker stores nothing and no other store is set: dead letters are only counted and logged."""

    async def open(self) -> None:
        """Nothing to do."""

    async def put(self, letters: Sequence[Outgoing]) -> list[BrokerkitError | None]:
        """Drop them. The consumer has logged each."""
        return [None] * len(letters)

    def __repr__(self) -> str:
        return "<dead letters nowhere>"


def _failure(result: Receipt | BrokerkitError) -> BrokerkitError | None:
    return result if isinstance(result, BrokerkitError) else None
