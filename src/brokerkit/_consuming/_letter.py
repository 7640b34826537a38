"""A dead letter that is read again: what it says, whose it is, and the messages that can be made of it."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from brokerkit import _clock
from brokerkit._consuming._deadletters import FAILURE_HEADERS
from brokerkit._consuming._trouble import (
    COPY,
    DONE,
    ERROR,
    ERROR_TYPE,
    EVENT,
    FAILURES,
    FIRST_FAILURE,
    GROUP,
    HANDLER,
    LAST_FAILURE,
    ONLY,
    ORIGIN,
    TOPIC,
    Trouble,
    copy_id,
)
from brokerkit._errors import ConfigError
from brokerkit._message import CONTENT_TYPE, INTERNAL, Delivery, Headers, Message, Outgoing, header_text

Moment = datetime.datetime | float
"""Unix time in seconds, or a date and time; without a zone it is local time."""

_HISTORY: Final = frozenset({*FAILURE_HEADERS, ORIGIN, COPY, TOPIC})
_REMEMBERED_IDS: Final = 330.0
"""SQS FIFO drops an id that it saw within five minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that could not be handled, and why.

    Attributes:
        message: the message as its handlers saw it; `Message.id` is that of the original, `Message.attempt` the next one.
        topic: topic that it was read from; "" where the letter does not say so (it was too large to say more).
        group: the group that failed; "" where there is none, or the letter does not say so.
        handler: the handler that failed; "" where none ran.
        error_type: class of the error.
        error: its text, at most 1 KiB.
        attempts: attempts that failed.
        first_failure: when the first failed, in UTC.
        last_failure: when it became a dead letter, in UTC.
    """

    message: Message
    topic: str
    group: str
    handler: str
    error_type: str
    error: str
    attempts: int
    first_failure: datetime.datetime | None
    last_failure: datetime.datetime | None


def read_letter(letter: Delivery) -> DeadLetter:
    """What a dead letter says."""
    headers = letter.headers
    attempts = _text(letter, FAILURES)
    return DeadLetter(
        message=Message(
            event_of(letter),
            letter.body,
            key=letter.key,
            headers=headers,
            id=origin_of(letter),
            time=letter.time,
            topic=_text(letter, TOPIC),
            native=letter.native,
        ),
        topic=_text(letter, TOPIC),
        group=_text(letter, GROUP),
        handler=_text(letter, HANDLER),
        error_type=_text(letter, ERROR_TYPE),
        error=_text(letter, ERROR),
        attempts=int(attempts) if attempts.isdecimal() and len(attempts) < 16 else 0,
        first_failure=_when(_seconds(letter, FIRST_FAILURE)),
        last_failure=_when(_seconds(letter, LAST_FAILURE)),
    )


class Selection:
    """Which dead letters somebody means: those of one source, and of them those that a filter leaves.

    Args:
        topics: what the source reads.
        group: the source's group.
        events: event names; empty for all.
        errors: names of error classes; empty for all.
        since: those that became dead letters then or later.
        until: those that became dead letters before.

    Raises:
        ConfigError: ``until`` is not after ``since``.
    """

    def __init__(
        self,
        *,
        topics: Iterable[str],
        group: str | None,
        events: str | Iterable[str] = (),
        errors: str | Iterable[str] = (),
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> None:
        self._topics = frozenset(topics)
        self._group = group or ""
        self._events = frozenset([events] if isinstance(events, str) else events)
        self._errors = frozenset([errors] if isinstance(errors, str) else errors)
        self._since = _unix(since)
        self._until = _unix(until)
        if self._since is not None and self._until is not None and self._until <= self._since:
            raise ConfigError("until must be later than since: nothing fits")

    def __contains__(self, letter: Delivery) -> bool:
        if TOPIC in letter.headers and _text(letter, TOPIC) not in self._topics:
            return False  # of another source that has the same place
        if GROUP in letter.headers and _text(letter, GROUP) != self._group:
            return False
        if self._events and event_of(letter) not in self._events:
            return False
        if self._errors and _text(letter, ERROR_TYPE) not in self._errors:
            return False
        if self._since is None and self._until is None:
            return True
        # The broker's time of a letter that was too large to say more is that of its failure.
        failed = _seconds(letter, LAST_FAILURE) or letter.time
        if failed is None:
            return False
        # Letters tell whole seconds, cut off.
        return (self._since is None or failed >= int(self._since)) and (self._until is None or failed < self._until)


def event_of(letter: Delivery) -> str:
    """The event name that the failing consumer found."""
    return _text(letter, EVENT) or letter.routing_key or ""


def origin_of(letter: Delivery) -> str | None:
    """The id of the message that failed."""
    return _text(letter, ORIGIN) or letter.stable_id


def copies_of(letter: Delivery) -> int:
    """Which copy of its message this is."""
    return Trouble.from_headers(letter.headers).copies


def copy_of_letter(letter: Delivery, *, topic: str) -> Outgoing:
    """The same letter once more, for the end of its queue."""
    history = {name: value for name, value in letter.headers.items() if name in _HISTORY}
    return _outgoing(letter, topic=topic, stored=True, internal={**history, **_next_copy(letter)})


def replays_of(letter: Delivery, *, topic: str, stored: bool, group: str, shared: bool) -> Iterator[Outgoing]:
    """The message again, for its topic: with all that is known of its failures, then with less and less of it.

    All of them arrive as a first attempt. The last one says nothing but for whom it is; it has the original's id, so that
    a store of what is done still knows it, and comes only when no broker drops that id any more.

    Args:
        letter: the dead letter.
        topic: where it goes.
        stored: the topic is a queue that exists for itself.
        group: the group that is to handle it.
        shared: the topic has other groups, which must leave it alone.
    """
    only = {ONLY: group} if shared else {}
    known = {name: value for name, value in letter.headers.items() if name in _HISTORY}
    known = {FAILURES: "0", **known, **_next_copy(letter), **only}
    least: dict[str, str | bytes] = {FAILURES: "0", **_next_copy(letter), **only}
    if DONE in known:
        least[DONE] = known[DONE]
    for internal in (known, {name: value for name, value in known.items() if name != ERROR}, least):
        yield _outgoing(letter, topic=topic, stored=stored, internal=internal)
    failed = _seconds(letter, LAST_FAILURE) or letter.time or 0.0
    if known.get(DONE) in (None, "[]", b"[]") and _clock.now() - failed > _REMEMBERED_IDS:
        bare = {FAILURES: "0", **only} if shared else {}
        outgoing = _outgoing(letter, topic=topic, stored=stored, internal=bare)
        outgoing.id = origin_of(letter) or outgoing.id
        yield outgoing


def _next_copy(letter: Delivery) -> dict[str, str]:
    if (origin := origin_of(letter)) is None:
        origin = letter.id = uuid.uuid4().hex
    return {ORIGIN: origin, COPY: str(copies_of(letter) + 1)}


def _outgoing(letter: Delivery, *, topic: str, stored: bool, internal: Headers) -> Outgoing:
    own = {
        name: value for name, value in letter.headers.items() if not name.startswith(INTERNAL) and name != CONTENT_TYPE
    }
    copy = _next_copy(letter)
    return Outgoing(
        topic=topic,
        body=letter.body,
        name=event_of(letter),
        id=copy_id(letter, origin=copy[ORIGIN], number=int(copy[COPY])),
        key=letter.key,
        headers={**own, **internal},
        routing_key=letter.routing_key,
        type=letter.type,
        content_type=header_text(letter.headers, CONTENT_TYPE),
        stored=stored,
    )


def _text(letter: Delivery, name: str) -> str:
    value = letter.headers.get(name, "")
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _seconds(letter: Delivery, name: str) -> float | None:
    digits = _text(letter, name)
    return float(digits) if digits.isdecimal() and len(digits) < 12 else None


def _when(seconds: float | None) -> datetime.datetime | None:
    try:
        return None if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _unix(moment: Moment | None) -> float | None:
    return moment.timestamp() if isinstance(moment, datetime.datetime) else moment
