"""A dead letter as it is read: its message, its reason, and the source that it belongs to."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from brokerkit._dead_letters._edits import Edited, edits_of
from brokerkit._messages._copies import produced_at
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._message import Message
from brokerkit._messages._retry_state import (
    ERROR,
    ERROR_TYPE,
    EVENT,
    FAILURES,
    FIRST_FAILURE,
    GROUP,
    HANDLER,
    LAST_FAILURE,
    ORIGIN,
    TOPIC,
    TRACEBACK,
    RetryState,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that could not be handled, and why.

    Attributes:
        message: the message as its handlers saw it. `Message.id` is that of the original, and `Message.attempt` is the next
            attempt.
        topic: topic that it was read from; "" if the dead letter does not say so (because it was too large).
        group: the group that failed; "" if there is none, or the dead letter does not say so.
        handler: the handler that failed; "" if none ran.
        error_type: class of the error.
        error: text of the error, at most 1 KiB.
        traceback: the end of the traceback, at most 2 KiB; "" if no handler raised the error, or it was too large.
        attempts: attempts that failed.
        first_failure: when the first attempt failed, in UTC.
        last_failure: when it became a dead letter, in UTC.
        edits: who has changed its body before, oldest first; see `DeadLetters.replay_edited`.
    """

    message: Message
    topic: str
    group: str
    handler: str
    error_type: str
    error: str
    traceback: str
    attempts: int
    first_failure: datetime.datetime | None
    last_failure: datetime.datetime | None
    edits: tuple[Edited, ...] = ()


def read_letter(letter: Delivery) -> DeadLetter:
    """Read a dead letter from its delivery."""
    headers = letter.headers
    attempts = text_of(letter, FAILURES)
    return DeadLetter(
        message=Message(
            event_of(letter),
            letter.body,
            key=letter.key,
            headers=headers,
            id=origin_of(letter),
            time=produced_at(letter),
            topic=text_of(letter, TOPIC),
            native=letter.native,
        ),
        topic=text_of(letter, TOPIC),
        group=text_of(letter, GROUP),
        handler=text_of(letter, HANDLER),
        error_type=text_of(letter, ERROR_TYPE),
        error=text_of(letter, ERROR),
        traceback=text_of(letter, TRACEBACK),
        attempts=int(attempts) if attempts.isdecimal() and len(attempts) < 16 else 0,
        first_failure=_when(seconds_of(letter, FIRST_FAILURE)),
        last_failure=_when(seconds_of(letter, LAST_FAILURE)),
        edits=edits_of(letter),
    )


def event_of(letter: Delivery) -> str:
    """Return the event name that the failing consumer found."""
    return text_of(letter, EVENT) or letter.routing_key or ""


def origin_of(letter: Delivery) -> str | None:
    """Return the id of the message that failed."""
    return text_of(letter, ORIGIN) or letter.stable_id


def copies_of(letter: Delivery) -> int:
    """Return which copy of its message this is."""
    return RetryState.from_headers(letter.headers).copies


def text_of(letter: Delivery, name: str) -> str:
    """Return a header as text; "" if it is missing."""
    value = letter.headers.get(name, "")
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def seconds_of(letter: Delivery, name: str) -> float | None:
    """Return a header that holds whole seconds, or None if it does not."""
    digits = text_of(letter, name)
    return float(digits) if digits.isdecimal() and len(digits) < 12 else None


def _when(seconds: float | None) -> datetime.datetime | None:
    try:
        return None if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return None
