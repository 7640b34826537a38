"""Which lines of a dead-letter file are removed, beside a model, without a file."""

from __future__ import annotations

import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit._dead_letters._lines import Removed, removal

LINES = [b"a\n", b"b\n", b"c\n"]


@given(written=st.lists(st.sampled_from(LINES) | st.lists(st.sampled_from(LINES), max_size=3), max_size=20))
def test_a_removal_takes_as_many_equal_lines_before_it_as_it_names(written: list[bytes | list[bytes]]) -> None:
    removed, counts, last = Removed(), Counter[bytes](), dict[bytes, int]()
    for at, line in enumerate(written):
        if isinstance(line, list):
            removed.note(removal(line), at)
            counts.update(line)
            last.update(dict.fromkeys(line, at))
    assert len(removed) == counts.total()
    for at, line in enumerate(written):
        if isinstance(line, bytes):
            expected = counts[line] > 0 and last[line] >= at
            assert removed.takes(line, at) is expected
            counts[line] -= expected
    assert len(removed) == counts.total()


@pytest.mark.parametrize("name", ['"zz"', '"00"', "1", "null", '"-1-1-1-1-1-1-1-1-1-1-1-1"', '"é"', "[]"])
def test_a_name_that_is_no_digest_removes_nothing(name: str) -> None:
    removed = Removed()
    removed.note(b'{"removed": [%s]}\n' % name.encode(), 0)
    assert len(removed) == 0


def test_a_removed_line_takes_bytes_and_not_objects() -> None:
    removed = Removed()
    for first in range(0, 100_000, 500):
        removed.note(removal([b"line %d" % number for number in range(first, first + 500)]), first)
    arrays = [one for shard in removed._shards.values() for one in shard]
    assert sum(map(sys.getsizeof, arrays)) < 60 * 100_000
    assert removed.takes(b"line 7", 0)
    assert not removed.takes(b"line 7", 0)
