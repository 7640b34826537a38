"""Changes the body of a dead letter that is replayed, and keeps a record of that in its headers.

The record goes with the message, also into the next dead letter. It holds the body before, so nothing is lost by a mistake.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from brokerkit import _clock
from brokerkit._errors import BrokerkitError, InvalidMessage, MessageTooLarge
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import header_text
from brokerkit._messages._json import from_json, to_json
from brokerkit._messages._retry_state import EDITS

LONGEST: Final = 64 * 1024
"""Bytes of the record. RabbitMQ takes headers of 128 KiB."""


@dataclass(frozen=True, slots=True)
class Edited:
    """One change of a body.

    Attributes:
        by: who has made it, as they said.
        at: when, in UTC.
        body: the body before; None if there was none.
    """

    by: str
    at: datetime.datetime
    body: bytes | None


class Edit:
    """Changes dead letters in place.

    Attributes:
        is_made: whether a dead letter was changed.

    Args:
        change: takes the body, and returns the new one. It may raise a `BrokerkitError`: then nothing happens.
        by: who does it.
    """

    def __init__(self, change: Callable[[bytes | None], bytes], by: str) -> None:
        self._change = change
        self._by = by
        self.is_made = False

    def __repr__(self) -> str:
        return f"<Edit by {self._by}>"

    def __call__(self, letter: Delivery) -> None:
        """Change a dead letter.

        Raises:
            MessageTooLarge: the bodies before are too large for a header.
            InvalidMessage: the change could not be made.
            BrokerkitError: as the change raises.
        """
        before = letter.body
        try:
            body = self._change(before)
        except BrokerkitError:
            raise
        except Exception as error:
            raise InvalidMessage(f"the body could not be changed: {error!r}") from error
        record = {"by": self._by, "at": int(_clock.wall_time()), "body": to_json(before)}
        written = json.dumps([*_records(letter), record])
        if len(written) > LONGEST:
            raise MessageTooLarge(size=len(written), limit=LONGEST, what="the header that keeps the bodies before")
        letter.body = body
        letter.headers = {**letter.headers, EDITS: written}
        self.is_made = True


def edits_of(letter: Delivery) -> tuple[Edited, ...]:
    """Return who has changed a message before it failed, oldest first. What cannot be read counts as absent."""
    found = list[Edited]()
    for record in _records(letter):
        try:
            raw = None if record["body"] is None else from_json(record["body"])
            at = datetime.datetime.fromtimestamp(record["at"], datetime.UTC)
            found.append(Edited(str(record["by"]), at, raw.encode() if isinstance(raw, str) else raw))
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            continue
    return tuple(found)


def _records(letter: Delivery) -> list[dict[str, Any]]:
    try:
        found: object = json.loads(header_text(letter.headers, EDITS) or "[]")
    except (ValueError, RecursionError):
        return []
    records = cast("list[object]", found) if isinstance(found, list) else []
    return [cast("dict[str, Any]", record) for record in records if isinstance(record, dict)]
