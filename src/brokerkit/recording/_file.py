"""Writes the file of a recording: what was synced can be read again, whatever happens to the process."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

from brokerkit._errors import BrokerkitError

_LEVEL = 6
"""Level of compression: the default of gzip, much faster than that of Python."""


class RecordingFile:
    """A new file of lines, compressed with gzip if its name ends in ``.gz``.

    Raises:
        BrokerkitError: the file cannot be made, or exists already.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Only the owner may read it: messages may hold anything.
            self._raw = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
            _sync_folder(path.parent)
        except FileExistsError:
            raise BrokerkitError(f"{path} exists already; a recording needs a new file") from None
        except OSError as error:
            raise self._failure(error) from error
        self._out: BinaryIO | gzip.GzipFile = self._raw
        if path.suffix == ".gz":
            self._out = gzip.GzipFile(path.name.removesuffix(".gz"), "wb", _LEVEL, self._raw)

    def write(self, lines: Sequence[bytes]) -> None:
        """Write lines, and return when they are on the disk.

        Raises:
            BrokerkitError: not all lines could be written.
        """
        try:
            self._out.write(b"".join(lines))
            self._out.flush()  # of gzip: everything so far can be decompressed, whether or not more follows
            self._raw.flush()
            os.fsync(self._raw.fileno())
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Close the file. Does not raise: what was written is safe."""
        for each in (self._out, self._raw):
            try:
                cast("BinaryIO", each).close()
            except OSError:
                pass

    def remove(self) -> None:
        """Remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _failure(self, error: OSError) -> BrokerkitError:
        return BrokerkitError(f"{self.path} cannot be written: {error.strerror or error}")


def _sync_folder(folder: Path) -> None:
    """Sync a folder, so that the new name survives a crash of the machine."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
