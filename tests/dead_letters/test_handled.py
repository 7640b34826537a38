"""What a walk remembers, without a broker."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from brokerkit._dead_letters._handled import Handled


@given(noted=st.lists(st.tuples(st.text(max_size=3), st.integers(0, 300)), max_size=60), other=st.text(max_size=3))
def test_the_latest_copy_of_each_message_is_known(noted: list[tuple[str, int]], other: str) -> None:
    handled, expected = Handled(), dict[str, int]()
    for origin, copies in noted:
        handled.note(origin, copies)
        expected[origin] = min(max(copies, expected.get(origin, 0)), 255)
    assert {origin: handled.copies(origin) for origin in expected} == expected
    assert handled.copies(other) == expected.get(other)
    assert len(handled) == len(noted)


def test_a_message_takes_bytes_and_not_objects() -> None:
    handled = Handled()
    for number in range(100_000):
        handled.note(f"id-{number}", 1)
    assert sum(map(sys.getsizeof, handled._shards.values())) < 16 * 100_000
    assert all(handled.copies(f"id-{number}") == 1 for number in range(0, 100_000, 1_000))
