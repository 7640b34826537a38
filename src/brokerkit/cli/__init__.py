"""The command line ``brokerkit``. Its libraries come with the extra ``cli``; nothing else in brokerkit needs them."""

from __future__ import annotations

import sys

_LIBRARIES = ("cyclopts", "rich", "yaml")


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        from brokerkit.cli._app import run
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _LIBRARIES:
            raise
        sys.exit(f"error: the command line needs {library}, which is not installed: pip install 'brokerkit-sdk[cli]'")
    sys.exit(run(sys.argv[1:]))
