"""Stream entries whose fields are the event (``body_field = "*"``), as plain producers write them. Pure.

``XADD s * type paid amount 2.50`` is read as the body ``{"type":"paid","amount":"2.50"}``: Redis only knows text. What
brokerkit writes in this form has other fields beside it, which begin with ``bk-``: headers, and the two below.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from brokerkit.adapters.api import INTERNAL_PREFIX, Outgoing, strict_json
from brokerkit.adapters.redis._wire import EntryFormat, Parts

JSON_FIELDS: Final = "bk-json"
"""Names the fields whose value is JSON and not text, as a list in JSON. What we have written is read as it was."""

WHOLE_BODY: Final = "bk-body"
"""A body that cannot lie in fields: not a JSON object, an empty one, or one with a name that begins with ``bk-``."""

_PREFIX: Final = INTERNAL_PREFIX.encode()
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_DECODER: Final = json.JSONDecoder()


class FlatEntries:
    """Stream entries whose fields are the members of a JSON object. A field that is not UTF-8 makes all of them headers."""

    def __init__(self) -> None:
        self._beside = EntryFormat(WHOLE_BODY, escape_all=True)

    def fields(self, outgoing: Outgoing, limit: int) -> list[bytes]:
        written = self._beside.fields(outgoing, limit)
        try:
            members = [] if outgoing.body is None else list(_members(outgoing.body.decode()))
        except ValueError:
            members = []
        if not members or any(name.startswith(INTERNAL_PREFIX) for name, _, _ in members):
            return written
        flat = [part.encode() for name, value, _ in members for part in (name, value)]
        if as_json := [name for name, _, is_json in members if is_json]:
            flat += JSON_FIELDS.encode(), _dumps(as_json).encode()
        return flat + written[2:]

    def parts(self, flat: Sequence[bytes]) -> Parts:
        ours: list[bytes] = []
        event: list[bytes] = []
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            (ours if name.startswith(_PREFIX) else event).extend((name, value))
        if not event:
            return self._beside.parts(ours)
        try:
            members = dict(_pairs(event))
        except UnicodeDecodeError:
            return self._beside.parts(flat)
        _, key, id, beside = self._beside.parts(ours)
        headers = dict(beside)
        as_json = headers.pop(JSON_FIELDS, None)
        if as_json is None:
            return _dumps(members).encode(), key, id, headers
        names = set(strict_json(as_json.decode() if isinstance(as_json, bytes) else as_json))
        joined = (f"{_dumps(name)}:{text if name in names else _dumps(text)}" for name, text in members.items())
        return f"{{{','.join(joined)}}}".encode(), key, id, headers

    def lacks_body(self, flat: Sequence[bytes]) -> str | None:
        if WHOLE_BODY.encode() in flat[::2]:
            return None
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            try:
                b"\0".join((name, value)).decode()
            except UnicodeDecodeError as error:
                return f"the field {name.decode(errors='backslashreplace')!r} of the entry is not UTF-8: {error.reason}"
        return "the entry has no field of an event"


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    each = iter(flat)
    return ((name.decode(), value.decode()) for name, value in zip(each, each, strict=True))


def _members(body: str) -> Iterator[tuple[str, str, bool]]:
    """Yield the name of each member of a JSON object, its text, and whether that is JSON, as it was written.

    Raises:
        ValueError: it is not a JSON object, or has text that no broker takes.
    """
    if not isinstance(value := strict_json(body), dict):
        raise ValueError("not a JSON object")
    at = body.index("{") + 1
    for _ in cast("dict[str, Any]", value):
        name, at = _DECODER.raw_decode(body, body.index('"', at))
        start = _after_space(body, body.index(":", at) + 1)
        found, at = _DECODER.raw_decode(body, start)
        yield name, found if isinstance(found, str) else body[start:at], not isinstance(found, str)
    if body[_after_space(body, at)] != "}":
        raise ValueError("a name is there twice")


def _after_space(body: str, at: int) -> int:
    found = _SPACE.match(body, at)
    assert found is not None
    return found.end()


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
