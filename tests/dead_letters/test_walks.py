"""Walks through many dead letters, on every broker: each is looked at once, what stays is left alone, and a rest is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Consumer, TopicPartition

from brokerkit import BrokerkitError, Bus, ConnectionLost, Incomplete, Progress
from brokerkit._dead_letters._store import DeadLetterQueue
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._outgoing import Outgoing
from brokerkit.adapters.api import Adapter, Subscription
from tests import every_aws, every_broker, kafka_wire
from tests.brokers.aws import AwsBroker
from tests.brokers.kafka import KafkaBroker
from tests.dead_letters.test_replay import NAME, ONCE, OTHER, failing, place, serving
from tests.every_broker import Broker, Recorder

BATCH: Final = 500


def letter(broker: Broker, number: int) -> Outgoing:
    """Every tenth is of the other event; nine of ten have the same key."""
    event = NAME if number % 10 else OTHER
    return Outgoing(
        topic=broker.topic(),
        body=b'{"playerId": %d}' % number,
        name=event,
        id=f"id-{number}~1",
        key=f"k{number}" if number % 10 == 5 else "hot",
        headers={
            "event": event,
            "bk-topic": broker.topic(),
            "bk-group": "wallet",
            "bk-event": event,
            "bk-error-type": "RuntimeError",
            "bk-origin": f"id-{number}",
            "bk-copy": "1",
            "bk-failures": "1",
            "bk-last-failure": str(int(time.time())),
        },
    )


async def put(bus: Bus, letters: Sequence[Outgoing]) -> None:
    store = bus.runtime.dead_letters["bus"]
    await store.open()
    assert await store.put(letters) == [None] * len(letters)


def queue_of(bus: Bus) -> str:
    """The queue of the dead letters."""
    store = bus.runtime.dead_letters["bus"]
    assert isinstance(store, DeadLetterQueue)
    return store.topic


def size(broker: Broker) -> int:
    """More than two batches, and more than RabbitMQ's window; fewer where each ten are a call."""
    return 60 if broker.name.startswith(("sqs", "sns")) else 1_500


async def test_a_filtered_walk_looks_at_each_letter_once_and_the_next_one_finds_the_rest(
    broker: Broker, tmp_path: Path
) -> None:
    # A machine that stalls must not end the leases of a walk: what it has looked at would come again.
    settings, count = {**ONCE, **place(broker, tmp_path), "lease": 30.0}, size(broker)
    told: list[tuple[int, int, int]] = []

    def tell(progress: Progress) -> None:
        told.append((progress.done, progress.kept, progress.unseen))

    recorder = Recorder().record(NAME)
    async with asyncio.timeout(100), recorder.serving(broker.bus(**settings)) as bus:
        await put(bus, [letter(broker, number) for number in range(count)])
        letters = bus.dead_letters()
        assert await letters.purge(events=OTHER, progress=tell) == count // 10
        assert told[-1][0] == count // 10
        if not broker.name.startswith(("sqs", "sns")):  # where a letter may come again on a machine that stalls
            assert told[0] == (0, 0, count)
            assert told[-1] == (count // 10, count - count // 10, 0)
            assert all(sum(each) == count for each in told)
        left = {one.message.id async for one in letters}
        assert left == {f"id-{number}" for number in range(count) if number % 10}
        assert await letters.replay(ids=["id-1", "id-57"]) == 2
        assert await letters.replay(limit=7) == 7
        assert await letters.replay() == count - count // 10 - 9
        await recorder.wait_for(count - count // 10, seconds=60)
        assert sorted(event.player_id for _, event, _ in recorder.got) == [n for n in range(count) if n % 10]
        assert [one async for one in letters] == []


async def test_a_walk_that_breaks_off_says_what_it_has_not_seen_and_the_next_one_goes_on(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, count = {**ONCE, **place(broker, tmp_path)}, size(broker)
    recorder = Recorder().record(NAME, OTHER)
    told = Progress()

    def tell(progress: Progress) -> None:
        nonlocal told
        told = progress

    async with asyncio.timeout(100), recorder.serving(broker.bus(**settings)) as bus:
        await put(bus, [letter(broker, number) for number in range(count)])
        with monkeypatch.context() as patched:
            break_second_batch(bus.adapter(), patched)
            with pytest.raises(ConnectionLost) as caught:
                await bus.dead_letters().replay(progress=tell)
        assert 0 < told.done < count
        # A slow walk may meet a letter again whose lease ended.
        assert told.done + told.kept + told.unseen >= count
        assert caught.value.__notes__ == [f"{told.unseen:,} dead letters were not looked at"]
        assert await bus.dead_letters().replay() == count - told.done
        await recorder.wait_for(count, seconds=60)
        assert sorted(event.player_id for _, event, _ in recorder.got) == list(range(count))


def break_second_batch(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse everything after the first batch of letters."""
    send, sent = adapter.send, 0

    async def sending(batch: Sequence[Outgoing], **more: Any) -> Any:
        nonlocal sent
        if batch and "bk-origin" in batch[0].headers:
            sent += 1
            if sent > 1:
                return [ConnectionLost("the broker has gone away") for _ in batch]
        return await send(batch, **more)

    monkeypatch.setattr(adapter, "send", sending)
    monkeypatch.setattr("brokerkit._dead_letters._replay._PAUSE", 1_000.0)


async def test_what_another_reader_has_in_hand_makes_a_walk_incomplete(memory: Broker) -> None:
    async with memory.bus(**ONCE) as bus:
        await put(bus, [letter(memory, number) for number in range(10)])
        source = bus.adapter().subscribe(reading_of(bus), _ignore)
        await source.open()
        assert len(await source.receive(3)) == 3
        with pytest.raises(Incomplete, match="another reader") as caught:
            await bus.dead_letters().purge()
        assert (caught.value.done, caught.value.unseen) == (7, 3)
        with pytest.raises(Incomplete):
            [one async for one in bus.dead_letters()]
        await source.stop()
        await source.close()
        assert await bus.dead_letters().purge() == 3


def reading_of(bus: Bus) -> Subscription:
    """What reads the queue as a service would."""
    return Subscription(topics=(queue_of(bus),), group=queue_of(bus), is_queue=True)


async def _ignore(deliveries: Sequence[Delivery], *, gone: bool = True) -> None: ...


async def test_a_walk_that_is_cancelled_takes_out_what_it_has_published(
    memory: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with memory.bus(**ONCE) as bus:
        group = Subscription(topics=(memory.topic(),), group="wallet", provision="all")
        source = bus.adapter().subscribe(group, _ignore)
        await source.open()
        await source.stop()
        await source.close()
        await put(bus, [letter(memory, number) for number in range(3 * BATCH)])
        send, begun, go_on = bus.adapter().send, asyncio.Event(), asyncio.Event()

        async def sending(batch: Sequence[Outgoing]) -> Any:
            begun.set()
            await go_on.wait()
            return await send(batch)

        monkeypatch.setattr(bus.adapter(), "send", sending)
        replaying = asyncio.create_task(bus.dead_letters().replay())
        await begun.wait()
        replaying.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await replaying
        assert len([one async for one in bus.dead_letters()]) == 2 * BATCH
        source = bus.adapter().subscribe(group, _ignore)
        await source.open()
        assert len(await source.receive(3 * BATCH)) == BATCH
        await source.stop()
        await source.close()


async def test_what_fails_again_while_a_replay_goes_on_is_left_for_the_next_one(broker: Broker, tmp_path: Path) -> None:
    if broker.name in ("sns", "redis-pubsub"):
        return
    settings = {**ONCE, **place(broker, tmp_path)}
    async with asyncio.timeout(60), serving(broker.bus(**settings), failing()) as bus:
        await put(bus, [letter(broker, number) for number in range(30)])
        assert await bus.dead_letters().replay() == 30
        await every_broker.until(lambda: bus.stats["bus"].dead_lettered == 30)
        assert len([one async for one in bus.dead_letters()]) == 30


# ---- Kafka ---------------------------------------------------------------------------------------------------


async def test_on_kafka_neither_uneven_partitions_nor_a_member_of_an_old_group_keeps_letters_from_being_seen(
    kafka_broker: KafkaBroker,
) -> None:
    broker = every_broker.kafka(kafka_broker)
    async with asyncio.timeout(100), broker.bus(**ONCE) as bus:
        await put(bus, [letter(broker, number) for number in range(4_000)])
        topic = queue_of(bus)
        member = bus.adapter().subscribe(reading_of(bus), _ignore)
        await member.open()
        await member.receive(1)
        assert await bus.dead_letters().purge(events=OTHER) == 400
        assert len([one async for one in bus.dead_letters()]) == 3_600
        await member.stop()
        await member.close()
        # What stays is where it was: behind it there is nothing but the records that say what is gone.
        raw = [one async for one in bus.adapter().browse([topic])]
        assert len(raw) - 4_000 < 20
        assert await bus.dead_letters().purge() == 3_600
        assert [one async for one in bus.adapter().browse([topic])] == []


async def test_on_kafka_a_letter_whose_producer_chose_the_key_of_a_removal_is_a_letter(
    kafka_broker: KafkaBroker,
) -> None:
    broker = every_broker.kafka(kafka_broker)
    async with asyncio.timeout(60), broker.bus(**ONCE) as bus:
        forged = letter(broker, 1)
        forged.key, forged.body = b"\x00bk-removed", b"[[0,99]]"
        await put(bus, [letter(broker, 2), forged])
        assert sorted(str(one.message.id) for one in [one async for one in bus.dead_letters()]) == ["id-1", "id-2"]


async def test_on_kafka_a_letter_with_that_key_whose_header_names_cannot_be_decoded_is_a_letter(
    kafka_broker: KafkaBroker,
) -> None:
    broker = every_broker.kafka(kafka_broker)
    async with asyncio.timeout(60), broker.bus(**ONCE) as bus:
        await put(bus, [letter(broker, 1)])
        for number in range(20):  # An interpreter that has specialised a call looks at its errors no longer.
            await kafka_wire.produce(
                kafka_broker.address,
                queue_of(bus),
                b'{"playerId": %d}' % number,
                headers=[(b"caf\xe9", b"value"), (b"id", b"bk-removed")],
                key=b"\x00bk-removed",
            )
        seen = [one async for one in bus.adapter().browse([queue_of(bus)], is_queue=True)]
        assert len([one async for one in bus.dead_letters()]) == len(seen) == 21
        assert await bus.dead_letters().purge() == 21


async def test_on_kafka_what_an_earlier_version_has_committed_is_not_replayed(kafka_broker: KafkaBroker) -> None:
    broker = every_broker.kafka(kafka_broker)
    async with asyncio.timeout(60), broker.bus(**ONCE) as bus:
        await put(bus, [letter(broker, number) for number in range(10)])
        topic = queue_of(bus)
        raw = [one async for one in bus.adapter().browse([topic])]
        positions = [one.position for one in raw]
        last = {place[0]: place[1] for place in positions if isinstance(place, tuple)}
        consumer = Consumer({"bootstrap.servers": kafka_broker.address, "group.id": topic})
        offsets = [TopicPartition(topic, partition, offset) for partition, offset in last.items()]
        await asyncio.to_thread(consumer.commit, offsets=offsets, asynchronous=False)
        await asyncio.to_thread(consumer.close)
        assert len([one async for one in bus.dead_letters()]) == len(last)


# ---- SQS -----------------------------------------------------------------------------------------------------


async def test_on_sqs_fifo_what_waits_behind_letters_of_its_group_is_told_as_not_seen(
    sqs_broker: AwsBroker,
) -> None:
    broker = every_aws.sqs(sqs_broker, fifo=True)
    async with asyncio.timeout(60), broker.bus(**ONCE) as bus:
        store = bus.runtime.dead_letters["bus"]
        await store.open()
        # As an earlier brokerkit wrote them: all of a key in one message group.
        queue = queue_of(bus)
        letters = [replace(letter(broker, number), topic=queue, is_queue=True, key="k") for number in range(15)]
        assert not [each for each in await bus.adapter().send(letters) if isinstance(each, BrokerkitError)]
        with pytest.raises(Incomplete) as caught:
            await bus.dead_letters().purge(ids="id-14")
        assert (caught.value.done, caught.value.unseen) == (0, 5)
        assert await bus.dead_letters().purge() == 15
