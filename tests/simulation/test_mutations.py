"""The faults that `make mutations` puts into the core still fit the text, and some are found at once."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTATIONS, Mutation
from tests.simulation.mutations import find


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_fits_exactly_once_and_can_be_compiled(mutation: Mutation) -> None:
    assert mutation.text.count(mutation.old) == 1
    compile(mutation.text.replace(mutation.old, mutation.new), mutation.path, "exec")


def test_each_mutation_has_a_name_of_its_own() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize("name", ["one attempt too many", "a failed message is acknowledged"])
def test_a_mutation_is_found_soon(name: str) -> None:
    [mutation] = [one for one in MUTATIONS if one.name == name]
    count, wrong = find(mutation, 200)
    assert count is not None
    assert "message" in wrong
