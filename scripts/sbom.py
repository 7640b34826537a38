"""Writes what `brokerkit-sdk[all]` consists of as CycloneDX: `python scripts/sbom.py FILE`.

It looks at a new environment, into which this project and the newest versions that it allows are installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
UPLOT: Any = {
    "type": "library",
    "bom-ref": "uplot==1.6.32",
    "name": "uplot",
    "version": "1.6.32",
    "purl": "pkg:npm/uplot@1.6.32",
    "licenses": [{"license": {"id": "MIT"}}],
}
"""Draws the charts of the console. Its files lie in the package, so no environment knows of it."""


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
    made = json.loads(target.read_text("utf-8"))
    made["components"] = sorted([*made["components"], UPLOT], key=lambda each: each["bom-ref"])
    target.write_text(json.dumps(made, indent=2) + "\n", "utf-8")


def run(*command: str) -> None:
    """Run a program that must succeed."""
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
