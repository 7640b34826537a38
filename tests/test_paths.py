"""Paths into JSON, in every spelling."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit import ConfigError
from brokerkit._paths import MISSING, join_path, parse_path, walk

TREE: dict[str, Any] = {"a": {"b": [{"c.d": 1}, "x"]}, "a.b": 2, "0": 3, "n": None}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.b.0.c.d", MISSING),
        ('a.b.0["c.d"]', 1),
        ("a.b[0]['c.d']", 1),
        ("a.b.1", "x"),
        ("a.b[1]", "x"),
        ('["a.b"]', 2),
        ("a.b.2", MISSING),
        ("a.b.-1", MISSING),
        ("0", 3),
        ("n", None),
        ("n.deeper", MISSING),
    ],
)
def test_a_path_leads_to_a_value_or_nowhere(text: str, found: object) -> None:
    assert walk(TREE, parse_path(text)) == found


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a[", "a[b]", 'a["b', "a]", "[]"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a path; write"):
        parse_path(text)


@given(st.lists(st.text(min_size=1).filter(lambda step: not {'"', "'"} <= set(step)), min_size=1, max_size=4))
def test_a_path_that_was_joined_is_read_back(steps: list[str]) -> None:
    assert parse_path(join_path(steps)) == tuple(steps)
