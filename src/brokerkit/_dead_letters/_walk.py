"""A walk through dead letters: it looks at each once, works on the selected ones and removes them. The others stay.

A dead letter is removed only after its work is done, so a walk may be interrupted anywhere. The next walk starts with what
is left, and repeats at most the batch that was in progress.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from brokerkit._dead_letters._handled import Handled
from brokerkit._dead_letters._letter import copies_of, origin_of
from brokerkit._dead_letters._selection import Selection
from brokerkit._errors import BrokerkitError, Incomplete
from brokerkit._logging import get_logger
from brokerkit._messages._delivery import Delivery
from brokerkit.adapters.api import Cursor

_NAMED: Final = "id:"
"""What begins a message's id that a producer made look like a position; see `Delivery.stable_id`."""

logger = get_logger(__name__)

Work = Callable[[Sequence[Delivery]], Awaitable[list["bool | BrokerkitError"]]]
"""Works on dead letters. Returns for each: True if it is done, False if it must stay, an error if the walk must end. Does
not raise."""

BATCH: Final = 500
_FINISHING: Final = 5.0
"""Seconds that a cancelled walk has to remove the dead letters whose work is done."""


@dataclass(slots=True)
class Progress:
    """The progress of a walk through dead letters.

    Attributes:
        done: dead letters that were replayed and removed, or purged, or listed.
        kept: dead letters that were looked at and stay.
        foreign: those of ``kept`` that belong to other topics or groups in the same store.
        unseen: dead letters that were not looked at yet, as far as the broker knows.
        ids: those of the messages that were replayed or purged since the last report.
    """

    done: int = 0
    kept: int = 0
    foreign: int = 0
    unseen: int = 0
    ids: Sequence[str] = ()


class Walk:
    """One walk through the stores of a source, one after another.

    Args:
        cursors: cursors of the stores.
        limit: stop after this many dead letters are done.
        enough: asked before each dead letter; stop when it says so.
        told: called with the progress after each batch.
    """

    def __init__(
        self,
        cursors: Sequence[Cursor],
        selection: Selection,
        *,
        limit: int | None = None,
        enough: Callable[[], bool] | None = None,
        told: Callable[[Progress], None] | None = None,
    ) -> None:
        self.progress = Progress()
        self._cursors = cursors
        self._selection = selection
        self._limit = limit
        self._enough = enough
        self._told = told
        # Dead letters that a cursor has returned, and that were not looked at yet.
        self._in_hand = 0
        # The copy of each message that was worked on. Messages that failed again since are left for the next walk.
        self._handled = Handled()

    def __repr__(self) -> str:
        return f"<Walk: {self.progress}>"

    async def through(self, work: Work) -> None:
        """Work on all selected dead letters, and remove them.

        Raises:
            NotFound: a store does not exist.
            Incomplete: the walk could not look at some dead letters.
            BrokerkitError: the connection broke, or the work ended with an error.
        """
        async with self._opened():
            async for cursor, letters in self._batches():
                await _to_the_end(self._work_on(cursor, letters, work))

    async def selected(self) -> AsyncGenerator[Delivery]:
        """Yield the selected dead letters, without removing them.

        Raises:
            BrokerkitError: as `through` does.
        """
        async with self._opened():
            async for _, letters in self._batches():
                for letter in letters:
                    if self._is_full:
                        break
                    self._in_hand -= 1
                    if letter in self._selection:
                        self.progress.done += 1
                        yield letter
                    else:
                        self._keep(letter)

    @property
    def _is_full(self) -> bool:
        if self._enough is not None and self._enough():
            return True
        return self._limit is not None and self.progress.done >= self._limit

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[None]:
        try:
            for cursor in self._cursors:
                await cursor.open()
            self._report()
            yield
            self._report()
            if self.progress.unseen and not self._is_full:
                raise Incomplete(
                    "not all dead letters could be looked at: another reader holds them, or the broker delivers no more "
                    "until others are settled; run it again",
                    done=self.progress.done,
                    unseen=self.progress.unseen,
                )
        except (Exception, asyncio.CancelledError) as error:
            self._report()
            error.add_note(f"{self.progress.unseen:,} dead letters were not looked at")
            raise
        finally:
            for cursor in self._cursors:
                await cursor.close()

    async def _batches(self) -> AsyncGenerator[tuple[Cursor, Sequence[Delivery]]]:
        for cursor in self._cursors:
            while not self._is_full and (letters := await cursor.fetch(BATCH)):
                self._in_hand = len(letters)
                yield cursor, letters
                self._report()

    def _report(self) -> None:
        self.progress.unseen = self._in_hand + sum(cursor.unseen for cursor in self._cursors)
        if self._told is not None:
            self._told(self.progress)
        self.progress.ids = ()

    async def _work_on(self, cursor: Cursor, letters: Sequence[Delivery], work: Work) -> None:
        looked_at, chosen = self._choose(letters)
        results = await work(chosen) if chosen else []
        done = [letter for letter, result in zip(chosen, results, strict=True) if result is True]
        if done:
            await cursor.remove(done)
        self.progress.ids = [origin_of(letter) or "" for letter in done]
        self.progress.done += len(done)
        self.progress.kept += len(chosen) - len(done)
        gone = {id(letter) for letter in chosen}
        for letter in looked_at:
            if id(letter) not in gone:
                self._keep(letter)
        self._in_hand -= len(looked_at)
        for letter in done:
            self._handled.note((origin_of(letter) or "").removeprefix(_NAMED), copies_of(letter))
        for result in results:
            if isinstance(result, BrokerkitError):
                raise result

    def _choose(self, letters: Sequence[Delivery]) -> tuple[Sequence[Delivery], list[Delivery]]:
        """Return the dead letters to look at before the limit is reached, and those of them to work on."""
        chosen: list[Delivery] = []
        for number, letter in enumerate(letters):
            if self._limit is not None and self.progress.done + len(chosen) >= self._limit:
                return letters[:number], chosen
            if letter in self._selection and not self._has_come_since(letter):
                chosen.append(letter)
        return letters, chosen

    def _has_come_since(self, letter: Delivery) -> bool:
        """Whether this dead letter is a message that this walk has replayed and that has failed again."""
        origin, copies = origin_of(letter) or "", copies_of(letter)
        handled = self._handled.copies(origin.removeprefix(_NAMED))
        # A replay that its reader does not believe is a new message with the original's id: its copies are counted from
        # zero.
        return handled is not None and (copies > handled or origin.startswith(_NAMED))

    def _keep(self, letter: Delivery) -> None:
        self.progress.kept += 1
        self.progress.foreign += not self._selection.is_ours(letter)


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Do the work. When cancelled, wait a while for its end, so that finished dead letters are removed too."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await asyncio.wait([task], timeout=_FINISHING)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.warning("the last batch of the cancelled walk failed: %s", error)
        raise
