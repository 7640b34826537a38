"""Wake-ups between the processes that share a database file, so that nobody has to ask it again and again.

Each reader binds a datagram socket in a folder for this file. A process that commits sends one byte to every socket there. A
lost wake-up delays a message and does not lose it: readers also look once a second.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import stat
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

HAS_SOCKETS: Final = hasattr(socket, "AF_UNIX") and os.name == "posix"
"""asyncio on Windows has no datagram sockets with a path. Readers there look 50 times a second."""


def folder_of(database: Path) -> Path:
    """The folder of the sockets of one database file. It is not beside the file, because the path of a socket holds only 100
    bytes.

    Raises:
        OSError: no folder for temporary files can be written.
    """
    # A container may run as a number that has no name.
    digest = hashlib.blake2s(str(database.resolve()).encode(errors="surrogateescape"), digest_size=10).hexdigest()
    return Path(tempfile.gettempdir(), f"brokerkit-{os.geteuid()}", digest)


class Bell:
    """Rings every reader of a database file, those of other processes too.

    Args:
        database: the file.
    """

    def __init__(self, database: Path) -> None:
        self._folder: Path | None = None
        with suppress(OSError):  # nobody can hear here
            self._folder = folder_of(database) if HAS_SOCKETS else None
        self._socket: socket.socket | None = None

    def __repr__(self) -> str:
        return f"<Bell in {self._folder}>"

    def ring(self) -> None:
        """Wake all readers. Does not raise and does not wait."""
        if self._folder is None:
            return
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        try:
            readers = os.listdir(self._folder)  # noqa: PTH208 (once for each publish: paths cost more)
        except OSError:
            return  # nobody has ever read
        for reader in readers:
            address = f"{self._folder}/{reader}"
            try:
                self._socket.sendto(b".", address)
            except (BlockingIOError, InterruptedError):
                pass  # it has enough wake-ups
            except OSError:
                # The process that bound it has ended.
                with suppress(OSError):
                    Path(address).unlink()

    def close(self) -> None:
        """Free the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Ear:
    """Hears the `Bell` of a database file, as long as it is open.

    Args:
        database: the file.
        heard: called on the event loop for each wake-up.

    Raises:
        OSError: the folder of the sockets cannot be used.
    """

    def __init__(self, database: Path, heard: Callable[[], object]) -> None:
        self._heard = heard
        self._socket: socket.socket | None = None
        if not HAS_SOCKETS:
            return
        folder = folder_of(database)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_foreign(folder.parent)
        _refuse_foreign(folder)
        self._path = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(self._path))
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)

    def _read(self) -> None:
        assert self._socket is not None
        with suppress(OSError):
            while True:
                self._socket.recv(64)
        self._heard()

    def close(self) -> None:
        """Stop hearing."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
            self._path.unlink(missing_ok=True)


def _refuse_foreign(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise OSError(f"{folder} is not a folder of this user's own")
