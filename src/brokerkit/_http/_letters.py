"""Dead letters over HTTP: listed, grouped by error, shown, replayed, edited and purged."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from brokerkit._dead_letters._handle import DeadLetters
from brokerkit._dead_letters._letter import DeadLetter
from brokerkit._dead_letters._selection import Selected
from brokerkit._dead_letters._walk import Progress
from brokerkit._errors import BrokerkitError, Incomplete, InvalidMessage, NotFound
from brokerkit._http._contents import Contents, text_of
from brokerkit._http._masking import Masking
from brokerkit._http._opening import Opening

Answer = dict[str, Any]
"""As JSON has it; see docs/console.md."""

_LONGEST_WALK: Final = 15.0
"""Seconds after which a list says what it has found so far."""
_LONGEST_TURN: Final = 0.01
"""Seconds of a walk without a turn for others."""
_MOST_GROUPS: Final = 100
_MOST_NAMES: Final = 50
"""How many handlers, and how many events, are counted in one group."""


class Busy(BrokerkitError):
    """Another walk through dead letters is under way."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of the dead letters that the filters choose.

    Attributes:
        text: only those that hold this text in what is shown of them.
        offset: how many are left out at the beginning.
        limit: how many are shown.
        contents: whether bodies and headers are shown.
    """

    text: str
    offset: int
    limit: int
    contents: bool


class Letters:
    """Answers about dead letters. There is one walk at a time: on some brokers each hides letters from all others.

    Args:
        opening: opens the bus for one answer.
        masking: hides fields of messages.

    Attributes:
        opening: as given.
        masking: as given.
    """

    def __init__(self, opening: Opening, masking: Masking) -> None:
        self.opening = opening
        self.masking = masking
        self._contents = Contents(masking)
        self._walking = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Letters, with {self.masking!r}>"

    async def listed(self, source: str, page: Page, selected: Selected) -> Answer:
        """Return one page of dead letters.

        Raises:
            Busy: another walk is under way.
            Closed: the bus is not open.
            ConfigError: there is no such source, or it has no dead letters.
            BrokerkitError: the broker cannot be reached, or refuses.
        """
        found = list[Answer]()
        matched = 0

        def take(letter: DeadLetter) -> None:
            nonlocal matched
            shown = self._shown(letter, contents=True) if page.text else None
            if shown is not None and not _holds(shown, page.text.lower()):
                return
            matched += 1
            if page.offset < matched <= page.offset + page.limit:
                found.append(self._shown(letter, contents=page.contents))

        answer = await self._walk(source, selected, take, lambda: matched > page.offset + page.limit)
        return {"letters": found, "offset": page.offset, "more": matched > page.offset + page.limit, **answer}

    async def grouped(self, source: str, selected: Selected) -> Answer:
        """Return how many dead letters have the same error, most first. Errors are those of `listed`."""
        groups = dict[str, _Group]()

        def take(letter: DeadLetter) -> None:
            name = letter.error_type
            if name not in groups:
                if len(groups) >= _MOST_GROUPS:
                    return
                groups[name] = _Group(self._shown(letter, contents=False)["error"])
            groups[name].add(letter)

        answer = await self._walk(source, selected, take, lambda: False)
        ordered = sorted(groups.items(), key=lambda item: -item[1].count)
        return {"errors": [{"error_type": name, **group.shown()} for name, group in ordered], **answer}

    async def worked(
        self,
        source: str,
        work: Literal["replay", "purge"],
        selected: Selected,
        *,
        limit: int | None,
        told: Callable[[Progress], None],
    ) -> None:
        """Replay or purge dead letters.

        Raises:
            Incomplete: some could not be looked at.
            BrokerkitError: as `listed` and `DeadLetters.replay` do.
        """
        async with self._letters(source) as letters:
            await (letters.replay if work == "replay" else letters.purge)(limit=limit, progress=told, **selected)

    async def edited(
        self, source: str, id: str, *, body: str, of: str, by: str, told: Callable[[Progress], None]
    ) -> None:
        """Replay one dead letter with another body.

        Args:
            source: name of the source.
            id: of the message.
            body: the new one, with masks where fields are hidden.
            of: the digest of the dead letter's body, as it was shown.
            by: who does it.
            told: called with the progress.

        Raises:
            NotFound: there is no such dead letter.
            InvalidMessage: the body cannot be edited, or is another one by now.
            BrokerkitError: as `DeadLetters.replay_edited` does.
        """

        def change(before: bytes | None) -> bytes:
            if _digest(before) != of:
                raise InvalidMessage("this dead letter has another body than the one that was edited: look at it again")
            shown = text_of(before)
            if shown is None or self.masking.body(shown)[0] is None:
                raise InvalidMessage("only a body that is shown can be edited")
            return self.masking.restored(body, shown).encode()

        async with self._letters(source) as letters:
            if not await letters.replay_edited(id, change, by=by, progress=told):
                raise NotFound(f"there is no dead letter {id!r} in {letters.location}")

    @asynccontextmanager
    async def _letters(self, source: str) -> AsyncGenerator[DeadLetters]:
        if self._walking.locked():
            raise Busy("another walk through the dead letters is under way; ask again when it has ended")
        async with self._walking, self.opening() as bus:
            yield bus.dead_letters(source)

    async def _walk(
        self, source: str, selected: Selected, take: Callable[[DeadLetter], None], enough: Callable[[], bool]
    ) -> Answer:
        """Look at dead letters until it is enough, or takes too long. Return what is said about the walk itself."""
        end = time.monotonic() + _LONGEST_WALK
        held_up = time.monotonic() + _LONGEST_TURN
        last = Progress()

        def told(progress: Progress) -> None:
            nonlocal last
            last = progress

        async with self._letters(source) as letters:
            walk = letters.browse(
                enough=lambda: enough() or time.monotonic() > end,
                progress=told,
                **selected,
            )
            try:
                async with aclosing(walk):
                    async for letter in walk:
                        take(letter)
                        if time.monotonic() > held_up:
                            await asyncio.sleep(0)  # the handlers of the bus are on this event loop
                            held_up = time.monotonic() + _LONGEST_TURN
            except Incomplete:
                pass  # `unseen` says so
            return {
                "location": letters.location,
                "broker": letters.broker,
                "browse": letters.browse_effect,
                "looked_at": last.done + last.kept,
                "unseen": last.unseen,
            }

    def _shown(self, letter: DeadLetter, *, contents: bool) -> Answer:
        """Return why a message is a dead letter, and its contents, without what is hidden."""
        message = letter.message
        body, hidden = self._contents.body(message.body, message.headers)
        facts: Answer = {
            "id": message.id,
            "event": message.name,
            "key": self._contents.value(message.key, hidden),
            "topic": letter.topic,
            "group": letter.group,
            "handler": letter.handler,
            "error_type": letter.error_type,
            "error": self._contents.text(letter.error, hidden),
            "attempts": letter.attempts,
            "first_failure": _unix(letter.first_failure),
            "last_failure": _unix(letter.last_failure),
            "edits": [{"by": each.by, "at": _unix(each.at)} for each in letter.edits],
        }
        if not contents:
            return facts
        return {
            **facts,
            "time": message.time,
            "traceback": self._contents.text(letter.traceback, hidden),
            "headers": self._contents.headers(message.headers, hidden),
            "body": body,
            "body_bytes": None if message.body is None else len(message.body),
            "digest": _digest(message.body),
        }


class _Group:
    """Dead letters with the same type of error.

    Attributes:
        count: how many there are.

    Args:
        error: the text of one of these errors.
    """

    def __init__(self, error: str) -> None:
        self._error = error
        self.count = 0
        self._handlers = Counter[str]()
        self._events = Counter[str]()
        self._last = 0.0
        self._first = math.inf

    def __repr__(self) -> str:
        return f"<Group of {self.count}>"

    def add(self, letter: DeadLetter) -> None:
        self.count += 1
        for counter, name in ((self._handlers, letter.handler), (self._events, letter.message.name)):
            if name in counter or len(counter) < _MOST_NAMES:
                counter[name] += 1
        if (failed := _unix(letter.last_failure)) is not None:
            self._first, self._last = min(failed, self._first), max(failed, self._last)

    def shown(self) -> Answer:
        return {
            "count": self.count,
            "error": self._error,
            "handlers": dict(self._handlers),
            "events": dict(self._events),
            "first": self._first if self._last else None,
            "last": self._last or None,
        }


def _digest(body: bytes | None) -> str:
    return hashlib.sha256(body or b"").hexdigest()


def _holds(letter: Answer, text: str) -> bool:
    """Whether anything that is shown of a dead letter holds a text in lower case."""
    parts = [letter["id"], letter["event"], letter["key"], letter["handler"], letter["error_type"], letter["error"]]
    parts += [letter["body"], *letter["headers"].values()]
    return any(text in part.lower() for part in parts if isinstance(part, str))


def _unix(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
