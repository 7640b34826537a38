"""Shows what is in a message, without what is hidden. Dead letters, held messages and live ones use the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from brokerkit._http._masking import MASK, Masking
from brokerkit._messages._headers import as_text
from brokerkit._messages._json import to_json

LARGEST: Final = 256 * 1024
"""Bytes of a body that is shown."""

Value = str | bytes | None


class Contents:
    """The contents of messages.

    Args:
        masking: hides fields and headers.
    """

    def __init__(self, masking: Masking) -> None:
        self._masking = masking

    def __repr__(self) -> str:
        return f"<Contents, with {self._masking!r}>"

    def body(self, body: bytes | None, headers: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
        """Return a body as it is shown, and all values of the message that are hidden."""
        shown, hidden = self._masking.body(text_of(body))
        return shown, (
            *hidden,
            *(value for name, value in headers.items() if isinstance(value, str) and self._masking.hides(name)),
        )

    def value(self, value: Value, hidden: Sequence[str]) -> Any:
        """Return a key or a header as JSON has it."""
        shown = to_json(value)
        return self._masking.text(shown, hidden) if isinstance(shown, str) else shown

    def text(self, text: str, hidden: Sequence[str]) -> str:
        """Return a text, such as that of an error."""
        return self._masking.text(text, hidden)

    def headers(self, headers: Mapping[str, Any], hidden: Sequence[str]) -> dict[str, Any]:
        """Return headers."""
        return {
            name: MASK if self._masking.hides(name) else self.value(value, hidden) for name, value in headers.items()
        }


def text_of(body: bytes | None) -> str | None:
    """Return a body that is text, and not too large to be shown."""
    if body is None or len(body) > LARGEST:
        return None
    shown = as_text(body)
    return shown if isinstance(shown, str) else None
