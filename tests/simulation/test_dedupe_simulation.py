"""Handlers that run once for each message do so whatever happens to their store and their processes."""

from __future__ import annotations

import pytest

from tests.simulation.dedupe import dedupe_plan_of, simulate_dedupe
from tests.simulation.dedupe_mutants import DEDUPE_MUTATIONS
from tests.simulation.loop import quiet
from tests.simulation.mutations import find

_SEEDS = 200


@quiet()
def test_whatever_happens_a_handler_runs_once() -> None:
    wrong = [
        f"seed {seed}: {found[0]}"
        for seed in range(_SEEDS)
        if (found := simulate_dedupe(dedupe_plan_of(str(seed))).wrong)
    ]
    assert not wrong, "\n".join(wrong)


def test_a_seed_does_the_same_again() -> None:
    for seed in range(10):
        plan = dedupe_plan_of(str(seed))
        assert simulate_dedupe(plan).hash == simulate_dedupe(plan).hash


@pytest.mark.parametrize("name", ["a mark that came too late counts"])
def test_a_mutation_is_found_soon(name: str) -> None:
    [mutation] = [one for one in DEDUPE_MUTATIONS if one.name == name]
    assert find(mutation, 100).found
