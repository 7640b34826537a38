"""What is known of a message that failed: kept beside the delivery, and in the headers of every copy of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from dataclasses import dataclass
from typing import Any, Final, cast

from brokerkit._message import CONTENT_TYPE, INTERNAL, Delivery, Headers, Outgoing, header_text

ORIGIN: Final = "bk-origin"
"""Id of the message that a copy was made of."""
COPY: Final = "bk-copy"
"""Number of the copy, so that each has an id of its own: SQS FIFO drops equal ids for five minutes."""
TOPIC: Final = "bk-topic"
"""Topic that the message was read from first."""
FAILURES: Final = "bk-failures"
"""How many attempts have failed."""
DONE: Final = "bk-done"
"""JSON list of the handlers that are done with the message and do not run again."""
DUE: Final = "bk-due"
"""Unix time in seconds before which a retry is not handled."""
ONLY: Final = "bk-only"
"""The group that a replayed message is for; the others of the topic leave it alone."""
GROUP: Final = "bk-group"
EVENT: Final = "bk-event"
HANDLER: Final = "bk-handler"
ERROR_TYPE: Final = "bk-error-type"
ERROR: Final = "bk-error"
FIRST_FAILURE: Final = "bk-first-failure"
LAST_FAILURE: Final = "bk-last-failure"


_REMEMBERED: Final = 10_000


@dataclass(slots=True)
class Trouble:
    """What is known of a message that failed, or that is a copy of one that did.

    Attributes:
        failures: attempts that failed.
        done: handlers that are done with it.
        copies: how many copies led here.
        origin: id of the first of them.
        topic: topic that the first of them was read from.
        error: the last failure; ``handler`` is whose, or "" where no handler ran.
        first_failure: Unix time in seconds; 0 where nothing failed yet.
        due: Unix time in seconds before which a copy is not handled.
        timer: set while the core holds the message back.
        settling: how often settling it did not work.
    """

    failures: int = 0
    done: tuple[str, ...] = ()
    copies: int = 0
    origin: str = ""
    topic: str = ""
    error: BaseException | None = None
    handler: str = ""
    first_failure: float = 0.0
    due: float = 0.0
    timer: asyncio.TimerHandle | None = None
    settling: int = 0

    @classmethod
    def from_headers(cls, headers: Headers) -> Trouble:
        """Read back what `copy_headers` wrote. Headers that make no sense count as absent.

        A dead letter that is read again starts anew: its failures are history, its handlers that are done stay done.
        """
        return cls(
            failures=0 if ERROR_TYPE in headers else _number(headers.get(FAILURES)),
            done=_names(headers.get(DONE)),
            copies=_number(headers.get(COPY)),
            origin=_string(headers.get(ORIGIN)),
            topic=_string(headers.get(TOPIC)),
            first_failure=float(_number(headers.get(FIRST_FAILURE))),
            due=_moment(headers.get(DUE)),
        )

    def copy_headers(self, headers: Headers) -> dict[str, str | bytes]:
        """The headers of a copy: those of the message, and what must be known where the copy is read."""
        return {
            **headers,
            ORIGIN: self.origin,
            COPY: str(self.copies + 1),
            TOPIC: self.topic,
            FAILURES: str(self.failures),
            DONE: json.dumps(self.done),
            FIRST_FAILURE: str(int(self.first_failure)),
        }


def copy_id(delivery: Delivery, *, origin: str, number: int) -> str:
    """The id of a copy of a message, the same whenever that copy is made, and never that of another message's.

    Producers may give two messages one id, or forge our headers. Their copies must differ: an SQS FIFO queue drops what has
    an id that it saw within five minutes, and its answer says that it has it.
    """
    parts = [origin, str(number)]
    if (place := delivery.place) is not None and place != origin:
        parts.append(hashlib.blake2s(place.encode(errors="surrogatepass"), digest_size=8).hexdigest())
    return "~".join(parts)


def next_copy_id(delivery: Delivery) -> str:
    """The id of the next copy of a message that has failed."""
    trouble: Trouble = delivery.trouble
    return copy_id(delivery, origin=trouble.origin, number=trouble.copies + 1)


class Memory:
    """Troubles of messages that come again as they are, and not as a copy whose headers say it; the oldest go first."""

    def __init__(self) -> None:
        self.troubles: dict[str, Trouble] = {}

    def __len__(self) -> int:
        return len(self.troubles)

    def __repr__(self) -> str:
        return f"<Memory of {len(self.troubles)} failed messages>"

    def keep(self, delivery: Delivery) -> None:
        """Keep what is known of a message that is given back."""
        if delivery.trouble is not None and (stable_id := delivery.stable_id) is not None:
            if len(self.troubles) >= _REMEMBERED:
                del self.troubles[next(iter(self.troubles))]
            self.troubles[stable_id] = delivery.trouble

    def take(self, delivery: Delivery) -> Trouble | None:
        """What is known of a message that came again, once."""
        return self.troubles.pop(delivery.stable_id or "", None)


def copy_of(delivery: Delivery) -> Outgoing:
    """A copy of a failed message, for wherever it goes next: its bytes, key and headers, and what is known of it."""
    trouble: Trouble = delivery.trouble
    trouble.origin = trouble.origin or delivery.stable_id or f"{id(delivery):x}-{time.time_ns():x}"
    trouble.topic = trouble.topic or delivery.topic
    return Outgoing(
        topic=delivery.topic,
        body=delivery.body,
        name=delivery.route.name,
        id=next_copy_id(delivery),
        key=delivery.key,
        headers=trouble.copy_headers(
            {
                name: value
                for name, value in delivery.headers.items()
                if not name.startswith(INTERNAL) and name != CONTENT_TYPE
            }
        ),
        routing_key=delivery.routing_key,
        type=delivery.type,
        content_type=header_text(delivery.headers, CONTENT_TYPE),
    )


def _string(value: str | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def _moment(value: str | bytes | None) -> float:
    try:
        moment = float(value or 0)
    except ValueError:
        return 0.0
    return moment if math.isfinite(moment) else 0.0


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
