"""Every interpreter that has this folder in PYTHONPATH may write no file, as on a read-only file system."""

import errno
import os
import resource
import sys

_CHANGES = {
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.utime",
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    path = arguments[0] if arguments else None
    if event == "open":
        flags = arguments[2]
        changes = isinstance(flags, int) and bool(flags & _WRITES) and not isinstance(path, int)
    else:
        changes = event in _CHANGES
    if changes and not str(path).startswith("/dev/"):
        if not str(path).endswith((".pyc", "__pycache__")) and ".pyc." not in str(path):
            os.write(2, f"it would write: {event} {path}\n".encode())
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)


# Libraries that are not Python are held too: no file may have more than no bytes.
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
sys.addaudithook(_refuse)
