"""Processes, connections and brokers that die while messages flow: nothing is lost, and order holds where it is promised.

The tests run it in a short form; `make chaos` runs the full one, and prints its figures.
"""

import os
import sys

COUNT = int(os.environ.get("BROKERKIT_CHAOS", "0"))
"""Messages of the full form; 0 in the short one."""

FULL = COUNT > 0


def figures(line: str) -> None:
    """Show a measured line in the full form, for docs/chaos.md."""
    if FULL:
        print(f"\nFIGURES {line}", file=sys.__stderr__, flush=True)
