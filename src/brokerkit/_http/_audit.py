"""Writes down who has changed what over HTTP, for the logger ``brokerkit.audit``. No line holds a body or a token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request

from brokerkit._logging import FIELDS, get_logger

logger = get_logger("brokerkit.audit")

_LONGEST: Final = 3_000
"""Characters of the ids in one line. A longer text is cut."""


class Audit:
    """What one request does.

    Args:
        request: the request.
        action: what it does, as a verb.
        source: to which source; None for all.
        token: whether it had to send a token.
        by: who it says that it is; "" if it does not.
    """

    def __init__(self, request: Request, action: str, source: str | None, *, token: bool, by: str = "") -> None:
        self._action = action
        self._source = source
        self._by = by
        address = request.client.host if request.client is not None else "an unknown address"
        self._from = f"{'the owner of the token at ' if token else ''}{address}"

    def __repr__(self) -> str:
        return f"<Audit of {self._action}>"

    def note(self, result: str, **fields: Any) -> None:
        """Write a line.

        Args:
            result: what has happened.
            **fields: of the record, beside those that each has.
        """
        known = {"action": self._action, "source": self._source or "", "by": self._by, "from": self._from}
        known = {f"audit_{name}": value for name, value in {**known, "result": result, **fields}.items()}
        logger.warning(
            "control over HTTP: %s %s, by %s%s: %s",
            *(self._action, "all sources" if self._source is None else f"source {self._source}"),
            *(f"{self._by!r}, " if self._by else "", self._from, result),
            extra={FIELDS: lambda: known},
        )

    def note_ids(self, ids: Sequence[str]) -> None:
        """Write which messages it has worked on."""
        some, size = list[str](), 0
        for id in ids:
            if some and size + len(id) > _LONGEST:
                self._note_some(some)
                some, size = [], 0
            some.append(id)
            size += len(id) + 4
        if some:
            self._note_some(some)

    def _note_some(self, ids: Sequence[str]) -> None:
        written = json.dumps(ids, ensure_ascii=False)
        self.note(f"messages {written}", ids=written)
