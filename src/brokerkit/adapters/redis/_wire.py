"""How a message lies in Redis: the fields of a stream entry, and an envelope for channels and lists. Pure.

A stream entry has fields: one is the body, every other one a header. A channel or a list only knows bytes: what a plain
producer writes there is the body as it is, and what brokerkit writes is an envelope,

    magic (4 bytes) · length of the head (4 bytes, big-endian) · head (JSON, UTF-8) · body

The magic begins with a zero byte, which neither JSON nor text does. A body that begins with the magic but is not an
envelope is read as a plain body.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, cast

from brokerkit.adapters.api import (
    CONTENT_TYPE,
    ID_HEADER,
    INTERNAL_PREFIX,
    KEY_HEADER,
    NULL_HEADER,
    Delivery,
    Headers,
    InvalidMessage,
    MessageTooLarge,
    Outgoing,
    strict_json,
)

MAGIC: Final = b"\x00bk\x01"
_HEAD: Final = len(MAGIC) + 4


ESCAPE: Final = "bk-h-"
"""Prefix of a header whose name is the body field's, or begins with this prefix itself."""

_NAMES: Final = 1024
_KEY: Final = KEY_HEADER.encode()
_ID: Final = ID_HEADER.encode()
_NULL: Final = NULL_HEADER.encode()

Parts = tuple[bytes | None, str | bytes | None, str | None, Headers]
"""Body, key, id and headers of a received message."""


def utf8(value: object, what: str, of: str | None = None) -> bytes:
    """Text or bytes as bytes; errors call it ``what``, and ``of`` that name where there is one.

    Raises:
        InvalidMessage: it is neither, or the text holds a lone surrogate.
    """
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise InvalidMessage(f"{_called(what, of)} {value!r} cannot be written as UTF-8: {error.reason}") from None
    if isinstance(value, bytes):
        return value
    raise InvalidMessage(f"{_called(what, of)} must be text or bytes, got {type(value).__name__}")


def _called(what: str, of: str | None) -> str:
    return what if of is None else f"{what} {of!r}"


def check_size(size: int, limit: int) -> None:
    """Refuse a value that the server would cut the connection for.

    Raises:
        MessageTooLarge: ``size`` bytes are more than ``limit``.
    """
    if size > limit:
        raise MessageTooLarge(size=size, limit=limit, what="a Redis value (proto-max-bulk-len)")


class _Names(dict[bytes, "str | None"]):
    """Header name for each field name met so far, None for the body field: decoding one name a thousand times is slow."""

    def __init__(self, body_field: bytes) -> None:
        self._body_field = body_field
        super().__init__({body_field: None})

    def __missing__(self, field: bytes) -> str:
        if len(self) > _NAMES:
            self.clear()
            self[self._body_field] = None
        # A plain producer may use any bytes; a lone surrogate would make the dead letter impossible to publish.
        name = self[field] = field.decode(errors="backslashreplace").removeprefix(ESCAPE)
        return name


class _Fields(dict[str, bytes]):
    """Field name for each header name met so far: encoding one name a thousand times is slow."""

    def __init__(self, body_field: str, *, escape_all: bool) -> None:
        self._body_field = body_field
        self._escape_all = escape_all
        super().__init__()

    def __missing__(self, name: object) -> bytes:
        if not isinstance(name, str):
            raise InvalidMessage(f"the name of a header must be text, got {type(name).__name__}")
        if len(self) > _NAMES:
            self.clear()
        escape = name == self._body_field or name.startswith(ESCAPE)
        if self._escape_all:
            escape = escape or not name.startswith(INTERNAL_PREFIX)
        field = self[name] = utf8(ESCAPE + name if escape else name, "the name of header")
        return field


class Entries(Protocol):
    """How a message lies in the fields of a stream entry."""

    def fields(self, outgoing: Outgoing, limit: int) -> list[bytes]:
        """Names and values in turn, as XADD takes them.

        Raises:
            InvalidMessage: a header, the key or the id cannot be written.
            MessageTooLarge: a value has more than ``limit`` bytes.
        """
        ...

    def parts(self, flat: Sequence[bytes]) -> Parts:
        """What `fields` wrote, or a plain producer. Without a body in its place the body is None, and all are headers."""
        ...

    def lacks_body(self, flat: Sequence[bytes]) -> str | None:
        """Why an entry whose body is None has another layout, or None if it was written so: with a flag."""
        ...


class EntryFormat:
    """Stream entries whose body lies in ``body_field``.

    Args:
        body_field: name of the field; every other one is a header. It must not begin with ``bk-``.
        escape_all: write each header with the prefix that otherwise tells it from the body. Only brokerkit's own have none.
    """

    def __init__(self, body_field: str, *, escape_all: bool = False) -> None:
        self._body_name = body_field.encode()
        self._fields = _Fields(body_field, escape_all=escape_all)
        self._names = _Names(self._body_name)

    def fields(self, outgoing: Outgoing, limit: int) -> list[bytes]:
        body, field = outgoing.body, self._fields
        flat = [self._body_name, body if body is not None else b""]
        for name, value in outgoing.headers.items():
            flat += field[name], utf8(value, "the value of header", name)
        if outgoing.content_type is not None:
            flat += field[CONTENT_TYPE], utf8(outgoing.content_type, "the content type")
        if outgoing.key is not None:
            flat += _KEY, utf8(outgoing.key, "the key")
        if outgoing.id:
            flat += _ID, utf8(outgoing.id, "the id")
        if body is None:
            flat += _NULL, b"1"
        if sum(map(len, flat)) > limit:
            check_size(max(map(len, flat)), limit)
        return flat

    def parts(self, flat: Sequence[bytes]) -> Parts:
        names = self._names
        each = iter(flat)
        found: dict[Any, bytes] = {names[name]: value for name, value in zip(each, each, strict=True)}
        body = found.pop(None, None)
        key = found.pop(KEY_HEADER, None)
        id = found.pop(ID_HEADER, None)
        if found.pop(NULL_HEADER, None) is not None and not body:
            body = None  # a body beside the flag is somebody else's, and stays
        return body, key, None if id is None else id.decode(errors="backslashreplace"), found

    def lacks_body(self, flat: Sequence[bytes]) -> str | None:
        field = self._body_name
        return None if field in flat else f"the entry has no field {field.decode()!r} (body_field)"


class EntryDelivery(Delivery):
    """The delivery of a stream entry. One that cannot be decoded is unreadable."""

    __slots__ = ()

    def __init__(
        self, format: Entries, topic: str, stream: bytes, id: bytes, flat: list[bytes], count: int, token: object
    ) -> None:
        """Args: stream: where the entry is; it holds messages of ``topic``. id, flat: the entry."""
        native = (stream, id, flat)
        try:
            body, key, message_id, headers = format.parts(flat)
            time = int(id[: id.index(b"-")]) / 1000
        except Exception as error:  # noqa: BLE001 (raised here, it would stop the source; the entry would come again)
            Delivery.__init__(self, body=b"".join(flat), topic=topic, position=id, native=native, token=token)
            self.unreadable(_undecodable(error))
            return
        Delivery.__init__(
            self,
            body=body,
            topic=topic,
            key=key,
            headers=headers,
            id=message_id,
            position=id,
            time=time,
            count=count,
            native=native,
            token=token,
        )
        if body is None and (problem := format.lacks_body(flat)) is not None:
            self.unreadable(problem)


class ValueDelivery(Delivery):
    """The delivery of a value of a list or channel. One that cannot be decoded is unreadable."""

    __slots__ = ()

    def __init__(self, value: bytes, topic: str, native: object, token: object) -> None:
        try:
            body, key, id, headers = unwrap(value)
        except Exception as error:  # noqa: BLE001 (raised here, it would stop the source; the value would come again)
            Delivery.__init__(self, body=value, topic=topic, native=native, token=token)
            self.unreadable(_undecodable(error))
            return
        Delivery.__init__(self, body=body, topic=topic, key=key, headers=headers, id=id, native=native, token=token)


class OwnEntryDelivery(EntryDelivery):
    """The delivery of an entry of an own queue. Its id is one of that stream, whatever the topic."""

    __slots__ = ()

    @property
    def is_ours(self) -> bool:
        return True

    @property
    def broker_id(self) -> str | None:
        return self._broker_id(self.native[0].decode(errors="backslashreplace"))


class OwnValueDelivery(ValueDelivery):
    """The delivery of a value from an own queue or channel."""

    __slots__ = ()

    @property
    def is_ours(self) -> bool:
        return True


def _undecodable(error: Exception) -> str:
    return f"the Redis value cannot be decoded: {type(error).__name__}: {error}"


def plain(outgoing: Outgoing, limit: int) -> bytes:
    """The bytes for a channel or a list that others read: the body alone, if the message has nothing else.

    Our own copies of messages have headers, which say what is known of them: they get an envelope all the same.

    Raises:
        InvalidMessage: as `wrap` does.
        MessageTooLarge: the result has more than ``limit`` bytes.
    """
    body = outgoing.body
    if body is None or outgoing.is_queue or outgoing.headers or outgoing.key is not None:
        return wrap(outgoing, limit)
    check_size(len(body), limit)
    return body


def wrap(outgoing: Outgoing, limit: int) -> bytes:
    """The bytes for a channel or a list: the body as it is where nothing travels beside it, else an envelope.

    Raises:
        InvalidMessage: a header, the key or the id cannot be written.
        MessageTooLarge: the result has more than ``limit`` bytes.
    """
    head: dict[str, Any] = {}
    headers = {
        _name(name): _jsonable(value, f"the value of header {name!r}") for name, value in outgoing.headers.items()
    }
    if outgoing.content_type is not None:
        headers[CONTENT_TYPE] = _jsonable(outgoing.content_type, "the content type")
    if headers:
        head["headers"] = headers
    if outgoing.key is not None:
        head["key"] = _jsonable(outgoing.key, "the key")
    if outgoing.id:
        head["id"] = _jsonable(outgoing.id, "the id")
    if outgoing.body is None:
        head["null"] = True
    body = outgoing.body or b""
    if head or body.startswith(MAGIC):
        text = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
        body = MAGIC + len(text).to_bytes(4, "big") + text + body
    check_size(len(body), limit)
    return body


def unwrap(data: bytes) -> Parts:
    """What `wrap` packed, or a plain producer's body as it is."""
    if not data.startswith(MAGIC):
        return data, None, None, {}
    end = _HEAD + int.from_bytes(data[len(MAGIC) : _HEAD], "big")
    try:
        head = strict_json(data[_HEAD:end].decode())
        # Somebody else's envelope: unpacked, a part of it would be gone.
        if end > len(data) or head.keys() - _HEAD_FIELDS or (head.get("null") and end < len(data)):
            return data, None, None, {}
        headers = {name: _plain(value) for name, value in head.get("headers", _NOTHING).items()}
        key = _plain(head["key"]) if "key" in head else None
        id = head.get("id")
        if not (id is None or isinstance(id, str)):
            raise TypeError
    except (ValueError, TypeError, AttributeError):
        return data, None, None, {}
    return None if head.get("null") else data[end:], key, id, headers


_HEAD_FIELDS: Final = frozenset({"headers", "id", "key", "null"})
_NOTHING: Final[Mapping[str, Any]] = {}


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidMessage(f"the name of a header must be text, got {type(name).__name__}")
    utf8(name, "the name of header")
    return name


def _jsonable(value: object, what: str) -> str | list[str]:
    """Text as it is; bytes that are not text as a list of one base64 string."""
    raw = utf8(value, what)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return [base64.b64encode(raw).decode()]


def _plain(value: object) -> str | bytes:
    if isinstance(value, str):
        return value
    (encoded,) = cast("list[str]", value)
    return base64.b64decode(encoded, validate=True)
