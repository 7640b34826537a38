"""Back pressure, stopping and closing, and a broker that restarts, at the seam, on a real broker."""

import asyncio
import threading
import uuid

import pytest
from tests.adapters.kafka.seam import Lost, ack, adapter, bodies, message, opened, reading, send, take
from tests.brokers.kafka import KafkaBroker

from brokerkit._errors import Closed, ConnectionLost
from brokerkit._messages._delivery import Settled
from brokerkit._messages._outgoing import Outgoing
from brokerkit.adapters.kafka import KafkaAdapter
from brokerkit.adapters.kafka._consumer import PAUSE_AFTER
from brokerkit.adapters.kafka._source import KafkaSource


async def nothing_comes(source: KafkaSource, seconds: float) -> bool:
    """Whether no message arrives for so long. The source is stopped then."""
    receiving = asyncio.ensure_future(source.receive(100))
    await asyncio.wait({receiving}, timeout=seconds)
    came = receiving.done()
    await source.stop()
    await receiving
    return not came


async def test_a_full_consumer_pauses_and_goes_on_when_slots_are_free(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, *(message(topic, b"%d" % number, key="k") for number in range(10)))
    async with reading(kafka, topic, max_in_flight=4) as source:
        got = await take(source, 4)
        async with asyncio.timeout(10 * PAUSE_AFTER):
            while "paused" not in repr(source._threads[0]):  # pyright: ignore[reportPrivateUsage]
                await asyncio.sleep(0.02)
        await ack(source, got)
        assert bodies(await take(source, 6)) == [b"%d" % number for number in range(4, 10)]


async def test_a_slot_that_is_asked_for_comes_even_above_the_low_water_mark(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, *(message(topic, b"%d" % number, key="k") for number in range(10)))
    async with reading(kafka, topic, max_in_flight=4) as source:
        await take(source, 4)
        async with asyncio.timeout(10 * PAUSE_AFTER):
            while "paused" not in repr(source._threads[0]):  # pyright: ignore[reportPrivateUsage]
                await asyncio.sleep(0.02)
        assert bodies(await take(source, 1)) == [b"4"]


async def test_a_partition_that_went_away_while_paused_is_read_when_it_comes_back(
    kafka: KafkaAdapter, topic: str
) -> None:
    def everywhere(body: bytes) -> list[Outgoing]:
        return [message(topic, body, key=str(number)) for number in range(40)]

    lost = Lost()
    async with reading(kafka, topic, lost=lost) as first:
        (thread,) = first._threads  # pyright: ignore[reportPrivateUsage]
        await send(kafka, *everywhere(b"before"))
        got = await take(first, 40)
        async with asyncio.timeout(40):
            while "paused" not in repr(thread):
                await asyncio.sleep(0.02)
            async with reading(kafka, topic) as second:
                await lost.called.wait()
                await take(second, 1)
                await ack(first, got)
                receiving = asyncio.ensure_future(first.receive(40))
                while "paused" in repr(thread):
                    await asyncio.sleep(0.02)
        await send(kafka, *everywhere(b"after"))
        after = {one.key for one in await receiving if one.body == b"after"}
        async with asyncio.timeout(30):
            while len(after) < 40:
                after |= {one.key for one in await first.receive(40) if one.body == b"after"}


async def test_stop_makes_receive_return_and_deliveries_stay_ours(kafka: KafkaAdapter, topic: str) -> None:
    await send(kafka, message(topic, b"1"))
    async with reading(kafka, topic) as source:
        got = await take(source, 1)
        waiting = asyncio.ensure_future(source.receive(10))
        await asyncio.sleep(0.05)
        await source.stop()
        assert await waiting == []
        assert await source.receive(10) == []
        assert await ack(source, got) == [Settled.DONE]
    async with reading(kafka, topic) as source:
        assert await nothing_comes(source, 2)


async def test_opening_and_closing_leaves_no_thread(kafka_broker: KafkaBroker, topic: str) -> None:
    before = set(threading.enumerate())
    for _ in range(5):
        async with opened(kafka_broker) as kafka, reading(kafka, topic):
            pass
        await kafka.close()
    # The loop's own executor keeps its threads for later.
    assert [thread.name for thread in set(threading.enumerate()) - before if "asyncio" not in thread.name] == []


async def test_closed_means_closed(kafka_broker: KafkaBroker) -> None:
    kafka = adapter(kafka_broker)
    (result,) = await kafka.send([message("any")])
    assert isinstance(result, Closed)
    with pytest.raises(Closed):
        await kafka.ensure(["any"], is_queue=False, create=False)
    assert "closed" in repr(kafka)


async def test_the_broker_restarts_and_everything_goes_on(
    kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokerkit.adapters.kafka.FLUSH", 0.2)
    async with opened(kafka_broker) as kafka, opened(kafka_broker) as impatient:
        name = f"test-{uuid.uuid4().hex[:12]}"
        await kafka.ensure([name], is_queue=False, create=True)
        seen: set[bytes | None] = set()

        async def read(source: KafkaSource) -> None:
            while len(seen) < 200:
                try:
                    got = await source.receive(50)
                except ConnectionLost:
                    continue
                seen.update(bodies(got))
                await ack(source, got)

        async with reading(kafka, name) as source, asyncio.timeout(110):
            consuming = asyncio.ensure_future(read(source))
            await send(kafka, *(message(name, b"%d" % number) for number in range(100)))
            await asyncio.to_thread(kafka_broker.stop)
            sending = asyncio.ensure_future(send(kafka, *(message(name, b"%d" % number) for number in range(100, 200))))
            giving_up = asyncio.ensure_future(impatient.send([message(name)]))
            await asyncio.sleep(0)
            await impatient.close()
            assert isinstance((await giving_up)[0], ConnectionLost)
            await asyncio.to_thread(kafka_broker.start)
            await sending
            await consuming
        assert len(seen) == 200
