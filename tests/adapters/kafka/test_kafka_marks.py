"""What a walk remembers of the offsets of a partition, without a broker."""

from __future__ import annotations

import pytest

from brokerkit.adapters.kafka._cursor import _Marks
from brokerkit.adapters.kafka._removals import from_body


@pytest.mark.parametrize("run", [range(10**18), range(100, 10**18), range(99, 101)])
def test_a_record_that_names_offsets_elsewhere_removes_those_that_are_here(run: range) -> None:
    marks = _Marks(100, 104)
    for offset in (100, 101, 103):
        marks.note(offset)
    for one in from_body(b"[[%d, %d]]" % (run.start, run.stop - 1)):
        marks.remove(one)
    removed = [offset for offset in range(100, 104) if marks.is_removed(offset)]
    assert removed == [offset for offset in range(100, 104) if offset in run]
    assert marks.left == sum(offset not in run for offset in (100, 101, 103))


def test_offsets_of_a_topic_that_was_made_anew_are_no_others() -> None:
    marks = _Marks(100, 104)
    marks.note(103)
    marks.note(5)
    marks.note(104)
    assert (marks.first, marks.left) == (103, 1)
    assert not marks.is_removed(5)
    marks.extend(106)
    marks.note(105)
    marks.remove(range(103, 104))
    assert (marks.first, marks.left) == (105, 1)
    marks.remove(range(105, 106))
    assert marks.first is None
