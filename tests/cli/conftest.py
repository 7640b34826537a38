"""The command line, run inside this process and as one of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest
from tests.cli.program import PROGRAM, Cli, Result, Start

from brokerkit.cli._app import run


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches the commands, and no terminal's size or colours."""
    for name in list(os.environ):
        if name.startswith("BROKERKIT_") and not name.startswith("BROKERKIT_TEST_"):
            monkeypatch.delenv(name)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], log_as_before: None) -> Cli:
    """Run one command line in this process."""

    def call(*arguments: str) -> Result:
        code = run(arguments)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def start() -> Iterator[Start]:
    """Start the installed program; whatever still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def call(
        arguments: Sequence[str],
        *,
        cwd: Path | None = None,
        own_session: bool = False,
        stderr: int | IO[str] = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, PROGRAM, *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=own_session,
        )
        started.append(process)
        return process

    # A script that starts pytest with & lets it ignore Ctrl-C, and so would whatever is started here.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield call
    signal.signal(signal.SIGINT, before)
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
