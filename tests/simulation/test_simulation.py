"""The core keeps its promises whatever happens, for as many seeds as a minute allows; ``make simulate`` runs more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from tests.simulation.loop import quiet
from tests.simulation.plan import Fault, Plan, Planned, Step, plan_of, smaller
from tests.simulation.world import simulate

_SEEDS: Final = int(os.environ.get("BROKERKIT_SEEDS", "2000"))
_CHUNKS: Final = 8


@quiet()
def _wrong(seeds: range) -> list[str]:
    return [f"seed {seed}: {wrong[0]}" for seed in seeds if (wrong := simulate(plan_of(str(seed))).wrong)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("chunk", range(_CHUNKS))
def test_whatever_happens_the_core_keeps_its_promises(chunk: int) -> None:
    size = _SEEDS // _CHUNKS
    wrong = _wrong(range(chunk * size, (chunk + 1) * size))
    assert not wrong, "\n".join([*wrong, "look at one with: python -m tests.simulation --seed SEED"])


def _moved(setup: Mapping[str, Any], messages: tuple[Planned, ...]) -> None:
    """Hold the core to its promises where a log with one partition and two readers moves it while handlers run."""
    plan = next(plan for seed in range(100) if (plan := plan_of(str(seed))).setup.kind == "log")
    calm = replace(
        plan.setup,
        lives=2,
        partitions=1,
        handlers=1,
        concurrency=2,
        max_in_flight=20,
        timeout=10.0,
        disorder=0.0,
        haste=1.0,
        **setup,
    )
    moves = tuple(Fault(2.0 + number, "rebalance with notice", 0, 1.0) for number in range(2))
    for seed in range(10):
        outcome = simulate(Plan(f"moved {seed}", calm, messages, moves), lines=True)
        assert outcome.wrong == (), "\n".join(outcome.lines)


def test_what_waits_behind_a_slow_handler_does_not_begin_after_its_partition_went() -> None:
    messages = (
        Planned(0, 1.0, "k0", ((Step("ok", 6.0),),)),
        Planned(1, 1.1, "k0", ((),)),  # behind the slow one
        Planned(2, 1.2, "k1", ((),)),  # done before it, so that it should not be given back
    )
    _moved({"order": "key", "attempts": 1, "stop_timeout": 2.0}, messages)


def test_what_waits_behind_a_message_that_fails_while_its_partition_goes_does_not_pass_it() -> None:
    messages = (
        Planned(0, 1.0, "k0", ((Step("fail", 2.0),),)),
        Planned(1, 1.1, "k0", ((),)),  # behind the one that fails
        Planned(2, 1.2, "k1", ((),)),  # done before it, so that it should not be given back
    )
    _moved({"order": "strict", "attempts": 5, "stop_timeout": 8.0}, messages)


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
