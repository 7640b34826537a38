"""What a message looks like on SQS and SNS: attributes, escaping, sizes, batches. Pure.

A message has a text body and at most ten attributes. The message's own id and key and the headers stand in attributes
of their own as long as there is room and SQS accepts name and value; the rest, and every value that is no UTF-8 text,
travels as one JSON object in the attribute ``bk-headers``. (Binary attributes would do, but few consumers expect
them, and moto loses messages that have one on their way from SNS.) A body that is no SQS text goes as base64 and is
flagged in ``bk-body``.

Rules: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
and https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from brokerkit._errors import InvalidMessage
from brokerkit._message import (
    CONTENT_TYPE,
    ID_HEADER,
    INTERNAL,
    KEY_HEADER,
    NULL_HEADER,
    Delivery,
    Outgoing,
    strict_json,
    text,
)

BATCH: Final = 10
"""Entries in one batch call, and messages in one receive, at most."""

FIFO_SUFFIX: Final = ".fifo"

ANY_TOPIC: Final = ""

BODY: Final = "bk-body"
HEADERS: Final = "bk-headers"

_OURS: Final = frozenset({ID_HEADER, KEY_HEADER, NULL_HEADER, BODY, HEADERS})
_SEEN_FIRST: Final = ("event", "ce_type")
"""Headers that get an attribute before all others, so that SNS filter policies can see the event name."""

_ATTRIBUTES: Final = 10
_NAME: Final = re.compile(
    r"(?!aws\.|amazon\.)(?!.*\.\.)[A-Za-z0-9_-]([A-Za-z0-9_.-]{0,254}[A-Za-z0-9_-])?", re.IGNORECASE
)
_NO_TEXT: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PRINTABLE: Final = re.compile(r"[!-~]{1,128}")

_Attribute = dict[str, str]


@dataclass(slots=True)
class Entry:
    """One message, ready for `SendMessageBatch` or `PublishBatch` but for the name of the body's field.

    It is not frozen for the reason that `Outgoing` is not.

    Attributes:
        size: bytes that the broker counts: body, and name, type and value of each attribute.
        group: the ``MessageGroupId`` of a FIFO queue or topic, None on a standard one.
    """

    body: str
    attributes: dict[str, _Attribute]
    size: int
    group: str | None
    deduplication: str | None

    def parameters(self, entry_id: str, body_field: str) -> dict[str, object]:
        """The entry as the client library takes it."""
        parameters: dict[str, object] = {"Id": entry_id, body_field: self.body, "MessageAttributes": self.attributes}
        if self.group is not None:
            parameters["MessageGroupId"] = self.group
            parameters["MessageDeduplicationId"] = self.deduplication
        return parameters


def encode(message: Outgoing, *, fifo: bool) -> Entry:
    """Put a message on the wire.

    Raises:
        InvalidMessage: a header, the key or the id is no text that can be encoded.
    """
    _check({ID_HEADER: message.id, KEY_HEADER: message.key or "", **message.headers}, message.name)
    key = None if message.key is None else text(message.key)
    group = _group(key, message.id) if fifo else None
    headers: dict[str, str | bytes] = {ID_HEADER: message.id}
    if key is not None and key != group:
        headers[KEY_HEADER] = key
    if message.body is None:
        headers[NULL_HEADER] = "1"
    if message.content_type is not None:
        headers[CONTENT_TYPE] = message.content_type
    headers.update((name, text(value)) for name, value in message.headers.items() if name not in _OURS)
    body, flag = _encoded_body(message.body or b"")
    attributes = _attributes(headers, room=_ATTRIBUTES - (flag is not None))
    if flag is not None:
        attributes[BODY] = _string(flag)
    size = _length(body)
    for name, attribute in attributes.items():
        size += len(name) + len(attribute["DataType"]) + _length(attribute["StringValue"])
    return Entry(body, attributes, size, group, _printable(message.id) if fifo else None)


def decode(native: Mapping[str, Any], topic: str, token: object, *, envelope: str | None) -> Delivery:
    """Take a received message off the wire; whatever it holds, this gives a delivery.

    Args:
        native: one message of `ReceiveMessage`.
        topic: the name its reader gave to where it comes from.
        token: what the adapter needs to settle it.
        envelope: the SNS topic whose own JSON may be around the message (a subscription without raw delivery),
            `ANY_TOPIC`, or None where a body is never taken for one.
    """
    system: Mapping[str, str] = native.get("Attributes", {})
    attributes: Mapping[str, Mapping[str, Any]] = native.get("MessageAttributes", {})
    raw_body: str = native.get("Body", "")
    time = int(system["SentTimestamp"]) / 1000 if "SentTimestamp" in system else None
    # SNS writes attributes beside the body only with raw delivery, where there is no envelope.
    wrapped = None if envelope is None or attributes else _unwrapped(raw_body, envelope)
    if wrapped is not None:
        raw_body, attributes, time = wrapped.body, wrapped.attributes, wrapped.time or time
    headers: dict[str, str | bytes] = {}
    for name, attribute in attributes.items():
        value = attribute.get("BinaryValue")
        headers[name] = attribute.get("StringValue", "") if value is None else value
    _merge(headers)
    body: bytes | None = _decoded_body(raw_body, headers.pop(BODY, None))
    if headers.pop(NULL_HEADER, None) is not None and not body:
        body = None  # a body beside the flag is somebody else's, and stays
    found_id = headers.pop(ID_HEADER, None)
    id = found_id if isinstance(found_id, str) else None
    key = headers.pop(KEY_HEADER, None)
    if key is None:
        key = system.get("MessageGroupId")
        if id is not None and key == _group(None, id):
            key = None
    return Delivery(
        body,
        topic,
        key,
        headers,
        id,
        native.get("MessageId"),
        time,
        int(system.get("ApproximateReceiveCount", 0)),
        native,
        token,
    )


_Sized = TypeVar("_Sized")


def batches(items: Iterable[tuple[int, _Sized]], limit: int) -> Iterator[list[_Sized]]:
    """Cut (size, item) pairs, in order, into batches of at most ten items and ``limit`` bytes.

    An item above the limit makes a batch of its own: the broker then says what is wrong with it.
    """
    batch: list[_Sized] = []
    total = 0
    for size, item in items:
        if batch and (len(batch) == BATCH or total + size > limit):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch


def tens(items: Sequence[_Sized]) -> Iterator[Sequence[_Sized]]:
    """Cut a sequence, in order, into pieces that one batch call takes."""
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def _group(key: str | bytes | None, id: str) -> str:
    """The message group of a FIFO message: the key where SQS accepts it, else a digest.

    A message without a key gets a group of its own, so that it waits for nobody. A key that looks like one of those
    groups takes a digest too: what a group stands for stays without doubt.
    """
    if key is None:
        return "bk-" + _digest(f"id={id}".encode(errors="surrogatepass"))
    if isinstance(key, bytes):
        return _digest(b"bytes=" + key)
    if _PRINTABLE.fullmatch(key) and not key.startswith(INTERNAL):
        return key
    return _digest(f"key={key}".encode(errors="surrogatepass"))


def _printable(id: str) -> str:
    return id if _PRINTABLE.fullmatch(id) else _digest(id.encode(errors="surrogatepass"))


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def _check(headers: Mapping[str, str | bytes], event: str) -> None:
    items = cast("Iterable[tuple[object, object]]", headers.items())  # annotations do not bind a caller
    for name, value in items:
        try:
            if not isinstance(name, str) or not isinstance(value, str | bytes):
                raise InvalidMessage(
                    f"{event}: header {name!r} must be text with a value of text or bytes, got {type(value).__name__}"
                )
            _length(name)
            if isinstance(value, str):
                _length(value)
        except UnicodeEncodeError as error:
            raise InvalidMessage(
                f"{event}: header {name!r} holds a lone surrogate, which no broker can carry"
            ) from error


def _attributes(headers: Mapping[str, str | bytes], *, room: int) -> dict[str, _Attribute]:
    """Headers as attributes, as many as there is room for, and one JSON attribute with the rest."""
    legal = {name: found for name, value in headers.items() if (found := _attribute(name, value)) is not None}
    if len(legal) == len(headers) <= room:
        return legal
    native = {name: legal[name] for name in sorted(legal, key=_rank)[: room - 1]}
    native[HEADERS] = _string(_json({name: value for name, value in headers.items() if name not in native}))
    return native


def _rank(name: str) -> int:
    """Which headers have attributes of their own where there is not room for all: the lowest."""
    if name in _OURS:
        return 0
    if name in _SEEN_FIRST:
        return 1
    # brokerkit's notes on copies interest nobody else.
    return 3 if name.startswith(INTERNAL) else 2


def _attribute(name: str, value: str | bytes) -> _Attribute | None:
    """The header as an attribute of its own, or None where SQS refuses it."""
    if isinstance(value, bytes) or not value or not _is_text(value) or not _is_name(name):
        return None
    return _string(value)


def _is_text(value: str) -> bool:
    """Whether all characters are legal SQS text. What can be printed is, which takes half the time to see."""
    return value.isprintable() or _NO_TEXT.search(value) is None


@lru_cache
def _is_name(name: str) -> bool:
    """Whether SQS accepts the name of an attribute; nearly all messages have the same few."""
    return _NAME.fullmatch(name) is not None


def _string(value: str) -> _Attribute:
    return {"DataType": "String", "StringValue": value}


def _length(value: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(value) if value.isascii() else len(value.encode())


def _json(headers: Mapping[str, str | bytes]) -> str:
    # ASCII throughout: JSON escapes are the one form in which every character is legal SQS text.
    return json.dumps(
        {n: v if isinstance(v, str) else {"b64": base64.b64encode(v).decode()} for n, v in headers.items()},
        separators=(",", ":"),
    )


def _merge(headers: dict[str, str | bytes]) -> None:
    """Replace the JSON attribute by what it holds; one that is not ours stays as it is."""
    packed = headers.get(HEADERS)
    if not isinstance(packed, str):
        return
    try:
        loaded: object = strict_json(packed)
        if not isinstance(loaded, dict):
            return
        found = {name: _unpacked(value) for name, value in cast("dict[str, object]", loaded).items()}
    except ValueError:
        return
    del headers[HEADERS]
    headers.update(found)


def _unpacked(value: object) -> str | bytes:
    match value:
        case str():
            return value
        case {"b64": str(packed)}:
            return base64.b64decode(packed, validate=True)
        case _:
            raise ValueError("not a packed header")


def _encoded_body(body: bytes) -> tuple[str, str | None]:
    """The body as SQS text, and the flag that says how to get it back."""
    if not body:
        return "-", "empty"
    try:
        plain = body.decode()
    except UnicodeDecodeError:
        plain = None
    if plain is None or not _is_text(plain):
        return base64.b64encode(body).decode(), "base64"
    return plain, None


def _decoded_body(body: str, flag: str | bytes | None) -> bytes:
    if flag == "empty" and body == "-":
        return b""
    if flag == "base64":
        try:
            return base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            pass  # Somebody else's flag, or a body that was changed on the way: the decoder shall see what came.
    return body.encode(errors="surrogatepass")


@dataclass(frozen=True, slots=True)
class _Wrapped:
    body: str
    attributes: Mapping[str, Mapping[str, Any]]
    time: float | None


def _unwrapped(body: str, topic: str) -> _Wrapped | None:
    """What an SNS notification holds, or None where the body is none of this topic.

    https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
    """
    if not body.startswith("{") or '"Notification"' not in body:
        return None
    try:
        loaded: object = strict_json(body)
    except ValueError:
        return None
    match loaded:
        case {"Type": "Notification", "MessageId": str(), "TopicArn": str(arn), "Message": str(message)}:
            fields = cast("dict[str, object]", loaded)
        case _:
            return None
    if topic != ANY_TOPIC and arn.rpartition(":")[2] != topic.rpartition(":")[2]:
        return None
    return _Wrapped(message, _wrapped_attributes(fields.get("MessageAttributes")), _unix(fields.get("Timestamp")))


def _wrapped_attributes(found: object) -> dict[str, Mapping[str, Any]]:
    attributes: dict[str, Mapping[str, Any]] = {}
    for name, attribute in cast("dict[str, object]", found).items() if isinstance(found, dict) else ():
        match attribute:
            case {"Type": "Binary", "Value": str(value)}:
                with suppress(binascii.Error):
                    attributes[name] = {"BinaryValue": base64.b64decode(value)}
            case {"Value": str(value)}:
                attributes[name] = {"StringValue": value}
            case _:
                pass
    return attributes


def _unix(timestamp: object) -> float | None:
    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except ValueError:
        return None
