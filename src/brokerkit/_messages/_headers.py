"""Names of brokerkit's own headers, and conversion of header values to text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

Headers = Mapping[str, str | bytes]

INTERNAL_PREFIX: Final = "bk-"
"""Prefix of brokerkit's own headers. Handlers never see them, and publishers may not set them."""

# Adapters write these if the broker has no field for the value, and read them back into the Delivery.
KEY_HEADER: Final = "bk-key"
ID_HEADER: Final = "bk-id"
NULL_HEADER: Final = "bk-null"

TIME_HEADER: Final = "bk-time"
"""Header of a copy: Unix time in seconds at which the original was produced."""
PROPERTY_PREFIX: Final = "bk-property-"
"""Prefix of the headers in which a copy keeps `Delivery.properties`, on every broker."""

NAMED_PROPERTIES: Final = ("routing_key", "type")
"""Attributes of `Delivery` and `Outgoing` that only some brokers have. Copies keep them as properties too."""

CORRELATION: Final = "correlation-id"
"""Header: the id of the first message of a chain. All messages that follow from it have the same value."""
CAUSATION: Final = "causation-id"
"""Header: the id of the message whose handler published this one."""

TRACEPARENT: Final = "traceparent"
"""Header: the position of the publisher in a trace (W3C Trace Context, section 3.2)."""
TRACESTATE: Final = "tracestate"
"""Header: data of the tracing systems for that position (section 3.3)."""

CONTENT_TYPE: Final = "content-type"
"""Header for the media type of the body, if the broker has no property for it. Received messages always have it here."""


def as_text(value: str | bytes) -> str | bytes:
    """Return a header value or key as a handler sees it: bytes that are UTF-8 become a string, others stay bytes."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value


def without_internal(headers: Headers) -> dict[str, str | bytes]:
    """Return the headers that are not brokerkit's own."""
    return {name: value for name, value in headers.items() if not name.startswith(INTERNAL_PREFIX)}


def header_text(headers: Headers, name: str) -> str | None:
    """Return a header as text, or None if it is missing or not UTF-8."""
    value = headers.get(name)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return value


def correlation_of(headers: Headers) -> str | None:
    """Return the correlation id that a message came with, or None.

    FastStream on Kafka, and Watermill's middleware, name the header ``correlation_id``.
    """
    return header_text(headers, CORRELATION) or header_text(headers, "correlation_id")


def strict_json(data: str) -> Any:
    """Parse JSON from outside, and make sure that all its strings can be encoded again.

    JSON's escapes can spell a lone surrogate. No broker takes one, so a copy or a dead letter could never be sent.

    Raises:
        ValueError: it is not JSON, is nested too deep, or holds a lone surrogate.
    """
    try:
        value = json.loads(data)
        if "\\u" in data:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return value
