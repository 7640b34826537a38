"""Dead letters in a file of JSON lines: written through to the disk, read back, and taken out again."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Generator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

from brokerkit._errors import BrokerkitError
from brokerkit._message import CONTENT_TYPE, Delivery, Outgoing, text

# Windows has none; there a file must not be replayed while a service writes to it.
_fcntl: Final[Any] = import_module("fcntl") if os.name == "posix" else None


class FileOfDeadLetters:
    """Dead letters in a file of JSON lines, each written through to the disk before the original is settled.

    Several processes may add to it, and take from it: whoever writes holds a lock on it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    async def open(self) -> None:
        """See that the file can be written.

        Raises:
            BrokerkitError: it cannot.
        """
        [failure] = await asyncio.to_thread(self._append, [b""])
        if failure is not None:
            raise failure

    async def put(self, letters: Sequence[Outgoing]) -> list[BrokerkitError | None]:
        """Append one line for each."""
        return await asyncio.to_thread(self._append, [_as_line(letter) for letter in letters])

    async def letters(self) -> list[Delivery]:
        """What is in it, oldest first; `Delivery.token` is the line. Lines that are no dead letters are left out.

        Raises:
            BrokerkitError: the file cannot be read. A missing one is empty.
        """
        return await asyncio.to_thread(self._read)

    async def remove(self, letters: Sequence[Delivery]) -> None:
        """Write the file again without these letters, in one step: a crash leaves the old file or the new one.

        Raises:
            BrokerkitError: it cannot be written; it is as it was.
        """
        await asyncio.to_thread(self._remove, [letter.token for letter in letters])

    def _append(self, lines: list[bytes]) -> list[BrokerkitError | None]:
        try:
            # Readable by the owner alone: letters hold whatever the messages held.
            with self._locked(os.O_RDWR | os.O_APPEND | os.O_CREAT) as file:
                size = os.fstat(file).st_size
                os.lseek(file, max(size - 1, 0), os.SEEK_SET)
                # Whoever was killed while writing has left half a line.
                torn = any(lines) and size > 0 and os.read(file, 1) != b"\n"
                with os.fdopen(os.dup(file), "ab") as writer:
                    writer.write(b"\n" * torn + b"".join(lines))
                    writer.flush()
                    os.fsync(file)
        except OSError as error:
            return [self._failed("written to", error)] * len(lines)
        return [None] * len(lines)

    def _read(self) -> list[Delivery]:
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._failed("read from", error) from error
        return [letter for line in lines if (letter := _from_line(line, str(self.path))) is not None]

    def _remove(self, lines: Sequence[bytes]) -> None:
        gone = Counter(lines)
        try:
            with self._locked(os.O_RDWR) as old:
                descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
                try:
                    with os.fdopen(descriptor, "wb") as new, os.fdopen(os.dup(old), "rb") as reader:
                        os.fchmod(descriptor, os.fstat(old).st_mode & 0o777)
                        for line in reader:
                            if gone[line] > 0:
                                gone[line] -= 1
                            else:
                                new.write(line)
                        new.flush()
                        os.fsync(descriptor)
                    Path(name).replace(self.path)
                except BaseException:
                    Path(name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise self._failed("written to", error) from error

    @contextlib.contextmanager
    def _locked(self, flags: int) -> Generator[int]:
        """The file, ours alone, and still the one of that name when the lock is ours."""
        while True:
            file = os.open(self.path, flags, 0o600)
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

    def _failed(self, doing: str, error: OSError) -> BrokerkitError:
        failure = BrokerkitError(f"dead letters cannot be {doing} {self.path}: {error.strerror}")
        failure.__cause__ = error
        return failure

    def __repr__(self) -> str:
        return f"<dead letters to {self.path}>"


def _as_line(letter: Outgoing) -> bytes:
    def value(raw: str | bytes | None) -> Any:
        shown = None if raw is None else text(raw)
        return {"base64": base64.b64encode(shown).decode()} if isinstance(shown, bytes) else shown

    line = {
        "id": letter.id,
        "event": letter.name,
        "routing_key": letter.routing_key,
        "type": letter.type,
        "content_type": letter.content_type,
        "key": value(letter.key),
        "headers": {name: value(raw) for name, raw in letter.headers.items()},
        "body": value(letter.body),
    }
    return json.dumps(line, ensure_ascii=False).encode(errors="surrogatepass") + b"\n"


def _from_line(line: bytes, path: str) -> Delivery | None:
    """The letter of a line, or None where it is none."""

    def value(shown: Any) -> Any:
        return base64.b64decode(cast("dict[str, str]", shown)["base64"]) if isinstance(shown, dict) else shown

    try:
        found = json.loads(line.decode(errors="surrogatepass"))
        body, key = value(found["body"]), value(found["key"])
        headers = {str(name): value(shown) for name, shown in found["headers"].items()}
        if found["content_type"] is not None:
            headers[CONTENT_TYPE] = found["content_type"]
        body = body.encode(errors="surrogatepass") if isinstance(body, str) else body
        return Delivery(
            *(body, path, key, headers, found["id"], None, None, 0, None, line),
            routing_key=found["routing_key"],
            type=found["type"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
