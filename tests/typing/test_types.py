"""The types of ``on`` are an API: both checkers accept right handlers and refuse each wrong one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CHECKED = (HERE / "accepted.py", HERE / "rejected.py")


def _mypy() -> dict[str, set[int]]:
    command = [sys.executable, "-m", "mypy", "--strict", "--output=json", *map(str, CHECKED)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode in (0, 1), run.stderr
    lines: dict[str, set[int]] = {path.name: set() for path in CHECKED}
    for line in run.stdout.splitlines():
        found = json.loads(line)
        if found["severity"] == "error":
            lines.setdefault(Path(found["file"]).name, set()).add(found["line"])
    return lines


def _pyright() -> dict[str, set[int]]:
    command = [str(Path(sys.executable).parent / "pyright"), "--outputjson", *map(str, CHECKED)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode in (0, 1), run.stderr
    lines: dict[str, set[int]] = {path.name: set() for path in CHECKED}
    for found in json.loads(run.stdout)["generalDiagnostics"]:
        if found["severity"] == "error":
            lines.setdefault(Path(found["file"]).name, set()).add(found["range"]["start"]["line"] + 1)
    return lines


@pytest.mark.parametrize("check", [_mypy, _pyright], ids=["mypy", "pyright"])
def test_checkers_accept_right_handlers_and_refuse_exactly_the_marked_lines(
    check: Callable[[], dict[str, set[int]]],
) -> None:
    text = (HERE / "rejected.py").read_text(encoding="utf-8").splitlines()
    marked = {number for number, line in enumerate(text, start=1) if "# error:" in line}
    assert check() == {"accepted.py": set(), "rejected.py": marked}


_MISSPELT = """
from brokerkit import Bus
from brokerkit.events.evenbet import OnGameDone

bus = Bus("memory://", topic="t")


@bus.on("OnGameDnoe")
async def settle(event: OnGameDone) -> None: ...
"""


@pytest.mark.parametrize("checker", [["mypy", "--strict"], ["pyright"]], ids=["mypy", "pyright"])
def test_a_misspelt_name_is_an_error_that_fits_a_screen(checker: list[str], tmp_path: Path) -> None:
    file = tmp_path / "misspelt.py"
    file.write_text(_MISSPELT)
    command = [str(Path(sys.executable).parent / checker[0]), *checker[1:], str(file)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 1, run.stderr
    assert "UnknownEventName" in run.stdout
    assert len(run.stdout.replace(str(file), "")) < 1_000
