"""Content encodings: a compressed body is decompressed if a header says so.

The header is read only if a body cannot be read as it is, so plain bodies pay nothing for it.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from brokerkit._errors import DecodeError
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import PROPERTY_PREFIX, header_text

LARGEST: Final = 64 * 1024 * 1024
"""The most bytes that a decompressed body may have. A small message must not fill the memory."""

_HEADERS: Final = (
    "content-encoding",
    "Content-Encoding",
    "content_encoding",
    "contentEncoding",
    "rbs2-content-encoding",
    "compression",
    PROPERTY_PREFIX + "content_encoding",
)
"""Where producers say it. The last three are of Rebus, of kombu, and of messages that a bridge took from RabbitMQ."""
_NONE: Final = frozenset({"", "identity", "utf-8", "utf8", "binary", "us-ascii"})
"""AMQP's property also holds names of character sets."""
_MEDIA_TYPE: Final = "application/"
"""kombu writes ``application/x-gzip``."""


def undone(delivery: Delivery) -> bytes | None:
    """Return the decompressed body; None if no header names a content encoding.

    Raises:
        DecodeError: the encoding is not known, or its package is not installed; the body does not have that encoding,
            or is too large when it is decompressed.
    """
    body = delivery.body
    if body is None or not (stated := _stated(delivery)):
        return None
    for name in stated:
        if name not in _DECODERS:
            raise DecodeError(
                f"the content encoding {name!r:.60} is not known; known are {', '.join(sorted(_DECODERS))}"
            )
        try:
            body = _DECODERS[name](body)
        except DecodeError:
            raise
        except Exception as error:
            raise DecodeError(f"the body is not {name}, as its content encoding says: {error}") from error
    return body


def sniffed(body: bytes) -> bytes:
    """Return a body decompressed according to its first bytes, or unchanged if they show no compression.

    Raises:
        DecodeError: the rest does not match the first bytes, or the body is too large when it is decompressed.
    """
    name = next((name for start, name in _MAGIC if body.startswith(start)), None)
    if name is None:
        return body
    try:
        return _DECODERS[name](body)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(f"the body begins like {name}, but cannot be decompressed: {error}") from error


def _stated(delivery: Delivery) -> list[str]:
    """The encodings in the first header that names any, the last applied first."""
    stated = [header_text(delivery.headers, name) for name in _HEADERS if name in delivery.headers]
    for value in (*stated, delivery.properties.get("content_encoding")):
        names = [part.strip().removeprefix(_MEDIA_TYPE).removeprefix("x-") for part in (value or "").lower().split(",")]
        if found := [name for name in names if name not in _NONE]:
            # Several are written in the order in which they were applied (RFC 9110, section 8.4).
            return found[::-1]
    return []


def _bounded(make: Callable[[], Any]) -> Callable[[bytes], bytes]:
    """Return a decoder made of a decompressor of the standard library, which can stop at a limit."""

    def decode(body: bytes) -> bytes:
        decompressor = make()
        plain: bytes = decompressor.decompress(body, LARGEST + 1)
        if len(plain) > LARGEST:
            raise _too_large()
        if not decompressor.eof:
            raise DecodeError("the body is cut off: its compressed data is not complete")
        return plain

    return decode


def _zlib(body: bytes) -> bytes:
    # HTTP calls the zlib format "deflate", and some producers write the bare one.
    try:
        return _bounded(lambda: zlib.decompressobj())(body)
    except zlib.error:
        return _bounded(lambda: zlib.decompressobj(-zlib.MAX_WBITS))(body)


def _zstd(body: bytes) -> bytes:
    zstandard = _module("zstandard", "zstd")
    with zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True) as reader:
        return _read(reader)


def _lz4(body: bytes) -> bytes:
    with _module("lz4.frame", "lz4").open(io.BytesIO(body)) as reader:
        return _read(reader)


def _read(reader: Any) -> bytes:
    plain: bytes = reader.read(LARGEST + 1)
    if len(plain) > LARGEST:
        raise _too_large()
    return plain


def _too_large() -> DecodeError:
    return DecodeError(f"the body has more than {LARGEST // 1024 // 1024} MiB when it is decompressed")


def _module(name: str, encoding: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise DecodeError(
            f"the content encoding {encoding} needs the package {package}: pip install {package}"
        ) from None


_DECODERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    # kombu 5.7 labels what zlib made as application/x-gzip. Both have a header of their own, so both are taken.
    "gzip": _bounded(lambda: zlib.decompressobj(zlib.MAX_WBITS | 32)),
    "zlib": _zlib,
    "deflate": _zlib,
    "bz2": _bounded(bz2.BZ2Decompressor),
    "bzip2": _bounded(bz2.BZ2Decompressor),
    "xz": _bounded(lzma.LZMADecompressor),
    "lzma": _bounded(lzma.LZMADecompressor),
    "zstd": _zstd,
    "lz4": _lz4,
}

_MAGIC: Final = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x78\x01", "zlib"),
    (b"\x78\x5e", "zlib"),
    (b"\x78\x9c", "zlib"),
    (b"\x78\xda", "zlib"),
)
