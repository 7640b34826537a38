"""The lines of a file that may end anywhere: what was synced is read, however a crash has left the rest."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from brokerkit._errors import BrokerkitError

_GZIP: Final = b"\x1f\x8b"
_CHUNK: Final = 65_536


def lines(path: Path, cut: Callable[[], None]) -> Iterator[bytes]:
    """The whole lines of a file, plain or packed with gzip.

    Args:
        path: the file.
        cut: called at the end where the file ends in the middle of something.

    Raises:
        BrokerkitError: it cannot be read.
    """
    rest = b""
    try:
        with path.open("rb") as file:
            chunks = _unpacked(file, cut) if file.peek(2)[:2] == _GZIP else iter(lambda: file.read(_CHUNK), b"")
            for chunk in chunks:
                *whole, rest = (rest + chunk).split(b"\n")
                yield from whole
    except OSError as error:
        raise BrokerkitError(f"{path} cannot be read: {error.strerror or error}") from error
    if rest:
        cut()


def _unpacked(file: BinaryIO, cut: Callable[[], None]) -> Iterator[bytes]:
    """What a gzip file holds; Python's own reader loses what stands before an end that cannot be read."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    while chunk := file.read(_CHUNK):
        before = unpacker.copy()
        try:
            yield unpacker.decompress(chunk)
        except zlib.error:
            yield _readable(before.decompress, chunk)
            cut()
            return
    if not unpacker.eof:
        cut()


def _readable(unpack: Callable[[bytes], bytes], chunk: bytes) -> bytes:
    """What comes out of the bytes before the one that makes no sense."""
    found = b""
    try:
        for place in range(len(chunk)):
            found += unpack(chunk[place : place + 1])
    except zlib.error:
        pass
    return found
