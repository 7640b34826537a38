"""Writes what `brokerkit-sdk[all]` consists of as CycloneDX: `python scripts/sbom.py FILE`.

It looks at a new environment, into which this project and the newest versions that it allows are installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main(target: Path) -> None:
    """Write the bill of materials."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=False)
        python = Path(folder) / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        run(*install, f"{ROOT}[all]")
        describe(python, target)


def describe(python: Path, target: Path) -> None:
    """Write the bill of materials of the environment that an interpreter belongs to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    look = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(ROOT / "pyproject.toml")]
    # To validate it takes minutes, and says only whether the tool does what it is for.
    form = ["--mc-type", "library", "--output-reproducible", "--no-validate", "--output-format", "JSON"]
    run(*look, *form, "--output-file", str(target), str(python))


def run(*command: str) -> None:
    """Run a program that must succeed."""
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
