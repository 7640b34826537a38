"""What the tests of the command line share."""

import re
import sysconfig
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from subprocess import Popen

PROGRAM = Path(sysconfig.get_path("scripts"), "brokerkit")


@dataclass(frozen=True, slots=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


Cli = Callable[..., Result]
Start = Callable[..., Popen[str]]


class Program:
    """A running ``brokerkit run``, and what it says line by line."""

    def __init__(self, process: Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self._open = 2
        self._lines: Queue[str | None] = Queue()
        for stream in (process.stdout, process.stderr):
            threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: Iterator[str]) -> None:
        for line in stream:
            self._lines.put(line)
        self._lines.put(None)

    def _hear(self) -> bool:
        """Wait for the next line; False after the last."""
        while self._open:
            if (line := self._lines.get(timeout=60)) is not None:
                self.said.append(line)
                return True
            self._open -= 1
        return False

    def wait_for(self, pattern: str, *, times: int = 1) -> list[re.Match[str]]:
        """The next lines that match."""
        found: list[re.Match[str]] = []
        while len(found) < times:
            assert self._hear(), f"it ended without {pattern!r}:\n{''.join(self.said)}"
            if match := re.search(pattern, self.said[-1]):
                found.append(match)
        return found

    def serving(self, count: int) -> dict[int, int]:
        """Wait until so many workers have begun to serve; pid by number."""
        return {
            int(found[1]): int(found[2]) for found in self.wait_for(r"worker (\d+) \(pid (\d+)\) serves", times=count)
        }

    def end(self) -> int:
        """Wait for the end; the exit status."""
        while self._hear():
            pass
        return self.process.wait(timeout=60)
