"""Runs many seeds on all cores: ``python -m tests.simulation 1000000``, or one seed in detail: ``--seed 12345``."""

from __future__ import annotations

import argparse
import functools
import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.simulation.dedupe import dedupe_plan_of, simulate_dedupe
from tests.simulation.loop import quiet
from tests.simulation.plan import plan_of, smaller
from tests.simulation.world import Outcome, simulate

_CHUNK = 25


def _kinds(outcome: Outcome) -> set[str]:
    """What is wrong, without numbers."""
    found: set[str] = set()
    for line in outcome.wrong:
        text = line.split(" s: ", 1)[-1]
        found.add("".join(each for each in text if not each.isdigit())[:40])
    return found


@quiet()
def show(seed: str, console: Console) -> int:
    """Run one seed, make it smaller if it fails, and print what happens."""
    plan = plan_of(seed)
    outcome = simulate(plan)
    if outcome.wrong:
        kinds = _kinds(outcome)
        plan = smaller(plan, lambda other: bool(_kinds(simulate(other)) & kinds))
    outcome = simulate(plan, lines=True)
    console.print(plan.setup, *plan.messages, *plan.faults, sep="\n")
    for line in outcome.lines:
        console.print(line, markup=False, highlight=False)
    for line in outcome.wrong:
        console.print(line, style="red", markup=False)
    console.print(f"hash {outcome.hash}, {outcome.steps} steps")
    return bool(outcome.wrong)


@quiet()
def show_dedupe(seed: str, console: Console) -> int:
    """Run one seed of the handlers that run once, and print what happens."""
    plan = dedupe_plan_of(seed)
    outcome = simulate_dedupe(plan, lines=True)
    console.print(plan, *outcome.lines, *outcome.wrong, sep="\n", markup=False, highlight=False)
    return bool(outcome.wrong)


def _wrong(of: str, seed: int) -> tuple[str, ...]:
    if of == "dedupe":
        return simulate_dedupe(dedupe_plan_of(str(seed))).wrong
    return simulate(plan_of(str(seed))).wrong


@quiet()
def _run(of: str, seeds: Sequence[int]) -> list[tuple[int, tuple[str, ...]]]:
    return [(seed, wrong) for seed in seeds if (wrong := _wrong(of, seed))]


def _chunks(first: int, count: int) -> Iterator[list[int]]:
    numbers = iter(range(first, first + count))
    while chunk := list(itertools.islice(numbers, _CHUNK)):
        yield chunk


def search(of: str, first: int, count: int, jobs: int, console: Console) -> int:
    """Run seeds, and print those that fail."""
    begun, failed = time.monotonic(), 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with multiprocessing.Pool(jobs) as pool, Progress(*columns, console=console) as progress:
        bar = progress.add_task("simulating", total=count)
        for found in pool.imap_unordered(functools.partial(_run, of), _chunks(first, count)):
            for seed, wrong in found:
                failed += 1
                console.print(f"seed {seed}: {wrong[0]}", markup=False, highlight=False)
            progress.update(bar, advance=_CHUNK, description=f"simulating, {failed} failed")
    seconds = time.monotonic() - begun
    console.print(f"{count} seeds in {seconds:.0f} s ({count / seconds:.0f}/s), {failed} failed")
    return failed > 0


@quiet()
def until_found(of: str, first: int, count: int) -> int:
    """Run seeds one by one until one fails; print how many that took, and what was wrong."""
    for seed in range(first, first + count):
        if wrong := _wrong(of, seed):
            print(seed - first + 1, wrong[0])
            return 1
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seeds", type=int, nargs="?", default=5_000, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", help="run only this one, and show everything")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--until-found", action="store_true", help="stop at the first that fails")
    parser.add_argument("--of", choices=("core", "dedupe"), default="core", help="what is simulated")
    given = parser.parse_args()
    console = Console(width=140)
    if given.seed is not None:
        return show_dedupe(given.seed, console) if given.of == "dedupe" else show(given.seed, console)
    if given.until_found:
        return until_found(given.of, given.first, given.seeds)
    return search(given.of, given.first, given.seeds, given.jobs, console)


if __name__ == "__main__":
    sys.exit(main())
