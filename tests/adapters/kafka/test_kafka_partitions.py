"""Groups, their members and the partitions that these lose and get, at the seam, on a real broker."""

import asyncio
from collections.abc import Sequence

import pytest
from tests.adapters.kafka.seam import Lost, ack, bodies, message, opened, reading, send, take
from tests.brokers.kafka import KafkaBroker

from brokerkit._messages._delivery import Delivery, Settled
from brokerkit.adapters.kafka import KafkaAdapter


async def test_two_groups_each_get_everything(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"1"), message(topic, b"2"))
    async with reading(kafka, topic, group="one") as one, reading(kafka, topic, group="two") as two:
        assert sorted(map(repr, bodies(await take(one, 2)))) == sorted(map(repr, bodies(await take(two, 2))))


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_a_member_that_loses_partitions_finishes_and_commits_first(
    kafka_broker: KafkaBroker, kafka: KafkaAdapter, topic: str, protocol: str
) -> None:
    async with opened(kafka_broker, **{"group.protocol": protocol}) as member:
        await send(kafka, *(message(topic, b"%d" % number, key=str(number)) for number in range(40)))
        settled: list[Settled] = []

        async def finish(deliveries: Sequence[Delivery]) -> None:
            await asyncio.sleep(0.3)  # A handler that still runs.
            settled.extend(await ack(first, deliveries))

        lost = Lost(finish)
        async with reading(member, topic, lost=lost, provision="all") as first:
            await take(first, 40)
            async with reading(member, topic) as second:
                async with asyncio.timeout(30):
                    await lost.called.wait()
                # What was finished inside the revoke is not delivered again; the new owner reads on from there.
                moved = {one.position[0] for one in lost.deliveries if isinstance(one.position, tuple)}
                assert len(moved) == 2
                fresh = {one.key for one in lost.deliveries}
                receiving = asyncio.ensure_future(second.receive(100))
                while not receiving.done():
                    await send(kafka, *(message(topic, b"new", key=key) for key in fresh))
                    await asyncio.wait({receiving}, timeout=0.2)
                assert set(bodies(await receiving)) == {b"new"}
                assert settled == [Settled.DONE] * len(lost.deliveries)
                # Too late for these.
                assert await ack(first, lost.deliveries) == [Settled.LOST] * len(lost.deliveries)
                assert await first.extend(lost.deliveries[:1]) == [Settled.LOST]


async def test_partitions_that_are_gone_already_are_never_committed(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"1", key="k"), message(topic, b"2", key="k"))
    answers: list[Settled] = []

    async def too_late(deliveries: Sequence[Delivery]) -> None:
        answers.extend(await ack(source, deliveries))

    lost = Lost(too_late)
    async with reading(kafka, topic, lost=lost) as source:
        got = await take(source, 2)
        await source.revoked([(topic, number) for number in range(4)], ours=False)
        assert lost.deliveries == got and answers == [Settled.LOST] * 2
        assert "0 in flight" in repr(source)
    async with reading(kafka, topic) as source:
        assert bodies(await take(source, 2)) == [b"1", b"2"]


async def test_a_drain_that_takes_too_long_is_not_waited_for(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, *(message(topic, key=str(number)) for number in range(20)))
    release = asyncio.Event()

    async def hang(_: Sequence[Delivery]) -> None:
        await release.wait()

    lost = Lost(hang)
    async with reading(kafka, topic, lost=lost, drain_timeout=0.2) as first:
        await take(first, 20)
        async with reading(kafka, topic) as second:
            again = await take(second, 1)
            assert again[0].key in {one.key for one in lost.deliveries}
            assert await ack(first, lost.deliveries) == [Settled.LOST] * len(lost.deliveries)
            release.set()


async def test_latest_begins_where_the_topic_ended_at_open(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"old", key="k"))
    async with reading(kafka, topic, start="latest") as source:
        await send(kafka, message(topic, b"new", key="k"))
        assert bodies(await take(source, 1)) == [b"new"]
    # Nothing was committed by the reader, and still the next one does not begin at the new end.
    async with reading(kafka, topic, start="latest") as source:
        assert bodies(await take(source, 1)) == [b"new"]


async def test_broadcast_gives_every_process_everything_from_now_on(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"old"))
    async with (
        reading(kafka, topic, broadcast=True) as one,
        reading(kafka, topic, broadcast=True) as two,
    ):
        await send(kafka, message(topic, b"new"))
        for source in (one, two):
            got = await take(source, 1)
            assert bodies(got) == [b"new"]
            assert await ack(source, got) == [Settled.DONE]
            assert await source.lag() == 0


async def test_several_topics_are_one_source(kafka: KafkaAdapter, topic: str) -> None:
    other = f"{topic}-other"
    await kafka.ensure([other], is_queue=False, create=True)
    await send(kafka, message(topic, b"1"), message(other, b"2"))
    async with reading(kafka, topic, other) as source:
        assert {(one.topic, one.body) for one in await take(source, 2)} == {(topic, b"1"), (other, b"2")}
