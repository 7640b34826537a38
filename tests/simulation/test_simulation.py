"""The core keeps its promises whatever happens, for as many seeds as a minute allows; ``make simulate`` runs more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.plan import plan_of, smaller
from tests.simulation.world import simulate

_SEEDS: Final = int(os.environ.get("BROKERKIT_SEEDS", "2000"))
_CHUNKS: Final = 8


def _wrong(seeds: range) -> list[str]:
    return [f"seed {seed}: {wrong[0]}" for seed in seeds if (wrong := simulate(plan_of(str(seed))).wrong)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("chunk", range(_CHUNKS))
def test_whatever_happens_the_core_keeps_its_promises(chunk: int) -> None:
    size = _SEEDS // _CHUNKS
    wrong = _wrong(range(chunk * size, (chunk + 1) * size))
    assert not wrong, "\n".join([*wrong, "look at one with: python -m tests.simulation --seed SEED"])


_HASHES: Final = """
from tests.simulation.plan import plan_of
from tests.simulation.world import simulate
print([simulate(plan_of(str(seed))).hash for seed in range(40)])
"""


def _hashes(hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _HASHES],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_seed_does_the_same_in_each_process() -> None:
    found = {_hashes("1"), _hashes("2")}
    assert len(found) == 1
    assert len(set(eval(found.pop()))) == 40


def test_a_seed_does_the_same_again_in_one_process() -> None:
    for seed in range(20):
        plan = plan_of(str(seed))
        assert simulate(plan).hash == simulate(plan).hash


def test_a_plan_is_made_smaller_until_nothing_can_be_left_out() -> None:
    plan = next(plan for seed in range(100) if len((plan := plan_of(str(seed))).messages) == 24 and plan.faults)
    found = smaller(plan, lambda other: any(message.number == 17 for message in other.messages))
    assert [message.number for message in found.messages] == [17]
    assert not found.faults
    assert found.setup.lives == 1
    assert not any(found.messages[0].steps)
    assert found == smaller(found, lambda other: any(message.number == 17 for message in other.messages))
