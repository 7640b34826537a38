"""What becomes of Kafka messages that are acknowledged, released or retried, at the seam, on a real broker."""

import time

import pytest
from tests.adapters.kafka.seam import Lost, ack, bodies, message, reading, retry_of, send, take

from brokerkit._errors import NotFound
from brokerkit._messages._delivery import ACK, RELEASE, RetryLater, Settled
from brokerkit.adapters.kafka import KafkaAdapter


async def test_a_later_ack_never_hides_an_earlier_message(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, *(message(topic, b"%d" % number, key="k") for number in range(5)))
    async with reading(kafka, topic) as source:
        got = await take(source, 5)
        assert await ack(source, [got[0], got[1], got[3], got[4]]) == [Settled.DONE] * 4
    async with reading(kafka, topic) as source:
        assert bodies(await take(source, 3)) == [b"2", b"3", b"4"]


async def test_an_acknowledged_message_does_not_return(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"1", key="k"), message(topic, b"2", key="k"))
    async with reading(kafka, topic) as source:
        got = await take(source, 2)
        assert await ack(source, got) == [Settled.DONE] * 2
        assert await ack(source, got) == [Settled.DONE] * 2
    await send(kafka, message(topic, b"3", key="k"))
    async with reading(kafka, topic) as source:
        assert bodies(await take(source, 1)) == [b"3"]


async def test_a_released_message_goes_to_the_next_member(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"1", key="k"), message(topic, b"2", key="k"))
    lost = Lost()
    async with reading(kafka, topic, lost=lost) as source:
        first, second = await take(source, 2)
        await source.stop()
        assert await source.settle([(first, ACK), (second, RELEASE)]) == [Settled.DONE] * 2
    assert lost.deliveries == []
    async with reading(kafka, topic) as source:
        assert bodies(await take(source, 1)) == [b"2"]


async def test_a_retry_comes_when_it_is_due_and_its_original_is_done(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"first", key="k"))
    async with reading(kafka, topic) as source:
        (got,) = await take(source, 1)
        begun = time.time()
        copy = message("", b"copy", id="m#2", key=got.key, headers={"bk-due": str(begun + 1.2)})
        assert await source.settle([(got, RetryLater(1.2, copy))]) == [Settled.DONE]
        # Others are handled meanwhile.
        await send(kafka, message(topic, b"second", key="k"))
        other = await take(source, 1)
        assert bodies(other) == [b"second"]
        await ack(source, other)
        (again,) = await take(source, 1)
        assert 0.9 < time.time() - begun < 9  # and not after the next level, 10 s
        assert (again.body, again.id, again.key, again.topic, again.is_ours) == (b"copy", "m#2", b"k", topic, True)
        # Once more, from the retry topic, and this time across a restart.
        assert await source.settle([(again, RetryLater(1.0, copy))]) == [Settled.DONE]
    async with reading(kafka, topic) as source:
        assert bodies(await take(source, 1)) == [b"copy"]


async def test_the_longest_level_that_is_not_too_long_is_taken(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic))
    async with reading(kafka, topic) as source:
        (got,) = await take(source, 1)
        await source.settle([(got, RetryLater(700, message("", b"copy")))])
        await source.stop()
    async with reading(kafka, retry_of(topic, "10m"), group="spy", is_queue=True) as spy:
        assert bodies(await take(spy, 1)) == [b"copy"]


async def test_a_copy_that_is_not_confirmed_leaves_the_original_open(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"keep me"))
    async with reading(kafka, topic) as source:
        (got,) = await take(source, 1)
        bad = message("", headers={"\ud800": "x"})
        assert await source.settle([(got, RetryLater(1, bad))]) == [Settled.FAILED]
    async with reading(kafka, topic) as source:
        assert bodies(await take(source, 1)) == [b"keep me"]


async def test_strict_order_has_no_retry_topics(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic))
    async with reading(kafka, topic, order="strict") as source:
        (got,) = await take(source, 1)
        assert await source.settle([(got, RetryLater(60, message("")))]) == [Settled.FAILED]
    with pytest.raises(NotFound):
        await kafka.ensure([retry_of(topic, "1m")], is_queue=True, create=False)


async def test_lag_counts_what_is_not_done(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, *(message(topic, key="k") for _ in range(10)))
    async with reading(kafka, topic) as source:
        assert await source.lag() == 10
        got = await take(source, 4)
        await ack(source, got[:3])
        assert await source.lag() == 7
