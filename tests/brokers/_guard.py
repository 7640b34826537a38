"""Ends the brokers of a test session that died without doing so. Run as a script by `tests.brokers._server`.

Standard input is a pipe from the session: `+PID` names a process group to look after, `-PID` one that has ended.
The pipe closes when the session is gone, however it went; then the groups that are left are killed and the
session's folder is removed. The parent-death signal of Linux would not do: it fires when the *thread* that started
the broker ends, and a test may restart a broker from a worker thread.
"""

import os
import shutil
import signal
import sys


def main(folder: str) -> None:
    """Wait for the session to end, then clear away what it left behind."""
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
