"""Writes the locks of the brokers that come as Python packages, in tests/brokers/locks/: `make lock`.

Versions in a lock stay; `make lock L=--upgrade` takes the newest of what a version of a broker needs. Each lock has the
hashes of all files.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.brokers import versions  # noqa: E402

HEAD = "# Written by `make lock`: do not edit. CONTRIBUTING.md says how dependencies are updated.\n"


def main(words: Sequence[str]) -> None:
    """Write all locks.

    Args:
        words: for uv, such as ``--upgrade`` or ``--upgrade-package=cbor2``.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "asked.txt"
        for name, origin in versions.VERSIONS.items():
            match origin:
                case versions.Wheel(requirement=text):
                    asked.write_text(text)
                    everywhere = ("--universal", "--python-version=3.11")
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
