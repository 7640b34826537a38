"""What a message looks like on SQS and SNS: attributes, escaping, sizes, batches. Pure.

A message has a text body and at most ten attributes. The id, the key and each header have an attribute, as long as there
is room and SQS accepts name and value. The other headers, and every value that is not UTF-8 text, are in one JSON object
in the attribute ``bk-headers``. (Binary attributes would also work, but few consumers expect them, and moto loses
messages with one on their way from SNS.) A body that is not legal SQS text is sent as base64, and ``bk-body`` says so.
A body that is kept in S3 is a pointer on the wire, see `brokerkit.adapters.aws._pointers`.

Rules: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
and https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from brokerkit.adapters.api import (
    CONTENT_TYPE,
    ID_HEADER,
    INTERNAL_PREFIX,
    KEY_HEADER,
    NULL_HEADER,
    Delivery,
    InvalidMessage,
    Offloaded,
    Outgoing,
    as_text,
    is_role,
    strict_json,
    wall_time,
)
from brokerkit.adapters.aws._pointers import OLD_SIZE, SIZES, Pointer, parse_pointer

BATCH: Final = 10
"""Entries in one batch call, and messages in one receive, at most."""

FIFO_SUFFIX: Final = ".fifo"

ANY_TOPIC: Final = ""

GROUP: Final = "MessageGroupId"
"""SQS's name for a message group. On a standard queue it orders nothing: it shares the queue among tenants (fair queues). So
there it is a header of that name, when reading and when publishing.
"""

MOVED: Final = "DeadLetterQueueSourceArn"
"""SQS's attribute of messages that a redrive policy has moved."""

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

LONGEST_DELAY: Final = 900
"""Seconds for which SQS delays one message at most (the API reference of ``SendMessage``, DelaySeconds)."""


@dataclass(slots=True)
class Entry:
    """One message, ready for `SendMessageBatch` or `PublishBatch` but for the name of the body's field.

    It is not frozen, for the same reason as `Outgoing`.

    Attributes:
        size: bytes that the broker counts: body, and name, type and value of each attribute.
        group: the ``MessageGroupId``, None if there is none.
        deduplication: the ``MessageDeduplicationId`` of a FIFO queue or topic, None on a standard one.
        delay: seconds for which the queue keeps it back, or None.
    """

    body: str
    attributes: dict[str, _Attribute]
    size: int
    group: str | None
    deduplication: str | None
    delay: int | None = None

    def parameters(self, entry_id: str, body_field: str) -> dict[str, object]:
        """The entry as the client library takes it."""
        parameters: dict[str, object] = {"Id": entry_id, body_field: self.body, "MessageAttributes": self.attributes}
        if self.group is not None:
            parameters[GROUP] = self.group
        if self.deduplication is not None:
            parameters["MessageDeduplicationId"] = self.deduplication
        if self.delay is not None:
            parameters["DelaySeconds"] = self.delay
        return parameters


def encode(message: Outgoing, *, fifo: bool, pointer: Pointer | None = None) -> Entry:
    """Put a message on the wire.

    Args:
        message: the message.
        fifo: whether it goes to a FIFO queue or topic.
        pointer: what stands in the place of the body, which is kept in S3.

    Raises:
        InvalidMessage: a header, the key or the id is text that cannot be encoded.
    """
    _check({ID_HEADER: message.id, KEY_HEADER: message.key or "", **message.headers}, message.name)
    key = None if message.key is None else as_text(message.key)
    group = _group(None if message.unordered else key, message.id) if fifo else _fair_group(message.headers)
    # A message that SQS must not take for a second send of another one has that one's id for its readers.
    headers: dict[str, str | bytes] = {ID_HEADER: message.headers.get(ID_HEADER, message.id)}
    if key is not None and not (fifo and key == group):
        headers[KEY_HEADER] = key
    if message.body is None:
        headers[NULL_HEADER] = "1"
    if message.content_type is not None:
        headers[CONTENT_TYPE] = message.content_type
    headers.update((name, as_text(value)) for name, value in message.headers.items() if name not in _OURS)
    if not fifo and group is not None:
        del headers[GROUP]
    body, flag = _encoded_body(message.body or b"") if pointer is None else (pointer.text, pointer.flag)
    if pointer is None and any(name in headers for name in SIZES):
        pointer = _unread_pointer(headers, body)
    attributes = _attributes(headers, room=_ATTRIBUTES - (flag is not None) - (pointer is not None))
    if flag is not None:
        attributes[BODY] = _string(flag)
    if pointer is not None:
        attributes[pointer.attribute] = {"DataType": "Number", "StringValue": str(pointer.size)}
    size = _length(body)
    for name, attribute in attributes.items():
        size += len(name) + len(attribute["DataType"]) + _length(attribute["StringValue"])
    delay = None if message.due is None else min(max(math.ceil(message.due - wall_time()), 0), LONGEST_DELAY)
    return Entry(body, attributes, size, group, _printable(message.id) if fifo else None, delay)


class _SqsDelivery(Delivery):
    """A delivery from SQS."""

    __slots__ = ()

    @property
    def is_ours(self) -> bool:
        """See `Delivery`. It is, if its queue has the name of one of our dead letters, and SQS has not moved it there."""
        return is_role(self.topic, "dlq") and MOVED not in self.native.get("Attributes", {})


class _OffloadedDelivery(_SqsDelivery):
    """One whose body was in S3."""

    __slots__ = ("_offloaded",)

    @property
    def offloaded(self) -> Offloaded | None:
        return self._offloaded

    def mark(self, offloaded: Offloaded) -> None:
        """Say where its body is."""
        self._offloaded = offloaded


def decode(
    native: Mapping[str, Any],
    topic: str,
    token: object,
    *,
    fifo: bool,
    envelope: str | None,
    content: tuple[Pointer, bytes] | None = None,
) -> Delivery:
    """Build the delivery of a received message. If it cannot be decoded, the delivery is unreadable.

    One from a queue of our dead letters is ours, unless SQS itself has moved it there, with the attributes of its producer.

    Args:
        native: one message of `ReceiveMessage`.
        topic: the name its reader gave to where it comes from.
        token: what the adapter needs to settle it.
        fifo: whether it comes from a FIFO queue, where the message group is the key.
        envelope: the SNS topic whose own JSON may be around the message (a subscription without raw delivery),
            `ANY_TOPIC`, or None if a body is never taken for one.
        content: what `find_pointer` has found, and the object that it points to.
    """
    try:
        return _decoded(native, topic, token, fifo=fifo, envelope=envelope, content=content)
    except Exception as error:  # noqa: BLE001 (raised here, it would stop the source; the message would come again)
        return _undecoded(native, topic, token, error, fifo=fifo)


def find_pointer(native: Mapping[str, Any], *, envelope: str | None) -> Pointer | None:
    """The pointer in the place of a message's body, or None. It takes what `decode` takes, and does not raise."""
    try:
        attributes: Mapping[str, Mapping[str, Any]] = native.get("MessageAttributes") or {}
        body: str = native.get("Body", "")
        if not attributes:
            # Of an SNS notification the attributes are in the body.
            if envelope is None or not any(name in body for name in SIZES):
                return None
            if (wrapped := _unwrapped(body, envelope)) is None:
                return None
            body, attributes = wrapped.body, wrapped.attributes
        for name in SIZES:
            if name in attributes:
                flag = attributes[BODY].get("StringValue") if BODY in attributes else None
                return parse_pointer(body, str(attributes[name].get("StringValue")), flag)
    except Exception:  # noqa: BLE001 (what is wrong with the message is for `decode` to say)
        return None
    return None


def _undecoded(native: Mapping[str, Any], topic: str, token: object, error: Exception, *, fifo: bool) -> Delivery:
    """The delivery of a message that could not be decoded. Nothing is decoded here, so that nothing can fail."""
    body, found, system = (native.get(name) for name in ("Body", "MessageAttributes", "Attributes"))
    headers: dict[str, str | bytes] = {}
    for name, attribute in cast("dict[str, object]", found).items() if isinstance(found, dict) else ():
        match attribute:
            case {"BinaryValue": bytes(value)} | {"StringValue": str(value)}:
                headers[name] = value
            case _:
                headers[name] = repr(attribute).encode(errors="backslashreplace")
    group = cast("dict[str, object]", system).get(GROUP) if fifo and isinstance(system, dict) else None
    delivery = Delivery(
        body=(body if isinstance(body, str) else repr(body)).encode(errors="surrogatepass"),
        topic=topic,
        key=group if isinstance(group, str) else None,
        headers=headers,
        position=native.get("MessageId"),
        native=native,
        token=token,
    )
    delivery.unreadable(f"the SQS message cannot be decoded: {type(error).__name__}: {error}")
    return delivery


def _decoded(
    native: Mapping[str, Any],
    topic: str,
    token: object,
    *,
    fifo: bool,
    envelope: str | None,
    content: tuple[Pointer, bytes] | None,
) -> Delivery:
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
    flag = headers.pop(BODY, None)
    body: bytes | None
    if content is None:
        body = _decoded_body(raw_body.encode(errors="surrogatepass"), flag)
    else:
        body = _decoded_body(content[1], flag)
        for name in SIZES:
            headers.pop(name, None)
    if headers.pop(NULL_HEADER, None) is not None and not body:
        body = None  # a body beside the flag is somebody else's, and stays
    found_id = headers.pop(ID_HEADER, None)
    id = found_id if isinstance(found_id, str) else None
    key = headers.pop(KEY_HEADER, None)
    if not fifo:
        if GROUP in system:
            headers.setdefault(GROUP, system[GROUP])
    elif key is None:
        key = system.get(GROUP)
        if id is not None and key == _group(None, id):
            key = None
    kind = _SqsDelivery if content is None else _OffloadedDelivery
    delivery = kind(
        body=body,
        topic=topic,
        key=key,
        headers=headers,
        id=id,
        position=native.get("MessageId"),
        time=time,
        count=int(system.get("ApproximateReceiveCount", 0)),
        native=native,
        token=token,
    )
    if content is not None and isinstance(delivery, _OffloadedDelivery):
        delivery.mark(Offloaded(content[0]))
    return delivery


_Sized = TypeVar("_Sized")


def batches(items: Iterable[tuple[int, _Sized]], limit: int) -> Iterator[list[_Sized]]:
    """Cut (size, item) pairs, in order, into batches of at most ten items and ``limit`` bytes.

    An item above the limit is alone in its batch. The broker then says what is wrong with it.
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


def _fair_group(headers: Mapping[str, str | bytes]) -> str | None:
    """The message group that a publisher asks for on a standard queue. A value that SQS would refuse stays a header."""
    asked = headers.get(GROUP)
    return asked if isinstance(asked, str) and _PRINTABLE.fullmatch(asked) else None


def _group(key: str | bytes | None, id: str) -> str:
    """The message group of a FIFO message: the key where SQS accepts it, else a digest.

    A message without a key is alone in its group, so that it waits for no other. A key that looks like such a group
    is replaced by a digest too, so that a group never has two meanings.
    """
    if key is None:
        return "bk-" + _digest(f"id={id}".encode(errors="surrogatepass"))
    if isinstance(key, bytes):
        return _digest(b"bytes=" + key)
    if _PRINTABLE.fullmatch(key) and not key.startswith(INTERNAL_PREFIX):
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
    """Which headers get attributes of their own if there is not room for all: those with the lowest figure."""
    if name in _OURS:
        return 0
    if name in _SEEN_FIRST:
        return 1
    # Only brokerkit needs its notes about copies.
    return 3 if name.startswith(INTERNAL_PREFIX) else 2


def _attribute(name: str, value: str | bytes) -> _Attribute | None:
    """The header as an attribute, or None if SQS refuses it."""
    if isinstance(value, bytes) or not value or not _is_text(value) or not _is_name(name):
        return None
    if name in SIZES:
        return None  # Readers would take the body for a pointer.
    return _string(value)


def _is_text(value: str) -> bool:
    """Whether all characters are legal SQS text. Printable text always is, and checking that takes half the time."""
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
    """Replace the JSON attribute by the headers in it. An attribute that is not ours stays as it is."""
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


def _decoded_body(body: bytes, flag: str | bytes | None) -> bytes:
    if flag == "empty" and body == b"-":
        return b""
    if flag == "base64":
        try:
            return base64.b64decode(body, validate=True)
        except ValueError:
            pass  # The flag is somebody else's, or the body was changed on its way. The decoder gets it as it came.
    return body


def _unread_pointer(headers: dict[str, str | bytes], body: str) -> Pointer | None:
    """The pointer of a message whose body could not be read from S3: its copy has the same pointer as its body.

    Of any other message such a header says nothing about the body.
    """
    for name in SIZES:
        size = headers.get(name)
        if isinstance(size, str) and (pointer := parse_pointer(body, size, None)) is not None:
            del headers[name]
            return replace(pointer, old=name == OLD_SIZE)
    return None


@dataclass(frozen=True, slots=True)
class _Wrapped:
    body: str
    attributes: Mapping[str, Mapping[str, Any]]
    time: float | None


def _unwrapped(body: str, topic: str) -> _Wrapped | None:
    """The content of an SNS notification, or None if the body is not a notification of this topic.

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
                with suppress(ValueError):
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
