"""How a message is stored in its row. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from brokerkit.adapters.api import CONTENT_TYPE, Delivery, Headers, InvalidMessage, as_text

Row = tuple[Any, ...]

FIELDS: Final = "m.n, m.id, m.key, m.name, m.headers, m.body, m.content_type, m.routing_key, m.type, m.time"
"""The columns of a message, as `delivery_of` takes them."""


def delivery_of(
    row: Row,
    topic: str,
    *,
    token: object,
    count: int = 0,
    id: str | None = None,
    headers: str | None = None,
    make: Callable[..., Delivery] = Delivery,
) -> Delivery:
    """A received message.

    Args:
        row: its `FIELDS`.
        topic: the topic's name.
        token: for settling it.
        count: how often it was delivered, this time included.
        id: the id of a retry's copy, instead of the row's.
        headers: the headers of a retry's copy, instead of the row's.
        make: makes the delivery.
    """
    n, own_id, key, name, own_headers, body, content_type, routing_key, type, moment = row
    found = read_headers(own_headers if headers is None else headers)
    if content_type is not None:
        found[CONTENT_TYPE] = content_type
    return make(
        body=body,
        topic=topic,
        key=key,
        headers=found,
        id=own_id if id is None else id,
        position=str(n),
        time=moment,
        count=count,
        native=row,
        token=token,
        routing_key=routing_key or name,
        type=type,
    )


def written(headers: Headers) -> str:
    """Headers as JSON; bytes that are not text are a list of their hexadecimal digits.

    Raises:
        InvalidMessage: a name or value is neither text nor bytes, or holds half of a character.
    """
    made = json.dumps({_name(name): _value(name, value) for name, value in headers.items()}, ensure_ascii=False)
    try:
        made.encode()
    except UnicodeEncodeError as error:
        raise InvalidMessage(f"the headers cannot be written as UTF-8: {error.reason}") from None
    return made


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidMessage(f"the name of a header must be text, got {type(name).__name__}")
    return name


def _value(name: str, value: object) -> str | list[str]:
    if isinstance(value, bytes):
        shown = as_text(value)
        return shown if isinstance(shown, str) else [value.hex()]
    if not isinstance(value, str):
        raise InvalidMessage(f"header {name!r} must be text or bytes, got {type(value).__name__}")
    return value


def read_headers(is_queue: str) -> dict[str, str | bytes]:
    """Headers from their JSON."""
    found: Mapping[str, str | Sequence[str]] = json.loads(is_queue)
    return {name: value if isinstance(value, str) else bytes.fromhex(value[0]) for name, value in found.items()}
