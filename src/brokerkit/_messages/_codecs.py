"""Codecs: the steps of a rule that turn a value into another one, such as JSON text into the object that it holds.

A codec is pure: it knows no bus, no broker and no message. Packages add their own with an entry point in the group
``brokerkit.codecs``, or with `register_codec`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import unquote

from brokerkit._errors import ConfigError, DecodeError, InvalidMessage
from brokerkit._messages._encodings import sniffed
from brokerkit._paths import MISSING
from brokerkit.events._types import BOM, ExactFloat

ENTRY_POINTS: Final = "brokerkit.codecs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """One way to read a value, and to write one.

    Args:
        name: what rules call it.
        decode: takes text, bytes, or JSON that is parsed already, and returns the next value. If it cannot, it raises
            `DecodeError` and nothing else. A value of another kind is returned unchanged, or it raises.
        encode: takes what the next step of the rule has written, or the event as JSON in UTF-8, and returns text or
            bytes. If it cannot, it raises `InvalidMessage`. None if the codec only reads.
        content_type: media type of what it writes, or None.
    """

    name: str
    decode: Callable[[Any], Any]
    encode: Callable[[bytes | str], bytes | str] | None = None
    content_type: str | None = None


def from_json(data: bytes | str) -> Any:
    """Parse JSON; fractions keep their text.

    Raises:
        ValueError: it is not JSON, or not UTF-8.
        RecursionError: it is nested too deep.
    """
    return json.loads(
        json_text(data) if isinstance(data, bytes) else data, parse_float=ExactFloat, parse_constant=_refuse
    )


def json_text(body: bytes | None) -> str:
    """Return a JSON body as text, without the byte order mark that .NET writes.

    JSON between programs is UTF-8 (RFC 8259, section 8.1). `json.loads` would also accept bytes in other encodings,
    which the models' parser refuses. Then it would depend on the place of the name whether a body can be read.

    Raises:
        ValueError: it is not UTF-8.
    """
    return (body or b"").removeprefix(BOM).decode()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _decode_json(value: Any) -> Any:
    if not isinstance(value, (str, bytes)):
        return value  # some producers write the object, some its text
    try:
        return from_json(value)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not JSON: {error}", value=value) from error


def _encode_json(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()


def _decode_base64(value: Any) -> Any:
    if not isinstance(value, (str, bytes)):
        raise DecodeError("not base64", value=value)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DecodeError(f"not base64: {error}", value=value) from error


def _encode_base64(value: bytes | str) -> str:
    return base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()


def _decompress(value: Any) -> Any:
    return sniffed(value) if isinstance(value, bytes) else value


def _decode_percent(value: Any) -> Any:
    return unquote(value) if isinstance(value, (str, bytes)) else value


def _only(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if len(elements := cast("list[Any]", value)) != 1:  # type: ignore[redundant-cast]
        raise DecodeError(f"a message can hold one event, and this one has {len(elements)}", value=elements)
    return elements[0]


def _leave_out_empty(value: Any) -> Any:
    return value if value or value == 0 else MISSING


def _msgspec() -> Any:
    try:
        import msgspec
    except ImportError:
        raise ConfigError("the codec msgpack needs the package msgspec: pip install 'brokerkit-sdk[msgspec]'") from None
    return msgspec


def _decode_msgpack(value: Any) -> Any:
    if not isinstance(value, bytes):
        raise DecodeError("not MessagePack", value=value)
    try:
        return _msgspec().msgpack.decode(value)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not MessagePack: {error}", value=value) from error


def _encode_msgpack(value: bytes | str) -> bytes:
    try:
        packed: bytes = _msgspec().msgpack.encode(json.loads(value))
    except (ValueError, OverflowError) as error:
        raise InvalidMessage(f"the event cannot be written as MessagePack: {error}") from error
    return packed


_CODECS: Final = {
    codec.name: codec
    for codec in (
        Codec(name="json", decode=_decode_json, encode=_encode_json),
        Codec(name="base64", decode=_decode_base64, encode=_encode_base64),
        Codec(name="decompress", decode=_decompress),
        Codec(name="nonempty", decode=_leave_out_empty),
        Codec(name="only", decode=_only),
        Codec(name="percent", decode=_decode_percent),
        Codec(name="msgpack", decode=_decode_msgpack, encode=_encode_msgpack, content_type="application/msgpack"),
    )
}


def codec_names() -> list[str]:
    """The names of the codecs that this process knows already, sorted."""
    return sorted(_CODECS)


def register_codec(codec: Codec) -> Codec:
    """Make a codec known in this process, and return it.

    Raises:
        ConfigError: another codec has this name.
    """
    if _CODECS.setdefault(codec.name, codec) != codec:
        raise ConfigError(f"there is another codec {codec.name!r} already")
    return codec


def get_codec(name: str) -> Codec:
    """Return a codec: a built-in one, one that was registered, or that of an entry point.

    Raises:
        ConfigError: there is none, or it cannot be loaded.
    """
    if name not in _CODECS:
        from importlib.metadata import entry_points  # costs 20 ms, and only foreign codecs need it

        for point in entry_points(group=ENTRY_POINTS, name=name):
            try:
                loaded = point.load()
            except (ImportError, AttributeError) as error:
                raise ConfigError(f"codec {name!r} cannot be loaded from {point.value!r}: {error}") from error
            if not isinstance(loaded, Codec) or loaded.name != name:
                raise ConfigError(f"{point.value!r} is not a brokerkit codec named {name!r}")
            return register_codec(loaded)
        raise ConfigError(f"there is no codec {name!r}; known are {', '.join(codec_names())}")
    return _CODECS[name]
