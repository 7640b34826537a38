"""What is known about a failed message. It is kept with the delivery, and in the headers of every copy."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from typing import Any, Final, cast

from brokerkit._errors import describe
from brokerkit._messages._headers import Headers

ORIGIN: Final = "bk-origin"
"""Id of the message that was copied."""
COPY: Final = "bk-copy"
"""Number of the copy, so that each copy has a different id: SQS FIFO drops equal ids for five minutes."""
TOPIC: Final = "bk-topic"
"""Topic that the original was read from."""
FAILURES: Final = "bk-failures"
"""How many attempts have failed."""
DONE: Final = "bk-done"
"""JSON list of the handlers that are done with the message and do not run again."""
DUE: Final = "bk-due"
"""Unix time in seconds before which a retry is not handled."""
WAIT: Final = "bk-wait"
"""Seconds from writing the retry until it is due. The reader never waits longer than this, even if the clocks of the two
hosts differ."""
SIGNATURE: Final = "bk-signature"
"""Proof, for a reader that cannot tell by the queue, that a member of the group wrote the headers; see `_signature`."""
GROUP: Final = "bk-group"
EVENT: Final = "bk-event"
HANDLER: Final = "bk-handler"
ERROR_TYPE: Final = "bk-error-type"
ERROR: Final = "bk-error"
TRACEBACK: Final = "bk-traceback"
EDITS: Final = "bk-edits"
"""JSON list of the bodies that a message had before somebody changed them in a replay, with who and when."""
FIRST_FAILURE: Final = "bk-first-failure"
LAST_FAILURE: Final = "bk-last-failure"

_LONGEST_WHY: Final = 4_000
"""Characters of an error's text that is kept with a message. A longer one is in the log alone."""


@dataclass(slots=True)
class RetryState:
    """What is known about a message that failed, or about a copy of one.

    Attributes:
        failures: attempts that failed.
        done: handlers that are done with it.
        copies: how many copies were made, one of another, up to this message.
        origin: id of the original.
        topic: topic that the original was read from.
        error: the last failure, of a message that becomes a dead letter.
        why: type and text of the last failure in this process, for who looks at what is held. An error itself would keep
            alive whatever its traceback refers to.
        handler: the handler that failed last, or "" if none ran.
        first_failure: Unix time in seconds of the first failure; 0 if nothing has failed yet.
        due: time of the event loop before which it is not handled. Not wall time, because the wall clock may be set.
        timer: set while the core holds the message.
        settling: how often settling it has failed.
        from_us: the internal headers of the message were written by a member of the group, and count.
        trace_id: that of the span of the last attempt; "" where there is none.
        is_done_here: this process is done with it, and remembers that it may come again.
    """

    failures: int = 0
    done: tuple[str, ...] = ()
    copies: int = 0
    origin: str = ""
    topic: str = ""
    error: BaseException | None = None
    why: tuple[str, str] = ("", "")
    handler: str = ""
    first_failure: float = 0.0
    due: float = 0.0
    timer: asyncio.TimerHandle | None = None
    settling: int = 0
    from_us: bool = False
    trace_id: str = ""
    is_done_here: bool = False

    @classmethod
    def from_headers(cls, headers: Headers) -> RetryState:
        """Read what `copy_headers` wrote, in a message of ours. Headers with invalid values count as absent.

        A dead letter that is read again starts with no failures. Its handlers that are done stay done.
        """
        return cls(
            failures=0 if ERROR_TYPE in headers else _number(headers.get(FAILURES)),
            done=_names(headers.get(DONE)),
            copies=_number(headers.get(COPY)),
            origin=_string(headers.get(ORIGIN)),
            topic=_string(headers.get(TOPIC)),
            first_failure=float(_number(headers.get(FIRST_FAILURE))),
            from_us=True,
        )

    def note_why(self, error: BaseException) -> None:
        """Keep type and text of an error."""
        text = describe(error)
        self.why = type(error).__qualname__, text if len(text) <= _LONGEST_WHY else ""

    def cancel_timer(self) -> None:
        """Hold the message no longer."""
        if self.timer is not None:
            self.timer.cancel()

    def copy_headers(self, headers: Headers) -> dict[str, str | bytes]:
        """Return the headers of a copy: those of the message, and those that its reader needs."""
        return {
            **headers,
            ORIGIN: self.origin,
            COPY: str(self.copies + 1),
            TOPIC: self.topic,
            FAILURES: str(self.failures),
            DONE: json.dumps(self.done),
            FIRST_FAILURE: str(int(self.first_failure)),
        }


def _string(value: str | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def wait_of(headers: Headers, now: float, longest: float) -> float:
    """Return the seconds that a copy of a failed message still has to wait, by the wall clock of this host.

    Args:
        headers: the headers of the copy.
        now: Unix time in seconds.
        longest: longer waits are ignored, because brokerkit does not write them.
    """
    due, wait = seconds_in(headers.get(DUE)), seconds_in(headers.get(WAIT))
    left = due - now
    if wait:
        left = min(left, wait)
    return left if 0 < left <= longest else 0.0


def seconds_in(value: str | bytes | None) -> float:
    """Return the seconds in a header; 0 if they are missing or invalid."""
    try:
        seconds = float(value or 0)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0


def _number(value: str | bytes | None) -> int:
    digits = _string(value)
    return int(digits) if digits.isdecimal() and len(digits) < 16 else 0


def _names(value: str | bytes | None) -> tuple[str, ...]:
    try:
        names: Any = json.loads(value or "[]")
    except (ValueError, RecursionError):
        return ()
    return (
        tuple(name for name in cast("list[object]", names) if isinstance(name, str)) if isinstance(names, list) else ()
    )
