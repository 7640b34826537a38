"""One broker's server: a process of ours that can be stopped and started again, or one that runs elsewhere.

Errors are `BrokerUnavailable`: what is missing, or the end of the log of what did not come up.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Protocol

from tests.brokers import _guard

CHECKOUT = Path(__file__).parents[2]
START_SECONDS = 90.0
STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05
_LOG_LINES = 30


class BrokerUnavailable(Exception):
    """A broker the tests need is not there. The text says which, why, and what to do."""


class Server(Protocol):
    """What a test may do to a broker, whoever runs it."""

    def start(self) -> None:
        """Return when the broker answers in its own protocol; nothing happens if it runs already.

        Raises:
            BrokerUnavailable: it is not installed, does not come up, or does not answer.
        """

    def stop(self) -> None:
        """End the broker in an orderly way, keeping its port and its data for the next `start`.

        Raises:
            BrokerUnavailable: the broker is not ours to stop.
        """

    def restart(self) -> None:
        """Stop, then start on the same port with the same data.

        Raises:
            BrokerUnavailable: as for `stop` and `start`.
        """

    def close(self) -> None:
        """End the broker for good, if it is ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process of a broker. `environment` is added to the environment of the tests."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


class LocalServer:
    """A broker whose processes are ours."""

    def __init__(self, name: str, *, programs: Sequence[Program], ready: Callable[[], object], log: Path) -> None:
        """Describe a broker; nothing is started yet.

        Args:
            name: what errors call it.
            programs: the processes in the order they start; they are stopped in the opposite order.
            ready: asks the broker something in its own protocol, and raises as long as there is no answer.
            log: the file that takes the output of all its processes.
        """
        self._name = name
        self._programs = programs
        self._ready = ready
        self._log = log
        self._running: list[subprocess.Popen[bytes]] = []

    def __repr__(self) -> str:
        pids = ", ".join(str(process.pid) for process in self._running)
        return f"<{self._name} {f'running, pid {pids}' if pids else 'stopped'}, log {self._log}>"

    def start(self) -> None:
        """Start the processes and wait for the first answer."""
        if self._running:
            return
        try:
            for program in self._programs:
                self._running.append(_spawn(program, self._log))
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """Ask the processes to end, and kill what has not after STOP_SECONDS."""
        while self._running:
            _end(self._running.pop())

    def kill(self) -> None:
        """End the processes at once, as a machine that fails."""
        for process in self._running:
            process.kill()
        self.stop()

    @contextmanager
    def frozen(self) -> Generator[None, None, None]:
        """Have the processes stand still, with their connections open, as on a machine that hangs."""
        self._signal(signal.SIGSTOP)
        self._wait_until_frozen()
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _wait_until_frozen(self) -> None:
        """Wait until every thread stands still: one on another processor may answer for a moment after the signal."""
        give_up = time.monotonic() + 5
        for process in self._running:
            while time.monotonic() < give_up and not _is_frozen(process.pid):
                time.sleep(0.001)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._running:
            os.killpg(process.pid, number)

    def restart(self) -> None:
        """Stop, then start on the same port with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop, and keep the log as `.brokers/logs/NAME.log` until the next run."""
        self.stop()
        kept = CHECKOUT / ".brokers" / "logs"
        kept.mkdir(parents=True, exist_ok=True)
        if self._log.exists():
            shutil.copyfile(self._log, kept / f"{self._name}.log")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            for process in self._running:
                if process.poll() is not None:
                    raise self._failed(f"ended with status {process.returncode} instead of coming up")
            try:
                self._ready()
            except Exception as error:
                if time.monotonic() > deadline:
                    raise self._failed(f"did not answer within {START_SECONDS:.0f} s ({error})") from error
                time.sleep(_POLL_SECONDS)
            else:
                return

    def _failed(self, what: str) -> BrokerUnavailable:
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
        return BrokerUnavailable(f"{self._name} {what}; the end of its log:\n{tail or '(empty)'}")


class RemoteServer:
    """A broker that an environment variable names: used as it is, never stopped."""

    def __init__(self, name: str, *, variable: str, ready: Callable[[], object]) -> None:
        """Describe a running broker: `variable` names it, `ready` raises when it does not answer."""
        self._name = name
        self._variable = variable
        self._ready = ready

    def __repr__(self) -> str:
        return f"<{self._name} named by {self._variable}>"

    def start(self) -> None:
        """Check that the broker answers."""
        try:
            self._ready()
        except Exception as error:
            raise BrokerUnavailable(f"the {self._name} that {self._variable} names does not answer: {error}") from error

    def stop(self) -> None:
        """Refuse: the process is not ours."""
        raise BrokerUnavailable(
            f"this test stops {self._name}, and the one that {self._variable} names is not ours to stop: "
            f"unset {self._variable}, and the tests start their own"
        )

    def restart(self) -> None:
        """Refuse: the process is not ours."""
        self.stop()

    def close(self) -> None:
        """Leave the broker as it is."""


def new_folder(name: str) -> Path:
    """Return an empty folder for one broker's files; it goes when the session ends, also when that is killed."""
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=_session()[0]))


def _spawn(program: Program, log: Path) -> subprocess.Popen[bytes]:
    guard = _session()[1]
    with log.open("ab") as output:
        process = subprocess.Popen(
            program.command,
            env={**os.environ, **program.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A group of its own, so that Ctrl-C reaches pytest alone, which then stops the brokers in order.
            start_new_session=True,
        )
    guard.write(f"+{process.pid}\n")
    guard.flush()
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    guard = _session()[1]
    guard.write(f"-{process.pid}\n")
    guard.flush()


@cache
def _session() -> tuple[Path, IO[str]]:
    """Return the folder of this session and the pipe to its guard, both made at the first call."""
    folder = Path(tempfile.mkdtemp(prefix="brokerkit-"))
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", _guard.__file__, str(folder)],
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert guard.stdin is not None
    # The guard outlives this process on purpose, so nothing waits for it: tell subprocess that it is done with it.
    guard.returncode = 0
    return folder, guard.stdin


def _is_frozen(group: int) -> bool:
    """Whether all threads of a process group are stopped; True where the system does not tell (no /proc)."""
    for tasks in Path("/proc").glob("[0-9]*/task"):
        try:
            for task in tasks.iterdir():
                state, _, its_group = (task / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(its_group) == group and state not in "TtZX":
                    return False
        except (OSError, ValueError):
            continue  # it has just ended
    return True
