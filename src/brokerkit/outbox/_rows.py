"""Messages as rows of the outbox table, and back. Pure."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy.engine import Row

from brokerkit import _clock
from brokerkit._messages._json import from_json, to_json
from brokerkit._messages._outgoing import Outgoing


def waves_of(rows: Sequence[Row[Any]]) -> Iterator[Sequence[Row[Any]]]:
    """Rows in groups in which each key is there once; those of one key follow each other."""
    waves: list[list[Row[Any]]] = []
    earlier = Counter[str]()
    for row in rows:
        number = 0
        if row.lane is not None:
            number = earlier[row.lane]
            earlier[row.lane] += 1
        if number == len(waves):
            waves.append([])
        waves[number].append(row)
    yield from waves


def row_of(target: str, outgoing: Outgoing, *, due: float) -> dict[str, Any]:
    """The columns of a message that is to go to a target, not before ``due`` (Unix time in seconds)."""
    key = outgoing.key.encode() if isinstance(outgoing.key, str) else outgoing.key
    message: dict[str, Any] = {
        "topic": outgoing.topic,
        "name": outgoing.name,
        "key": to_json(key),
        "headers": {name: to_json(value) for name, value in outgoing.headers.items()},
        "routing_key": outgoing.routing_key,
        "type": outgoing.type,
        "content_type": outgoing.content_type,
    }
    if outgoing.priority is not None:
        message["priority"] = outgoing.priority
    return {
        "id": outgoing.id,
        "target": target,
        "lane": None if key is None else hashlib.sha256(f"{target}\n".encode() + key).hexdigest(),
        "message": json.dumps(message),
        "body": outgoing.body,
        "written": _clock.wall_time(),
        "due": due,
    }


def outgoing_of(row: Row[Any]) -> Outgoing:
    """The message of a row."""
    message = json.loads(row.message)
    key = message.pop("key")
    headers = {name: from_json(value) for name, value in message.pop("headers").items()}
    return Outgoing(**message, id=row.id, body=row.body, key=None if key is None else from_json(key), headers=headers)
