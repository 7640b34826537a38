"""A message on Kafka's wire: its headers, and its size as client and broker compute it."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from typing import Final

from brokerkit.adapters.api import (
    CONTENT_TYPE,
    ID_HEADER,
    INTERNAL_PREFIX,
    PROPERTY_PREFIX,
    InvalidMessage,
    MessageTooLarge,
    Outgoing,
)

_CLIENT_OVERHEAD: Final = 36
"""Bytes that librdkafka adds for each message to key, value and headers."""

_BATCH_OVERHEAD: Final = 61
"""Bytes of an empty record batch (https://kafka.apache.org/documentation/#recordbatch)."""

_HEADERS: Final = "headers"
_KEPT: Final = PROPERTY_PREFIX + _HEADERS
"""Header of a copy on another broker: what `lost_in_mapping` returns."""

EncodedHeaders = dict[str, str | bytes | None] | list[tuple[str, str | bytes | None]]


def lost_in_mapping(pairs: Iterable[tuple[str, str | bytes | None]] | None) -> dict[str, str]:
    """Return, as a property, the headers that a mapping cannot hold: several of one name, and null values.

    The property is a JSON object of all values of such a name, in their order, in base64.
    """
    values: dict[str, list[str | bytes | None]] = {}
    for name, value in pairs or ():
        values.setdefault(name, []).append(value)
    lost = {
        name: [None if value is None else b64encode(_bytes(value)).decode() for value in found]
        for name, found in values.items()
        if (len(found) > 1 or found == [None]) and not name.startswith(INTERNAL_PREFIX)
    }
    return {_HEADERS: json.dumps(lost)} if lost else {}


def encode_headers(outgoing: Outgoing) -> EncodedHeaders:
    """Encode the headers for the client. A copy gets those again that `lost_in_mapping` has kept.

    Raises:
        InvalidMessage: a header is neither text nor bytes, or its name has a NUL. A lone surrogate in a name would crash
            the process in the client library (confluent-kafka 2.16.1).
    """
    headers: dict[str, str | bytes | None] = {}
    try:
        for name, value in outgoing.headers.items():
            if not name.isascii():
                name.encode()
            # The client cuts text at its first NUL. Values are passed as bytes; names can only be text.
            if "\0" in name:
                raise InvalidMessage(f"Kafka's client would cut the header name {name!r} at its NUL")
            headers[name] = value if isinstance(value, bytes) else value.encode()
        headers[ID_HEADER] = outgoing.id.encode()
        if outgoing.content_type is not None:
            headers[CONTENT_TYPE] = outgoing.content_type.encode()
        if isinstance(outgoing.key, str):
            outgoing.key.encode()
        outgoing.topic.encode()
    except UnicodeEncodeError as error:
        raise InvalidMessage(f"a header, the key or the topic is not valid Unicode: {error}") from error
    except AttributeError as error:
        raise InvalidMessage("header names are text, header values are text or bytes") from error
    kept = headers.pop(_KEPT, None)
    return headers if kept is None else _with_lost(headers, kept)


def _with_lost(headers: dict[str, str | bytes | None], kept: str | bytes) -> EncodedHeaders:
    pairs: list[tuple[str, str | bytes | None]] = []
    try:
        lost = json.loads(kept)
        for name, value in headers.items():
            found = [None if each is None else b64decode(each, validate=True) for each in lost.get(name, ())]
            # Where the copy has another value by now, that one counts.
            same = bool(found) and (found[-1] or b"") == _bytes(value or b"")
            pairs += [(name, each) for each in (found if same else [value])]
    except (ValueError, TypeError, AttributeError, RecursionError):  # somebody else wrote it
        return headers
    return pairs


def client_size(outgoing: Outgoing) -> int:
    """The size of a message in bytes, as librdkafka computes it."""
    return (
        _CLIENT_OVERHEAD + len(outgoing.body or b"") + len(_bytes(outgoing.key or b"")) + sum(_header_sizes(outgoing))
    )


def check(outgoing: Outgoing, *, limit: int) -> None:
    """Refuse a message that the client cannot send, or that is larger than its ``limit`` in bytes.

    Raises:
        InvalidMessage: see `encode_headers`.
        MessageTooLarge: it is larger.
    """
    if (size := client_size(outgoing)) > limit:
        raise MessageTooLarge(size=size, limit=limit, what="the Kafka client (message.max.bytes)")


def batch_size(outgoing: Outgoing) -> int:
    """The size in bytes of an uncompressed batch with this message alone. The broker checks this size."""
    key, body = outgoing.key, outgoing.body
    record = 1 + 2  # attributes; offsets of time and number within the batch, both 0
    for part in (None if key is None else _bytes(key), body):
        record += 1 if part is None else _varint(len(part)) + len(part)
    record += _varint(len(encode_headers(outgoing))) + sum(_header_sizes(outgoing))
    return _BATCH_OVERHEAD + _varint(record) + record


def _header_sizes(outgoing: Outgoing) -> Iterator[int]:
    headers = encode_headers(outgoing)
    for name, value in headers.items() if isinstance(headers, dict) else headers:
        for part in (name, value or b""):
            length = len(_bytes(part))
            yield _varint(length) + length


def _varint(number: int) -> int:
    """The bytes of a length that is written as a zigzag varint."""
    return max(((number << 1).bit_length() + 6) // 7, 1)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
