"""The offset tracker of the Kafka adapter."""

from hypothesis import given
from hypothesis import strategies as st

from brokerkit.adapters._offsets import Offsets

offsets = st.lists(st.integers(0, 10_000), min_size=1, max_size=60, unique=True).map(sorted)


def received(numbers: list[int]) -> Offsets[str]:
    tracker: Offsets[str] = Offsets("orders", 3)
    for number in numbers:
        tracker.add(number, f"message {number}")
    return tracker


def test_before_the_first_message_there_is_nothing_to_commit() -> None:
    assert received([]).position is None


def test_ack_of_a_later_message_never_hides_an_earlier_failure() -> None:
    tracker = received([5, 6, 7])
    tracker.done([7])
    tracker.done([6])
    assert tracker.position == 5


def test_gaps_between_offsets_hold_nothing_back() -> None:
    tracker = received([5, 9, 40])
    tracker.done([5])
    assert tracker.position == 9
    tracker.done([40])
    tracker.done([9])
    assert tracker.position == 41


def test_done_twice_is_harmless() -> None:
    tracker = received([1, 2])
    assert tracker.done([1])
    assert not tracker.done([1])
    assert tracker.position == 2


def test_a_released_message_is_never_passed_even_if_it_is_settled_again() -> None:
    tracker = received([1, 2])
    assert tracker.release(1)
    assert not tracker.release(1)
    assert not tracker.done([1])
    tracker.done([2])
    assert tracker.position == 1
    assert tracker.unsettled == []


def test_repr_says_where_it_stands() -> None:
    tracker = received([1, 2])
    tracker.revoke()
    assert repr(tracker) == "<Offsets orders/3 at 1, 2 open, revoked>"


@given(offsets, st.data())
def test_the_position_is_the_lowest_offset_that_is_not_done(numbers: list[int], data: st.DataObject) -> None:
    tracker = received(numbers)
    open_ = list(numbers)
    positions: list[int] = []
    for number in data.draw(st.permutations(numbers)):
        assert tracker.done([number])
        open_.remove(number)
        position = tracker.position
        assert position is not None
        assert position == (min(open_) if open_ else numbers[-1] + 1)
        assert tracker.unsettled == [f"message {one}" for one in open_]
        positions.append(position)
    assert positions == sorted(positions)


@given(offsets, st.data())
def test_receiving_while_settling_keeps_the_prefix(numbers: list[int], data: st.DataObject) -> None:
    tracker: Offsets[str] = Offsets("orders", 0)
    open_: list[int] = []
    for number in numbers:
        tracker.add(number, "message")
        open_.append(number)
        for one in data.draw(st.lists(st.sampled_from(open_), unique=True)) if open_ else []:
            tracker.done([one])
            open_.remove(one)
        assert tracker.position == (open_[0] if open_ else number + 1)


def test_the_end_of_a_partition_passes_offsets_that_hold_no_message() -> None:
    tracker = received([5, 6])
    assert tracker.reach(20)
    assert tracker.position == 5
    tracker.done([5])
    tracker.done([6])
    assert tracker.position == 20
    assert not tracker.reach(20)
    tracker.add(20, "the next message")
    assert tracker.position == 20
    tracker.done([20])
    assert tracker.position == 21


def test_the_end_of_a_partition_that_had_nothing_to_read_can_be_committed() -> None:
    tracker = received([])
    assert tracker.reach(3)
    assert tracker.position == 3


@given(numbers=offsets, data=st.data())
def test_an_end_never_passes_what_is_open_or_released(numbers: list[int], data: st.DataObject) -> None:
    tracker = received(numbers)
    for number in numbers:
        what = data.draw(st.sampled_from(["done", "release", "stay"]))
        if what != "stay":
            tracker.release(number) if what == "release" else tracker.done([number])
    before = tracker.position
    tracker.reach(numbers[-1] + data.draw(st.integers(1, 100)))
    assert before is not None
    assert tracker.position is not None
    assert tracker.position == before or before == numbers[-1] + 1


@given(numbers=offsets, data=st.data())
def test_what_a_transaction_commits_never_passes_what_is_open_or_released(
    numbers: list[int], data: st.DataObject
) -> None:
    """Up to any message in front of what is open or released, and behind nothing of it."""
    tracker = received(numbers)
    first = data.draw(st.integers(0, len(numbers) - 1))
    for number in numbers[first + 1 :]:
        if data.draw(st.booleans()):
            tracker.release(number)
    assert tracker.after(numbers[first]) == (numbers[first + 1] if first + 1 < len(numbers) else numbers[-1] + 1)
