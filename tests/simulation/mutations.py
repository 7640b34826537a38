"""Faults that are put into the core on purpose: the simulation must find each. ``make mutations`` writes the table."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.simulation.mutants import MUTATIONS, PACKAGE, Mutation

ROOT: Final = Path(__file__).parents[2]
_PAGE: Final = ROOT / "docs" / "simulation.md"
_BEGIN, _END = "<!-- written by make mutations -->\n", "<!-- written until here -->"
_MOST: Final = 20_000


def mutated(mutation: Mutation, folder: Path) -> Path:
    """Copy the package with a fault in it. Return the folder to import it from."""
    shutil.copytree(PACKAGE, folder / "brokerkit", ignore=shutil.ignore_patterns("__pycache__"))
    text = mutation.text.replace(mutation.old, mutation.new)
    (folder / "brokerkit" / mutation.path).write_text(text, encoding="utf-8")
    return folder


def find(mutation: Mutation, most: int = _MOST) -> tuple[int | None, str]:
    """Search until the fault is found. Return how many seeds that took, or None, and what was wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = mutated(mutation, Path(name))
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation", str(most), "--until-found"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == 0:
        return None, ""
    count, _, wrong = done.stdout.strip().rpartition("\n")[2].partition(" ")
    return (
        (int(count), wrong) if count.isdigit() else (1, (done.stderr.strip() or "it does not start").splitlines()[-1])
    )


def main() -> int:
    """Search for each, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutations", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutations with one of these texts in their names")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--most", type=int, default=_MOST)
    given = parser.parse_args()
    chosen = [one for one in MUTATIONS if not given.words or any(word in one.name for word in given.words)]
    rows: list[str] = []
    missed = 0
    with ThreadPoolExecutor(given.jobs) as pool:
        for mutation, (count, wrong) in zip(chosen, pool.map(lambda one: find(one, given.most), chosen), strict=True):
            missed += count is None
            shown = f"not in {given.most:,}" if count is None else f"{count:,}"
            rows.append(f"| {mutation.name} | `{mutation.path}` | {shown} |")
            print(rows[-1], wrong, flush=True)
    if not given.words:
        page = _PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(_BEGIN)
        table = "\n".join(["| fault | module | seeds until it is found |", "| --- | --- | --- |", *rows])
        after = rest.partition(_END)[2]
        _PAGE.write_text(f"{before}{_BEGIN}\n{table}\n\n{_END}{after}", encoding="utf-8")
    return missed > 0


if __name__ == "__main__":
    sys.exit(main())
