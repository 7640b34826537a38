"""The backlog of lanes: how much more may be taken in than is in flight, and which partitions wait."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from brokerkit._consuming._backlog import Backlog
from brokerkit._messages._delivery import Delivery

IN_FLIGHT = 10


def delivery(token: Any = None, body: bytes = b"") -> Delivery:
    return Delivery(body=body, topic="topic", token=token)


class Partitions:
    """Notes which partitions are paused."""

    def __init__(self) -> None:
        self.paused: set[Any] = set()

    def pause(self, token: Any) -> None:
        assert token not in self.paused
        self.paused.add(token)

    def resume(self, token: Any) -> None:
        self.paused.remove(token)


def full(count: int, *, body: bytes = b"") -> Backlog:
    backlog = Backlog(max_in_flight=IN_FLIGHT, concurrency=3, partitions=None)
    for _ in range(count):
        backlog.add(delivery(body=body))
    return backlog


def test_more_is_asked_for_while_workers_have_little_to_do() -> None:
    assert full(5).room(in_flight=10, asked=0, held=0) == 5
    assert full(4).room(in_flight=10, asked=0, held=0) == 0, "half of what is enough is here"
    assert full(9).room(in_flight=10, asked=0, held=0) == 9
    assert full(3).room(in_flight=10, asked=0, held=6) == 9, "what waits for its next attempt keeps no worker busy"
    assert full(9).room(in_flight=10, asked=6, held=0) == 0, "what was asked for is on its way"


def test_what_is_taken_in_is_bounded_by_number_and_by_bytes() -> None:
    most = 16 * IN_FLIGHT
    assert full(most - 3).room(in_flight=most - 2, asked=0, held=0) == 2
    assert full(most - 1).room(in_flight=most, asked=0, held=0) == 0
    assert full(8, body=b"x" * (8 * 2**20)).room(in_flight=10, asked=0, held=0) == 0
    assert full(7, body=b"x" * (8 * 2**20)).room(in_flight=10, asked=0, held=0) == 7


def test_removing_what_does_not_wait_changes_nothing() -> None:
    backlog, one = full(2, body=b"four"), delivery(body=b"four")
    backlog.remove(one)
    backlog.add(one)
    backlog.remove(one)
    backlog.remove(one)
    assert (len(backlog), backlog.bytes) == (2, 8)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(1, 30)), max_size=40))
def test_a_partition_is_paused_from_its_bound_until_half_of_it(steps: list[tuple[str, bool, int]]) -> None:
    partitions = Partitions()
    backlog = Backlog(max_in_flight=IN_FLIGHT, concurrency=3, partitions=partitions)
    waiting: dict[str, list[Delivery]] = {"a": [], "b": []}
    paused = set[str]()
    counts = Counter[str]()
    for token, comes, times in steps:
        for _ in range(times):
            if comes:
                waiting[token].append(delivery(token))
                backlog.add(waiting[token][-1])
            elif waiting[token]:
                backlog.remove(waiting[token].pop(0))
            counts[token] = len(waiting[token])
            if counts[token] >= 4 * IN_FLIGHT:
                paused.add(token)
            elif counts[token] <= 2 * IN_FLIGHT:
                paused.discard(token)
            assert partitions.paused == paused
    for token in "ab":
        while waiting[token]:
            backlog.remove(waiting[token].pop())
    assert not partitions.paused
    assert not len(backlog)
