"""FastStream's envelope on Redis: headers and data in one value (FastStream 0.7, `faststream.redis.parser.binary`).

Eight bytes that no other format begins with, a version of two bytes, the offsets of the headers and of the data, then the
headers as a number of pairs, each text after its length.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from brokerkit._errors import DecodeError
from brokerkit._messages._codecs import Codec

MAGIC: Final = b"\x89BIN\r\n\x1a\n"
_VERSION: Final = 1
_FIXED: Final = struct.Struct(">HII")


def decode(value: Any) -> Any:
    """Return ``headers`` and ``data``, or the value unchanged if it is not such an envelope.

    Raises:
        DecodeError: the envelope is of another version, or cut off.
    """
    if not isinstance(value, bytes) or not value.startswith(MAGIC):
        return value
    try:
        version, headers_at, data_at = _FIXED.unpack_from(value, len(MAGIC))
        if version != _VERSION:
            raise DecodeError(f"version {version} of FastStream's envelope is not known; {_VERSION} is")
        (count,) = struct.unpack_from(">H", value, headers_at)
        at = headers_at + 2
        texts: list[str] = []
        for _ in range(2 * count):
            (length,) = struct.unpack_from(">H", value, at)
            texts.append(value[at + 2 : at + 2 + length].decode())
            at += 2 + length
    except (struct.error, UnicodeDecodeError) as error:
        raise DecodeError(f"FastStream's envelope is broken: {error}", value=value) from error
    return {"headers": dict(zip(texts[::2], texts[1::2], strict=True)), "data": value[data_at:]}


FASTSTREAM: Final = Codec(name="faststream", decode=decode)
