"""Faults that are put into the core on purpose: the simulation must find each. ``make mutations`` writes the table."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.simulation.dedupe_mutants import DEDUPE_MUTATIONS
from tests.simulation.mutants import CORE_MUTATIONS, PACKAGE, Mutation

MUTATIONS: Final = (*CORE_MUTATIONS, *DEDUPE_MUTATIONS)
ROOT: Final = Path(__file__).parents[2]
_PAGE: Final = ROOT / "docs" / "simulation.md"
_BEGIN, _END = "<!-- written by make mutations -->\n", "<!-- written until here -->"
_ROUNDS: Final = (300, 3_000, 20_000)
_ROW: Final = re.compile(r"\| (?P<name>.+) \| `(?P<path>.+)` \| (?P<not_in>not in )?(?P<count>[\d,]+) \|")


def mutated(mutation: Mutation, folder: Path) -> Path:
    """Copy the package with a fault in it. Return the folder to import it from."""
    shutil.copytree(PACKAGE, folder / "brokerkit", ignore=shutil.ignore_patterns("__pycache__"))
    text = mutation.text.replace(mutation.old, mutation.new)
    (folder / "brokerkit" / mutation.path).write_text(text, encoding="utf-8")
    return folder


@dataclass(frozen=True, slots=True)
class Result:
    """What came of the search for a mutation.

    Attributes:
        seeds: how many were run; the last of them failed, if it was found.
        found: whether one failed.
        wrong: what was wrong.
    """

    seeds: int
    found: bool
    wrong: str = ""


def find(mutation: Mutation, most: int, *, first: int = 0) -> Result:
    """Search among the seeds from ``first`` to ``most`` until one fails."""
    with tempfile.TemporaryDirectory() as name:
        folder = mutated(mutation, Path(name))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.simulation", str(most - first), "--first", str(first)),
                *("--until-found", "--of", mutation.simulation),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == 0:
        return Result(most, found=False)
    count, _, wrong = done.stdout.strip().rpartition("\n")[2].partition(" ")
    if count.isdigit():
        return Result(first + int(count), found=True, wrong=wrong)
    raise RuntimeError(f"the search for {mutation.name!r} did not run: {done.stderr}")


def read_table(page: str) -> dict[str, Result]:
    """What the page says about each mutation, by name."""
    rows = page.partition(_BEGIN)[2].partition(_END)[0].splitlines()
    return {
        row["name"]: Result(int(row["count"].replace(",", "")), found=row["not_in"] is None)
        for line in rows
        if (row := _ROW.fullmatch(line))
    }


def with_table(page: str, results: Mapping[str, Result]) -> str:
    """The page with a row for each mutation that was searched for."""
    rows = ["| fault | module | seeds until it is found |", "| --- | --- | --- |"]
    for mutation in MUTATIONS:
        if result := results.get(mutation.name):
            shown = f"{result.seeds:,}" if result.found else f"not in {result.seeds:,}"
            rows.append(f"| {mutation.name} | `{mutation.path}` | {shown} |")
    before, _, rest = page.partition(_BEGIN)
    table = "\n".join(rows)
    return f"{before}{_BEGIN}\n{table}\n\n{_END}{rest.partition(_END)[2]}"


def main() -> int:
    """Search for what the table lacks, and write each result into it at once."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutations", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutations with one of these texts in their names")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--most", type=int, default=_ROUNDS[-1], help="so many seeds for each")
    parser.add_argument("--anew", action="store_true", help="also those that are in the table")
    given = parser.parse_args()
    chosen = [one for one in MUTATIONS if not given.words or any(word in one.name for word in given.words)]
    results = read_table(_PAGE.read_text(encoding="utf-8"))
    if given.anew:
        for mutation in chosen:
            results.pop(mutation.name, None)

    def search(mutation: Mutation, most: int) -> tuple[Mutation, Result]:
        earlier = results.get(mutation.name)
        return mutation, find(mutation, most, first=earlier.seeds if earlier else 0)

    # A few seeds for all of them first: most are found soon, and one that is not would keep the others waiting.
    with ThreadPoolExecutor(given.jobs) as pool:
        for most in sorted({min(each, given.most) for each in _ROUNDS}):
            left = [
                one
                for one in chosen
                if (result := results.get(one.name)) is None or (not result.found and result.seeds < most)
            ]
            for each in as_completed([pool.submit(search, mutation, most) for mutation in left]):
                mutation, result = each.result()
                results[mutation.name] = result
                print(f"{mutation.name}: {result}", flush=True)
                _PAGE.write_text(with_table(_PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    return not all((result := results.get(one.name)) and result.found for one in chosen)


if __name__ == "__main__":
    sys.exit(main())
