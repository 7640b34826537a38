"""What a message is recognised by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from brokerkit._messages._delivery import Delivery
from brokerkit._messages._name_rules import NOT_JSON, parsed

Recognises = Callable[[Delivery], bool]


def has_fields(*keys: str) -> Recognises:
    """Whether the body is a JSON object with these keys."""

    def holds(delivery: Delivery) -> bool:
        body = parsed(delivery)
        return isinstance(body, dict) and set(keys) <= cast("dict[str, Any]", body).keys()

    return holds


def has_header(name: str) -> Recognises:
    """Whether a header is there."""
    return lambda delivery: name in delivery.headers


def begins(*starts: bytes) -> Recognises:
    """Whether the body begins with one of these."""
    return lambda delivery: (delivery.body or b"").startswith(starts)


def any_of(*ways: Recognises) -> Recognises:
    """Whether any of these does."""
    return lambda delivery: any(way(delivery) for way in ways)


def all_of(*ways: Recognises) -> Recognises:
    """Whether all of these do."""
    return lambda delivery: all(way(delivery) for way in ways)


def value(delivery: Delivery, *path: str | int) -> Any:
    """Return what is behind keys and indices in the body; None if nothing is."""
    found: Any = parsed(delivery)
    for step in path:
        try:
            found = found[step]
        except (LookupError, TypeError):
            return None
    return None if found is NOT_JSON else found
