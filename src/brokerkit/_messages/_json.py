"""Bodies, keys and headers as JSON: text is a string, other bytes are ``{"base64": "..."}``.

Dead-letter files, recordings, rows of the outbox and the command line's ``--json`` use it.
"""

from __future__ import annotations

import base64
from typing import cast

from brokerkit._messages._headers import as_text


def to_json(raw: str | bytes | None) -> str | dict[str, str] | None:
    """Return the value that `json.dumps` takes for a body, key or header."""
    shown = None if raw is None else as_text(raw)
    return {"base64": base64.b64encode(shown).decode()} if isinstance(shown, bytes) else shown


def from_json(value: object) -> str | bytes:
    """Return the body, key or header of a JSON value that is not null; text stays text.

    Raises:
        KeyError, TypeError, ValueError: `to_json` does not write such a value.
    """
    if isinstance(value, str):
        return value
    return base64.b64decode(cast("dict[str, str]", value)["base64"], validate=True)
