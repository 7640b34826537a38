"""Reads the lines of a file that a crash may have cut off anywhere: everything that was synced is read."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from brokerkit._errors import BrokerkitError

_GZIP: Final = b"\x1f\x8b"
_CHUNK: Final = 65_536
_PIECE: Final = 2**20
"""Bytes that are unpacked at once."""
_LONGEST: Final = 128 * 2**20
"""Bytes of a line. No broker takes a message of this size."""


def lines(path: Path, cut: Callable[[], None]) -> Iterator[bytes]:
    """Yield the complete lines of a file, plain or compressed with gzip.

    Args:
        path: the file.
        cut: called at the end if the file is cut off.

    Raises:
        BrokerkitError: the file cannot be read, or a line is too long for a message.
    """
    parts: list[bytes] = []
    size = 0
    try:
        with path.open("rb") as file:
            chunks = _unpacked(file, cut) if file.peek(2)[:2] == _GZIP else iter(lambda: file.read(_CHUNK), b"")
            for chunk in chunks:
                first, *others = chunk.split(b"\n")
                parts.append(first)
                if (size := size + len(first)) > _LONGEST:
                    raise BrokerkitError(f"{path} is no recording: it has a line of more than {_LONGEST:,} bytes")
                if others:
                    yield b"".join(parts)
                    yield from others[:-1]
                    parts, size = [others[-1]], len(others[-1])
    except OSError as error:
        raise BrokerkitError(f"{path} cannot be read: {error.strerror or error}") from error
    if size:
        cut()


def _unpacked(file: BinaryIO, cut: Callable[[], None]) -> Iterator[bytes]:
    """Yield the content of a gzip file. Python's own reader loses what comes before an end that cannot be read."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    while packed := file.read(_CHUNK):
        full = True  # a few bytes may stand for very many: they are unpacked piece by piece
        while packed or full:
            before = unpacker.copy()
            try:
                piece = unpacker.decompress(packed, _PIECE)
            except zlib.error:
                yield _readable(before.decompress, packed)
                cut()
                return
            full, packed = len(piece) == _PIECE, unpacker.unconsumed_tail
            yield piece
    if not unpacker.eof:
        cut()


def _readable(unpack: Callable[[bytes], bytes], chunk: bytes) -> bytes:
    """Return what the bytes before the first broken one decompress to."""
    found = b""
    try:
        for index in range(len(chunk)):
            found += unpack(chunk[index : index + 1])
    except zlib.error:
        pass
    return found
