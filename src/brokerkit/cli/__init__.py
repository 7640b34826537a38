"""The command line ``brokerkit``. Its libraries come with the extra ``cli``; the rest of brokerkit does not need them."""

from __future__ import annotations

import io
import os
import sys
from typing import cast

_LIBRARIES = ("cyclopts", "rich", "yaml")
_PIPE_CLOSED = 141
"""128 plus the number of SIGPIPE, as in shells."""


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        from brokerkit.cli._app import run
        from brokerkit.cli._output import say_traceback
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _LIBRARIES:
            raise
        sys.exit(f"error: the command line needs {library}, which is not installed: pip install 'brokerkit-sdk[cli]'")
    cast("io.TextIOWrapper", sys.stdout).reconfigure(line_buffering=True)  # the reader of a pipe sees each line at once
    sys.excepthook = say_traceback
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        status = _PIPE_CLOSED
    sys.exit(status)


def _nobody_reads() -> bool:
    """Whether standard output is a pipe that was closed (``| head``). If so, discard the rest of the output."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
