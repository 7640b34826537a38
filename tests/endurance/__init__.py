"""What must hold for long and under load: hostile messages, a large backlog, many stops.

The tests run it in a short form; `make endurance` runs the full one, and prints its figures.
"""

import os
import sys

FULL = os.environ.get("BROKERKIT_ENDURANCE") == "full"


def figures(line: str) -> None:
    """Show a measured line in the full form, for docs/endurance.md."""
    if FULL:
        print(f"\nFIGURES {line}", file=sys.__stderr__, flush=True)
