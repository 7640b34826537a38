"""The faults that `make mutations` puts into the core still fit the text, and some are found at once."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import Mutation
from tests.simulation.mutations import MUTATIONS, Result, find, read_table, with_table


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_fits_exactly_once_and_can_be_compiled(mutation: Mutation) -> None:
    assert mutation.text.count(mutation.old) == 1
    compile(mutation.text.replace(mutation.old, mutation.new), mutation.path, "exec")


def test_each_mutation_has_a_name_of_its_own() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize("name", ["one attempt too many", "a failed message is acknowledged"])
def test_a_mutation_is_found_soon(name: str) -> None:
    [mutation] = [one for one in MUTATIONS if one.name == name]
    result = find(mutation, 200)
    assert result.found
    assert "message" in result.wrong


def test_the_table_keeps_what_was_found_and_what_was_not() -> None:
    first, second, *_ = MUTATIONS
    results = {first.name: Result(1_234, found=True), second.name: Result(20_000, found=False)}
    page = with_table("before\n<!-- written by make mutations -->\n<!-- written until here -->\nafter\n", {})
    assert read_table(with_table(page, results)) == results
    assert with_table(with_table(page, results), {}) == page
