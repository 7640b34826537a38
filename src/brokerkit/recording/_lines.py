"""The lines of a recording: JSON objects, the first of which says what the file is."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final, cast

from brokerkit._message import Message, text

VERSION: Final = 1
HEAD: Final = "brokerkit-recording"
"""The key by which a head is told from a message."""


def head_line(*, format: str, name_from: tuple[str, ...]) -> bytes:
    """What a file begins with.

    Args:
        format: the wire format of the source.
        name_from: the rules by which it found the names of events.
    """
    return _line({HEAD: VERSION, "format": format, "name_from": list(name_from)})


def message_line(message: Message) -> bytes:
    """A message with all that belongs to it; bytes that are no text are ``{"base64": "..."}``."""
    return _line(
        {
            "id": message.id,
            "name": message.name,
            "key": _value(message.key),
            "time": message.time,
            "topic": message.topic,
            "headers": {name: _value(value) for name, value in message.headers.items()},
            "body": _value(message.body),
        }
    )


def parse(line: bytes) -> dict[str, Any]:
    """The object of a line.

    Raises:
        ValueError: it is none.
    """
    value: object = json.loads(line.decode(errors="surrogatepass"))
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return cast("dict[str, Any]", value)


def message_of(line: Mapping[str, Any]) -> Message:
    """The message of a line.

    Raises:
        KeyError, TypeError, ValueError: it is no message's.
    """
    headers = {str(name): _raw(value) for name, value in line["headers"].items()}
    body = _raw(line["body"]) if line["body"] is not None else None
    return Message(
        str(line["name"]),
        body.encode() if isinstance(body, str) else body,
        key=None if line["key"] is None else _raw(line["key"]),
        headers=headers,
        id=line["id"],
        time=None if line["time"] is None else float(line["time"]),
        topic=str(line["topic"]),
    )


def _line(value: Mapping[str, Any]) -> bytes:
    # A surrogate may stand in a header's name, and is one of the bytes of a name that is no text.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass") + b"\n"


def _value(raw: str | bytes | None) -> Any:
    shown = None if raw is None else text(raw)
    return {"base64": base64.b64encode(shown).decode()} if isinstance(shown, bytes) else shown


def _raw(value: Any) -> str | bytes:
    if isinstance(value, str):
        return value
    return base64.b64decode(value["base64"], validate=True)
