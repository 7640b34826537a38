"""When a message was produced: what its producer wrote, where that makes sense."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit._clock import plausible_time
from brokerkit._messages._delivery import Delivery

MAY_2026 = 1_778_000_000


def produced(time: float | None) -> float | None:
    return Delivery(body=b"", topic="t", time=time).time


@pytest.mark.parametrize("unit", [1, 1e-3, 1e3, 1e6, 1e9])
def test_a_time_in_another_unit_is_told(unit: float) -> None:
    assert produced(MAY_2026 * unit) == pytest.approx(MAY_2026)


@pytest.mark.parametrize(
    "time",
    [None, 0.0, 5.0, -62_135_596_800.0, 4_300_000_000.0, 5_000_000.0, math.inf, -math.inf, math.nan, 1e300],
)
def test_what_no_unit_explains_is_no_time(time: float | None) -> None:
    assert produced(time) is None


@given(st.floats())
def test_every_time_is_within_this_century_or_none(time: float) -> None:
    found = plausible_time(time)
    assert found is None or 946_684_800 <= found < 4_102_444_800


@given(st.floats(946_684_800, 4_102_444_799))
def test_a_time_in_seconds_stays_as_it_is(time: float) -> None:
    assert plausible_time(time) == time
