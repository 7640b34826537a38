"""The lines of a recording: JSON objects, the first of which says what the file is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from brokerkit._messages._json import from_json, to_json
from brokerkit._messages._message import Message

VERSION: Final = 1
HEAD: Final = "brokerkit-recording"
"""The key that marks the first line."""


def head_line(*, format: str, name_from: tuple[str, ...]) -> bytes:
    """Return the first line of a file.

    Args:
        format: the wire format of the source.
        name_from: the rules that found the event names.
    """
    return _line({HEAD: VERSION, "format": format, "name_from": list(name_from)})


def message_line(message: Message) -> bytes:
    """Return the line of a message, with all its parts."""
    return _line(
        {
            "id": message.id,
            "name": message.name,
            "key": to_json(message.key),
            "time": message.time,
            "topic": message.topic,
            "headers": {name: to_json(value) for name, value in message.headers.items()},
            "body": to_json(message.body),
        }
    )


def parse(line: bytes) -> dict[str, Any]:
    """Return the JSON object of a line.

    Raises:
        ValueError: it is not a JSON object.
    """
    value: object = json.loads(line.decode(errors="surrogatepass"))
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return cast("dict[str, Any]", value)


def message_of(line: Mapping[str, Any]) -> Message:
    """Return the message of a line.

    Raises:
        KeyError, TypeError, ValueError: the line does not hold a message.
    """
    headers = {str(name): from_json(value) for name, value in line["headers"].items()}
    body = from_json(line["body"]) if line["body"] is not None else None
    return Message(
        str(line["name"]),
        body.encode() if isinstance(body, str) else body,
        key=None if line["key"] is None else from_json(line["key"]),
        headers=headers,
        id=line["id"],
        time=None if line["time"] is None else float(line["time"]),
        topic=str(line["topic"]),
    )


def _line(value: Mapping[str, Any]) -> bytes:
    # The name of a header may hold a surrogate, which stands for a byte of a name that is not UTF-8.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass") + b"\n"
