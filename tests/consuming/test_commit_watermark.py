"""What must still be handled before a stop, or the broker repeats what is done."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from brokerkit._consuming._commit_watermark import CommitWatermark
from brokerkit._messages._delivery import Delivery, State

W, R, S, L = State.WAITING, State.RUNNING, State.SETTLED, State.LOST


def delivery(state: State, token: object = "p0") -> Delivery:
    made = Delivery(body=b"", topic="t", token=token)
    made.state = state
    return made


def prefix(*batches: Sequence[Delivery]) -> CommitWatermark:
    made = CommitWatermark()
    for batch in batches:
        made.add(batch)
    return made


def test_what_waits_before_a_started_one_is_needed() -> None:
    first, second, third = delivery(W), delivery(R), delivery(W)
    assert prefix([first, second], [third]).before_started(set()) == {first}


def test_each_partition_has_a_number_of_its_own() -> None:
    first, other = delivery(W, "p0"), delivery(S, "p1")
    assert prefix([first, other]).before_started(set()) == set()


def test_nothing_is_needed_behind_one_that_waits_for_its_next_attempt() -> None:
    early, held, waiting, done = delivery(W), delivery(W), delivery(W), delivery(S)
    assert prefix([early, held, waiting, done]).before_started({held}) == set()
    early, started = delivery(W), delivery(R)
    assert prefix([early, started, held, waiting, done]).before_started({held}) == {early}


def test_what_was_lost_says_nothing() -> None:
    assert prefix([delivery(W), delivery(L)]).before_started(set()) == set()


def test_a_message_that_waits_for_long_keeps_little_behind_it_in_memory() -> None:
    waiting = delivery(W)
    made = prefix([waiting], *([delivery(S) for _ in range(10)] for _ in range(1_000)))
    assert made.before_started(set()) == {waiting}
    assert sum(len(batch) for batch in made._batches) < 400


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from([W, R, S, L]), st.sampled_from("ab"), st.booleans()), max_size=4),
        max_size=200,
    )
)
def test_it_is_what_the_definition_says(batches: list[list[tuple[State, str, bool]]]) -> None:
    made, held, everything = CommitWatermark(), set[Delivery](), list[Delivery]()
    for described in batches:
        batch = [delivery(state, token) for state, token, _ in described]
        held |= {one for one, (state, _, is_held) in zip(batch, described, strict=True) if state is W and is_held}
        made.add(batch)
        everything += batch

    def is_needed(index: int) -> bool:
        one = everything[index]
        same = [(at, other) for at, other in enumerate(everything) if other.token == one.token]
        if one.state is not W or any(other in held for at, other in same if at <= index):
            return False
        first_held = min((at for at, other in same if other in held), default=len(everything))
        return any(index < at < first_held and other.state in (R, S) for at, other in same)

    assert made.before_started(held) == {one for at, one in enumerate(everything) if is_needed(at)}
