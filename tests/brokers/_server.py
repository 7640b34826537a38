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
from collections.abc import Callable, Mapping, Sequence
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


def find_program(name: str, *, package: str, variable: str, places: Sequence[Path] = ()) -> str:
    """Return the path of an installed program, looked for in `places` first, then on the search path.

    Raises:
        BrokerUnavailable: it is not installed; `package` is what has it on Debian, `variable` the way around it.
    """
    for place in places:
        if os.access(place, os.X_OK):
            return str(place)
    # Debian puts servers into folders that are not on the search path of ordinary users.
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")
    if found is None:
        raise BrokerUnavailable(
            f"{name} is not installed: run tests/brokers/install.sh, or install it yourself "
            f"(Debian and Ubuntu: {package}), or name a running broker in {variable}"
        )
    return found


def java(jars: str, *, variable: str, options: Sequence[str] = ()) -> list[str]:
    """Return the start of a command that runs a class from the jars in `.brokers/JARS`.

    Raises:
        BrokerUnavailable: there is no Java, or the jars have not been downloaded.
    """
    home = os.environ.get("JAVA_HOME")
    program = find_program(
        "java",
        package="default-jre-headless, version 17 or later",
        variable=variable,
        places=[Path(home) / "bin" / "java"] if home else [],
    )
    folder = CHECKOUT / ".brokers" / jars
    if not (folder / "pom.xml").exists():
        raise BrokerUnavailable(
            f"the jars of {jars} are missing: run tests/brokers/install.sh, or name a running broker in {variable}"
        )
    # Servers that live for minutes: a quick start is worth more than the best machine code.
    return [program, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", *options, "-cp", f"{folder}/*"]


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
