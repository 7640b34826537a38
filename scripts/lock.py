"""Writes the locks: `make lock`.

Versions in a lock stay; `make lock L=--upgrade` takes the newest that are allowed. Each lock has the hashes of all files.

- requirements/dev.txt is what the tests run with, release.txt the tools of a release, lowest.txt the tests with the lowest
  versions that pyproject.toml allows. They hold for every platform and every Python from 3.11 on.
- tests/brokers/locks/ has the brokers that come as Python packages.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.brokers import versions  # noqa: E402

HEAD = "# Written by `make lock`: do not edit. CONTRIBUTING.md says how dependencies are updated.\n"
EVERYWHERE = ("--universal", "--python-version=3.11")
# The tests read the names of OpenTelemetry's conventions from a package that needs a newer API.
NEWER_IN_TESTS = ("otel", "all")


def main(words: Sequence[str]) -> None:
    """Write all locks.

    Args:
        words: for uv, such as ``--upgrade`` or ``--upgrade-package=cbor2``.
    """
    with tempfile.TemporaryDirectory() as folder:
        lock_packages(Path(folder), words)
        lock_brokers(Path(folder), words)


def lock_packages(folder: Path, words: Sequence[str]) -> None:
    """Write the locks in requirements/."""
    ours, locks, bounds = "pyproject.toml", ROOT / "requirements", folder / "bounds.txt"
    compile_to(locks / "dev.txt", ours, *EVERYWHERE, "--all-extras", "--group=dev", *words)
    both = f"--constraints={locks / 'dev.txt'}"
    compile_to(locks / "release.txt", ours, *EVERYWHERE, "--group=release", both, *words)
    extras = tomllib.loads((ROOT / ours).read_text("utf-8"))["project"]["optional-dependencies"]
    tested = [f"--extra={name}" for name in extras if name not in NEWER_IN_TESTS]
    compile_to(bounds, ours, *EVERYWHERE, *tested, "--resolution=lowest-direct")
    lowest = ("--all-extras", "--group=dev", f"--constraints={bounds}")
    compile_to(locks / "lowest.txt", ours, *EVERYWHERE, *lowest, *words)


def lock_brokers(folder: Path, words: Sequence[str]) -> None:
    """Write the locks in tests/brokers/locks/."""
    asked = folder / "asked.txt"
    for name, origin in versions.VERSIONS.items():
        match origin:
            case versions.Wheel(requirement=text, python=python):
                asked.write_text(text)
                everywhere = ("--universal", f"--python-version={python}")
                compile_to(versions.lock(name), str(asked), *everywhere, "--no-deps", *words)
            case versions.Environment(python=python, requirements=several):
                asked.write_text("\n".join(several))
                compile_to(versions.lock(name), str(asked), f"--python-version={python}", *words)
            case _:
                pass


def compile_to(lock: Path, asked: str, *words: str) -> None:
    """Write one lock, for what a file asks for."""
    command = [sys.executable, "-m", "uv", "pip", "compile", asked, "--quiet", *words]
    form = ["--generate-hashes", "--no-annotate", "--no-header", f"--output-file={lock}"]
    subprocess.run([*command, *form], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    lock.write_text(HEAD + lock.read_text("utf-8").removeprefix(HEAD), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
