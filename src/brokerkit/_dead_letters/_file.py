"""Dead letters in a file of JSON lines: written through to the disk, read back, and removed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Generator, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Final

from brokerkit._dead_letters._lines import Removed, as_line, from_line, is_removal, removal
from brokerkit._errors import BrokerkitError
from brokerkit._logging import get_logger
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._outgoing import Outgoing

logger = get_logger(__name__)

# Windows has no fcntl. There, a file must not be replayed while a service writes to it.
_fcntl: Final[Any] = import_module("fcntl") if os.name == "posix" else None


_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)


class DeadLetterFile:
    """Dead letters in a file of JSON lines, each written through to the disk before the original is settled.

    Several processes may add to it and remove from it: each holds a lock while it writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    async def open(self) -> None:
        """Check that the file can be written, and that nobody but its owner and its group can read it.

        Raises:
            BrokerkitError: it cannot be written, or anybody can read it.
        """
        [failure] = await asyncio.to_thread(self._append, [b""])
        if failure is not None:
            raise BrokerkitError(f"{failure}; set dead_letter to a file that can be written") from failure.__cause__
        self._refuse_readers()

    def look(self) -> None:
        """Check as `open` does, but make no file: most overflow files stay unused. One that cannot be written is a warning.

        Raises:
            BrokerkitError: anybody can read it.
        """
        checked = self.path if os.path.lexists(self.path) else self.path.parent
        if self.path.is_symlink():
            why = "it is a symbolic link"
        elif not checked.exists():
            why = f"the folder {str(checked)!r} does not exist"
        elif os.access(checked, os.W_OK):
            if checked == self.path:
                self._refuse_readers()
            return
        else:
            why = f"this process may not write {str(checked.absolute())!r}"
        logger.warning(
            "dead letters that the broker cannot take could not be kept: %s: %s; set overflow to a file that can be written",
            *(self.path, why),
        )

    def _refuse_readers(self) -> None:
        if self.path.stat().st_mode & stat.S_IROTH:
            raise BrokerkitError(
                f"dead letters are not written to {self.path}: every user of this machine can read it; chmod 600 {self.path}"
            )

    async def put(self, letters: Sequence[Outgoing]) -> list[BrokerkitError | None]:
        """Append one line for each dead letter."""
        return await asyncio.to_thread(self._append, [as_line(letter) for letter in letters])

    def cursor(self) -> FileCursor:
        """Return a cursor through the file, oldest first. It skips lines that are not dead letters."""
        return FileCursor(self)

    async def remove(self, lines: Sequence[bytes]) -> None:
        """Record on the disk that these lines are removed. `compact` takes them out of the file.

        Raises:
            BrokerkitError: it cannot be written.
        """
        [failure] = await asyncio.to_thread(self._append, [removal(lines)])
        if failure is not None:
            raise failure

    async def compact(self) -> None:
        """Rewrite the file without removed lines, in one step: after a crash there is the old file or the new one.

        Raises:
            BrokerkitError: the file cannot be written, and is unchanged.
        """
        await asyncio.to_thread(self._compact)

    def _append(self, lines: list[bytes]) -> list[BrokerkitError | None]:
        try:
            # Only the owner can read it, because dead letters hold everything that the messages held.
            with self._locked(os.O_RDWR | os.O_APPEND | os.O_CREAT) as file:
                size = os.fstat(file).st_size
                os.lseek(file, max(size - 1, 0), os.SEEK_SET)
                # A process that was killed while writing has left half a line.
                torn = any(lines) and size > 0 and os.read(file, 1) != b"\n"
                with os.fdopen(os.dup(file), "ab") as writer:
                    writer.write(b"\n" * torn + b"".join(lines))
                    writer.flush()
                    os.fsync(file)
        except OSError as error:
            return [self.failed("written to", error)] * len(lines)
        return [None] * len(lines)

    def _compact(self) -> None:
        try:
            with self._locked(os.O_RDWR) as old, os.fdopen(os.dup(old), "rb") as reader:
                removed = Removed()
                for at, line in _numbered(reader):
                    if is_removal(line):
                        removed.note(line, at)
                descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
                try:
                    with os.fdopen(descriptor, "wb") as new:
                        os.fchmod(descriptor, os.fstat(old).st_mode & 0o777)
                        reader.seek(0)
                        new.writelines(
                            line for at, line in _numbered(reader) if not (is_removal(line) or removed.takes(line, at))
                        )
                        new.flush()
                        os.fsync(descriptor)
                    Path(name).replace(self.path)
                except BaseException:
                    Path(name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise self.failed("written to", error) from error

    @contextlib.contextmanager
    def _locked(self, flags: int) -> Generator[int]:
        """Lock the file, and make sure that its name still means the same file once the lock is held."""
        while True:
            # Another user's link could direct the dead letters to another file.
            file = os.open(self.path, flags | _NO_LINK, 0o600)
            try:
                if _fcntl is not None:
                    _fcntl.flock(file, _fcntl.LOCK_EX)
                if self._is_current(file):
                    yield file
                    return
            finally:
                os.close(file)

    def _is_current(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self.path.stat())
        except FileNotFoundError:
            return False

    def failed(self, doing: str, error: OSError) -> BrokerkitError:
        """Return the error for a file that cannot be read or written."""
        reason = "it is a symbolic link; name the file itself" if error.errno == errno.ELOOP else error.strerror
        failure = BrokerkitError(f"dead letters cannot be {doing} {self.path}: {reason}")
        failure.__cause__ = error
        return failure

    def __repr__(self) -> str:
        return f"<dead letters to {self.path}>"


class FileCursor:
    """A `brokerkit.adapters.api.Cursor` of a file; a missing one is empty."""

    def __init__(self, file: DeadLetterFile) -> None:
        self._file = file
        self._reader: BinaryIO | None = None
        self._end = 0
        self._removed = Removed()
        self._has_removed = False
        self.unseen = 0

    def __repr__(self) -> str:
        return f"<FileCursor of {self._file.path}: {self.unseen} unseen>"

    async def open(self) -> None:
        """See `Cursor.open`."""
        await asyncio.to_thread(self._open)

    async def fetch(self, limit: int) -> Sequence[Delivery]:
        """See `Cursor.fetch`; `Delivery.token` is the line."""
        return await asyncio.to_thread(self._fetch, limit)

    async def remove(self, deliveries: Sequence[Delivery]) -> None:
        """See `Cursor.remove`."""
        self._has_removed = True
        await self._file.remove([delivery.token for delivery in deliveries])

    async def close(self) -> None:
        """See `Cursor.close`."""
        reader, self._reader = self._reader, None
        if reader is None:
            return
        await asyncio.to_thread(reader.close)
        if self._has_removed:
            try:
                await self._file.compact()
            except BrokerkitError as error:
                logger.warning("removed dead letters are still in %s, marked as removed: %s", self._file.path, error)

    def _open(self) -> None:
        try:
            self._reader = reader = self._file.path.open("rb")
            self._end = os.fstat(reader.fileno()).st_size
            lines = 0
            for at, line in _numbered(reader, self._end):
                if is_removal(line):
                    self._removed.note(line, at)
                else:
                    lines += 1
            reader.seek(0)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._file.failed("read from", error) from error
        self.unseen = max(lines - len(self._removed), 0)

    def _fetch(self, limit: int) -> Sequence[Delivery]:
        found: list[Delivery] = []
        if (reader := self._reader) is None:
            return found
        try:
            for at, line in _numbered(reader, self._end):
                if is_removal(line) or self._removed.takes(line, at):
                    continue
                self.unseen = max(self.unseen - 1, 0)
                if (letter := from_line(line, str(self._file.path))) is not None:
                    found.append(letter)
                if len(found) == limit:
                    return found
        except OSError as error:
            raise self._file.failed("read from", error) from error
        self.unseen = 0
        return found


def _numbered(reader: BinaryIO, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield the lines from the reader's position with their offsets, up to ``end``."""
    at = reader.tell()
    while (end is None or at < end) and (line := reader.readline()):
        yield at, line
        at += len(line)
