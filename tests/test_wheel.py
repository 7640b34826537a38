"""The wheel installs and runs in a clean environment with only the chosen extra, and each build of it is the same."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LOADED = """
import sys
from brokerkit import Bus, MissingExtra
Bus("redis://127.0.0.1:1", topic="t", group="g")
try:
    Bus("kafka://127.0.0.1:1", topic="t", group="g")
except MissingExtra as error:
    print(error)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return build(ROOT, folder)


def build(checkout: Path, folder: Path) -> Path:
    """Build the wheel as a release is built, with the builder of the lock."""
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(checkout)]
    run(sys.executable, "-m", "pip", *words)
    [built] = folder.glob("brokerkit_sdk-*.whl")
    return built


def run(*words: str, cwd: Path | None = None) -> str:
    """Run a program; what it printed."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(wheel: Path, folder: Path, extra: str) -> Path:
    """A clean environment that holds the wheel with one extra; its folder of programs."""
    venv.create(folder, with_pip=True)
    programs = folder / "bin"
    run(str(programs / "python"), "-m", "pip", "install", "--quiet", f"{wheel}[{extra}]")
    return programs


@pytest.mark.timeout(300)
def test_the_demo_runs_with_the_cli_extra_alone(wheel: Path, tmp_path: Path) -> None:
    programs = installed(wheel, tmp_path / "venv", "cli")
    assert "Every message is accounted for" in run(str(programs / "brokerkit"), "demo", "--fast", cwd=tmp_path)


@pytest.mark.timeout(300)
def test_one_broker_needs_its_own_extra_alone(wheel: Path, tmp_path: Path) -> None:
    programs = installed(wheel, tmp_path / "venv", "redis")
    said = run(str(programs / "python"), "-c", LOADED, cwd=tmp_path)
    assert "pip install 'brokerkit-sdk[kafka]'" in said


def test_the_page_of_the_console_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("brokerkit/_http/_page/")}
    files = ("console.css", "console.html", "console.js", "live.js", "charts.js")
    library = ("LICENSE", "uPlot.iife.min.js", "uPlot.min.css")
    assert held == {f"brokerkit/_http/_page/{name}" for name in (*files, *(f"uplot/{name}" for name in library))}


@pytest.mark.timeout(300)
def test_two_builds_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    wheels = []
    for name, changed in (("here", 1_000_000_000), ("there", 1_600_000_000)):
        checkout = tmp_path / name
        shutil.copytree(ROOT / "src", checkout / "src", ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / file, checkout)
        for path in checkout.rglob("*"):
            os.utime(path, (changed, changed))
        wheels.append(build(checkout, tmp_path / f"{name}-wheel").read_bytes())
    assert wheels[0] == wheels[1]
