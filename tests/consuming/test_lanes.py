"""Lanes: order within a key, one at a time, nothing left behind."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from brokerkit._consuming._backlog import Backlog
from brokerkit._consuming._lanes import Lanes
from brokerkit._messages._delivery import Delivery, State

KEYS = st.sampled_from(["a", "b", b"a"])
STEPS = st.lists(st.one_of(KEYS, st.tuples(st.sampled_from(["finish", "lose"]), st.integers(0, 20))), max_size=60)


def delivery(number: int = 0) -> Delivery:
    return Delivery(body=b"", topic="topic", id=str(number))


@given(STEPS)
def test_each_key_runs_in_order_one_at_a_time_and_nothing_is_left_behind(
    steps: list[str | bytes | tuple[str, int]],
) -> None:
    backlog = Backlog(max_in_flight=5, concurrency=5, partitions=None)
    lanes = Lanes(backlog)
    running: dict[str | bytes, Delivery] = {}
    entered: defaultdict[str | bytes, list[Delivery]] = defaultdict(list)
    ran: defaultdict[str | bytes, list[Delivery]] = defaultdict(list)

    def begin(one: Delivery, key: str | bytes) -> None:
        assert key not in running
        assert one.state is State.WAITING
        one.state = State.RUNNING
        running[key] = one
        ran[key].append(one)

    def finish(key: str | bytes) -> None:
        one = running.pop(key)
        one.state = State.FINISHED
        if (following := lanes.leave(one)) is not None:
            begin(following, key)

    for number, step in enumerate(steps):
        if isinstance(step, tuple):
            what, index = step
            if what == "finish" and running:
                finish(list(running)[index % len(running)])
            elif what == "lose" and (waiting := [one for one in lanes.waiting() if one.state is State.WAITING]):
                lost = waiting[index % len(waiting)]
                lost.state = State.LOST
                backlog.remove(lost)
        else:
            one = delivery(number)
            entered[step].append(one)
            if lanes.enter(one, step):
                begin(one, step)
        assert len(backlog) == sum(one.state is State.WAITING for one in lanes.waiting())
    while running:
        finish(next(iter(running)))

    assert len(lanes) == len(backlog) == backlog.bytes == 0
    assert list(lanes.waiting()) == []
    for key, ones in entered.items():
        assert ran[key] == [one for one in ones if one.state is not State.LOST]
        assert all(one.lane is None for one in ones)


def test_different_keys_run_side_by_side() -> None:
    lanes = Lanes(Backlog(max_in_flight=5, concurrency=5, partitions=None))
    assert [lanes.enter(delivery(), key) for key in ("a", "b", "a")] == [True, True, False]
    assert repr(lanes) == "<Lanes: 2 keys, 1 waiting>"


def test_leaving_twice_or_without_a_lane_changes_nothing() -> None:
    lanes = Lanes(Backlog(max_in_flight=5, concurrency=5, partitions=None))
    first, second = delivery(1), delivery(2)
    lanes.enter(first, "a")
    lanes.enter(second, "a")
    assert lanes.leave(first) is second
    assert lanes.leave(first) is None
    assert lanes.leave(delivery(3)) is None
    assert len(lanes) == 1


def test_a_delivery_joins_those_in_front_only_if_nothing_waits_behind_them() -> None:
    lanes = Lanes(Backlog(max_in_flight=5, concurrency=5, partitions=None))
    first, second, third, fourth = (delivery(number) for number in range(4))
    assert not lanes.join(first, "a", 1)
    assert lanes.enter(first, "a")
    assert not lanes.join(second, "a", 2)
    assert lanes.join(second, "a", 1)
    assert not lanes.enter(third, "a")
    assert not lanes.join(fourth, "a", 2)
    assert lanes.leave(first) is None
    assert lanes.leave(second) is third
    assert lanes.leave(third) is None
    assert len(lanes) == 0
