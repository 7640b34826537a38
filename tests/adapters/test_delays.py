"""Delay levels are pure: no broker here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit.adapters._delays import DELAY_LEVELS, delay_label, delay_level


@given(st.floats(min_value=DELAY_LEVELS[0], max_value=10**9))
def test_a_level_never_lasts_longer_than_what_was_asked_for(after: float) -> None:
    level = delay_level(after)
    assert level in DELAY_LEVELS
    assert level <= after


@given(st.floats(min_value=DELAY_LEVELS[0], max_value=10**9))
def test_no_longer_level_would_have_fitted(after: float) -> None:
    assert all(other > after for other in DELAY_LEVELS if other > delay_level(after))


@given(st.floats(max_value=DELAY_LEVELS[0], exclude_max=True, allow_nan=False))
def test_shorter_waits_take_the_shortest_level(after: float) -> None:
    assert delay_level(after) == DELAY_LEVELS[0]


@given(st.floats(min_value=0, max_value=12 * 3600))
def test_a_long_wait_is_over_after_few_trips(after: float) -> None:
    trips = 0
    while after > 0:
        after -= delay_level(after)
        trips += 1
    # At most one trip less than the next level holds, on each level; twelve on the longest.
    assert trips <= 12 + 5 + 9 + 5 + 10


def test_levels_ascend_so_that_the_search_finds_them() -> None:
    assert list(DELAY_LEVELS) == sorted(set(DELAY_LEVELS))


@pytest.mark.parametrize(
    ("level", "expected"), [(1, "1s"), (10, "10s"), (60, "1m"), (600, "10m"), (3600, "1h"), (90, "90s")]
)
def test_labels_use_the_largest_unit_that_divides(level: int, expected: str) -> None:
    assert delay_label(level) == expected


def test_no_two_levels_share_a_label() -> None:
    assert len({delay_label(level) for level in DELAY_LEVELS}) == len(DELAY_LEVELS)
