"""Which outcomes may go into a transaction: none before those in front of it in its partition."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from brokerkit._consuming._in_order import InOrder
from brokerkit._messages._delivery import ACK, RELEASE, Delivery, Outcome, Part, State
from brokerkit._messages._outgoing import Outgoing

RESULT = Outgoing(topic="results", body=b"", name="Paid", id="1")


def received(order: InOrder, *tokens: str) -> list[Delivery]:
    """Deliveries of these partitions, received in one batch."""
    deliveries = [Delivery(body=b"", topic="t", token=token) for token in tokens]
    order.receive(deliveries)
    return deliveries


def done(delivery: Delivery, outcome: Outcome = ACK) -> Part:
    return Part(delivery, outcome, (RESULT,))


def lose(order: InOrder, delivery: Delivery) -> list[Part]:
    delivery.state = State.LOST
    return order.advance(delivery.token)


def of(parts: Sequence[Part]) -> list[Delivery]:
    return [part.delivery for part in parts]


def test_what_is_done_waits_for_what_is_before_it_in_its_partition_alone() -> None:
    order = InOrder()
    a1, b1, a2 = received(order, "a", "b", "a")
    assert order.finish(done(a2)) == []
    assert of(order.finish(done(b1))) == [b1]
    assert of(order.finish(done(a1))) == [a1, a2]


def test_a_later_batch_waits_for_an_earlier_one() -> None:
    order = InOrder()
    [first] = received(order, "a")
    [second] = received(order, "a")
    assert order.finish(done(second)) == []
    assert of(order.finish(done(first))) == [first, second]


def test_behind_a_message_that_is_given_back_everything_is_given_back_and_publishes_nothing() -> None:
    order = InOrder()
    a1, a2, a3, b1 = received(order, "a", "a", "a", "b")
    assert order.finish(done(a3)) == []
    assert order.finish(done(a2, RELEASE)) == []
    first, second, third = order.finish(done(a1))
    assert (first.outcome, first.messages) == (ACK, (RESULT,))
    assert second.outcome is RELEASE
    assert (third.delivery, third.outcome, third.messages) == (a3, RELEASE, ())
    # For as long as the partition is ours, and in no other one.
    [later] = received(order, "a")
    assert order.finish(done(later)) == [Part(later, RELEASE)]
    assert order.finish(done(b1)) == [done(b1)]


def test_behind_a_message_that_is_lost_everything_is_given_back() -> None:
    order = InOrder()
    a1, a2, a3 = received(order, "a", "a", "a")
    assert order.finish(done(a3)) == []
    assert order.finish(done(a1)) == [done(a1)]
    assert lose(order, a2) == [Part(a3, RELEASE)]


def test_nothing_is_kept_of_a_partition_that_is_lost() -> None:
    order = InOrder()
    for lost in received(order, "a", "a"):
        assert lose(order, lost) == []
    assert repr(order) == "<InOrder: 0 tokens, 0 wait for others>"


def test_what_is_put_back_comes_before_what_arrived_meanwhile_and_waits_for_what_is_undecided() -> None:
    order = InOrder()
    a1, a2, a3, a4 = received(order, "a", "a", "a", "a")
    freed = [*order.finish(done(a1)), *order.finish(done(a2)), *order.finish(done(a3))]
    # The first is committed, the broker refuses a message of the second, and so the third failed.
    order.put_back(freed[1:], undecided={a2})
    assert order.advance("a") == []
    assert order.finish(done(a4)) == []
    assert of(order.finish(done(a2, RELEASE))) == [a2, a3, a4]


def test_what_is_put_back_and_decided_is_free_at_once() -> None:
    order = InOrder()
    a1, a2 = received(order, "a", "a")
    freed = [*order.finish(done(a1)), *order.finish(done(a2))]
    order.put_back(freed, undecided=())
    assert of(order.advance("a")) == [a1, a2]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ack", "release", "lose"])), min_size=1, max_size=40),
    st.randoms(use_true_random=False),
)
def test_each_partition_is_settled_in_order_and_up_to_the_first_that_is_not_done(
    fates: list[tuple[str, str]], random: Random
) -> None:
    """Whatever the order in which handlers end."""
    order = InOrder()
    deliveries = received(order, *(token for token, _ in fates))
    fate = dict(zip(deliveries, (what for _, what in fates), strict=True))
    ending = list(deliveries)
    random.shuffle(ending)
    freed: list[Part] = []
    for delivery in ending:
        if fate[delivery] == "lose":
            freed += lose(order, delivery)
        else:
            freed += order.finish(done(delivery, ACK if fate[delivery] == "ack" else RELEASE))
    for token in "abc":
        there = [delivery for delivery in deliveries if delivery.token == token]
        settled = [part for part in freed if part.delivery.token == token]
        assert of(settled) == [delivery for delivery in there if fate[delivery] != "lose"]
        steady = next((index for index, one in enumerate(there) if fate[one] != "ack"), len(there))
        assert [part.delivery for part in settled if part.outcome is ACK] == there[:steady]
        assert all(part.messages == () for part in settled if part.delivery not in there[: steady + 1])
