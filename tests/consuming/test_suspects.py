"""Which delivery runs next while some are suspect: order by key, suspects alone, nothing left behind."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from brokerkit._consuming._backlog import Backlog
from brokerkit._consuming._lanes import Lanes
from brokerkit._consuming._suspects import Suspects
from brokerkit._messages._delivery import Delivery, State

MOST = 5
KEYS = ["a", "b", "c", None]
MESSAGES = st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=30)
"""Key, and whether it is suspect."""


def delivery(number: int, key: str | None, *, suspect: bool) -> Delivery:
    return Delivery(body=b"", topic="topic", key=key, id=str(number), count=MOST + suspect)


def is_suspect(one: Delivery) -> bool:
    return one.count > MOST


@given(MESSAGES, MESSAGES, st.sets(st.sampled_from(["a", "b", "c"])), st.sets(st.integers(0, 29)), st.booleans())
def test_suspects_run_one_at_a_time_in_the_order_of_their_keys_and_all_else_waits(
    first: list[tuple[str | None, bool]],
    later: list[tuple[str | None, bool]],
    held_keys: set[str],
    lost: set[int],
    retried_early: bool,
) -> None:
    lanes = Lanes(Backlog(max_in_flight=5, concurrency=5, partitions=None))
    suspects = Suspects(most=MOST, lanes=lanes)
    # Before the first suspect came, these failed, and wait for their next attempt at the front of their lanes.
    held = {key: delivery(-1, key, suspect=False) for key in sorted(held_keys)}
    for key, one in held.items():
        assert lanes.enter(one, key)
    received = [delivery(number, key, suspect=suspect) for number, (key, suspect) in enumerate([*first, *later])]
    for one in received[: len(first)]:
        suspects.add(one)
    ran: list[Delivery] = []

    def run(one: Delivery) -> Delivery | None:
        """Handle one as a worker does; what may run after it."""
        ran.append(one)
        if one.key is not None and one.lane is None:
            assert lanes.enter(one, one.key), "its key is not free"
        one.state = State.SETTLED
        return lanes.leave(one)

    def work() -> None:
        while (one := suspects.next()) is not None:
            assert is_suspect(one) or any(is_suspect(each) and each.key == one.key for each in suspects)
            suspects.remove(one)
            if (following := run(one)) is not None:
                suspects.add(following)
        assert not suspects.count  # What is left of them waits behind a message that waits itself.

    work()
    for one in received[len(first) :]:
        suspects.add(one)
    for number in lost & set(range(len(received))):
        if received[number].state is State.WAITING:
            received[number].state = State.LOST
    for gone in suspects.drop_lost():
        if gone.lane is not None and (following := lanes.leave(gone)) is not None:
            suspects.add(following)
    work()
    for one in held.values() if retried_early else ():
        # Its time has come while others are still suspect: it is the first of its lane, and waits like all else.
        suspects.add(one)
    work()
    usual = suspects.clear()
    assert not any(is_suspect(one) for one in usual)
    assert suspects.in_lanes == any(is_suspect(one) for one in lanes.waiting())
    # All goes on as usual, until one that is suspect comes out of its lane.
    while usual:
        one = usual.pop(0)
        if one.lane is None and one.key is not None and not lanes.enter(one, one.key):
            continue
        if (following := run(one)) is not None:
            suspects.add(following)
            work()
            usual = suspects.clear() + usual
    waiting = [one for one in lanes.waiting() if one.state is State.WAITING]
    alive = [one for one in received if one.state is not State.LOST]
    assert sorted(ran + waiting, key=id) == sorted([*alive, *(held.values() if retried_early else ())], key=id)
    if retried_early:
        assert not waiting
    order = defaultdict[str | None, list[int]](list)
    for one in ran:
        if one.key is not None:
            order[one.key].append(int(one.id or 0))
    for numbers in order.values():
        assert numbers == sorted(numbers)


@given(MESSAGES)
def test_without_lanes_suspects_run_in_the_order_of_receipt(messages: list[tuple[str | None, bool]]) -> None:
    suspects = Suspects(most=MOST, lanes=None)
    received = [delivery(number, key, suspect=suspect) for number, (key, suspect) in enumerate(messages)]
    for one in received:
        suspects.add(one)
    ran = list[Delivery]()
    while (one := suspects.next()) is not None:
        ran.append(one)
        suspects.remove(one)
    assert ran == [one for one in received if is_suspect(one)]
    assert suspects.clear() == [one for one in received if not is_suspect(one)]
