"""Where the results go: to the terminal, and to docs/ (benchmarks.json, the tables of performance.md, two charts)."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks import results

_LIBRARIES: Final = (
    "brokerkit-sdk", "confluent-kafka", "redis", "aio-pika", "aiormq", "aiobotocore", "pydantic",
    "faststream", "asyncfast", "amgi-aiokafka", "amgi-aiobotocore", "kombu",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """What a run says of where it took place."""
    return {
        "day": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "versions": {name: version(name) for name in _LIBRARIES},
    }


def show(part: str, name: str, found: dict[str, Any]) -> None:
    """Print the table of one broker or curve."""
    draw(name, *results.table(part, name, found), left=3 if part == "brokers" else 0)


def draw(name: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int) -> None:
    """Print a table. Its first columns, so many as ``left`` says, are words, and the others are figures."""
    table = Table(title=name)
    for column, title in enumerate(head):
        table.add_column(title, justify="left" if column < left else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def write(kept: dict[str, Any]) -> None:
    """Draw the charts and make the tables of the documentation anew."""
    from benchmarks import chart

    chart.comparison(kept)
    chart.curves(kept)
    generator = results.FILE.parent.parent / "scripts" / "generate_docs.py"
    subprocess.run([sys.executable, str(generator)], check=True)
