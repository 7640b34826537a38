"""Which queue a source of SQS polls next. Pure."""

import asyncio

from brokerkit.adapters.aws._queues import Reading
from brokerkit.adapters.aws._turns import POLLERS, Polled, Turns


def turns(count: int) -> Turns:
    return Turns(Reading(f"q{number}", f"url{number}", fifo=False) for number in range(count))


def take(turns: Turns) -> Polled:
    queue = turns.take()
    assert queue is not None
    return queue


def test_an_idle_queue_has_one_poll() -> None:
    one = turns(1)
    assert take(one) is one.queues[0]
    assert one.take() is None


def test_full_answers_widen_a_queue_to_eight_polls_and_an_empty_one_makes_it_narrow() -> None:
    one = turns(1)
    for width in (2, 4, 8, 8):
        one.done(take(one), brought=10, asked=10)
        assert one.queues[0].width == width
    taken = [take(one) for _ in range(8)]
    assert one.take() is None
    one.done(taken.pop(), brought=0, asked=10)
    assert one.take() is None
    for queue in taken:
        one.done(queue, brought=0, asked=10)
    assert take(one) is one.queues[0] and one.take() is None


def test_idle_queues_take_turns() -> None:
    many = turns(5)
    order: list[Polled] = []
    for _ in range(10):
        queue = take(many)
        order.append(queue)
        many.done(queue, brought=0, asked=10)
    assert order == many.queues * 2


def test_busy_queues_come_first_and_leave_a_quarter_of_the_polls_to_idle_ones() -> None:
    many = turns(100)
    for queue in [take(many) for _ in range(20)]:
        busy = queue in many.queues[:4]
        for _ in range(3 if busy else 0):
            many.done(queue, brought=10, asked=10)
            queue.polling += 1
        many.done(queue, brought=10 if busy else 0, asked=10)
    taken = [take(many) for _ in range(POLLERS)]
    assert sum(queue in many.queues[:4] for queue in taken) == 12
    assert {queue.polling for queue in many.queues[:4]} == {3}


async def test_each_turn_that_is_free_wakes_one_who_waits() -> None:
    two = turns(2)
    first, second = take(two), take(two)
    woken: list[int] = []

    async def wait(number: int) -> None:
        await two.wait()
        woken.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    await asyncio.sleep(0)
    two.done(first, brought=0, asked=10)
    two.wake()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert woken == [0]
    waiting[1].cancel()  # one who is cancelled takes no turn with him
    two.done(second, brought=0, asked=10)
    two.wake()
    await asyncio.wait([waiting[2]], timeout=5)
    assert woken == [0, 2]
    two.wake_all()
