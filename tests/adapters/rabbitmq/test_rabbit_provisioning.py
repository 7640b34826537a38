"""What the RabbitMQ adapter creates, checks and refuses, at the seam, on a real broker."""

from __future__ import annotations

import aio_pika
import pytest
from tests.adapters.rabbitmq.seam import Bench, outgoing, send, take, waiting

from brokerkit._errors import NotFound
from brokerkit._messages._delivery import RetryLater, Settled


async def test_group_creates_the_queue_but_never_the_topic(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    with pytest.raises(NotFound, match=topic):
        await bench.source(adapter, topic, provision="group")
    await adapter.ensure([topic], is_queue=False, create=True)
    await bench.source(adapter, topic, provision="group")
    await waiting(bench, f"{topic}.wallet", 0)


async def test_check_creates_nothing_and_asks_for_everything(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    missing = topic
    for created in (None, "topic", "group"):
        if created == "topic":
            await adapter.ensure([topic], is_queue=False, create=True)
            missing = f"{topic}.wallet"
        elif created == "group":
            await bench.source(adapter, topic, provision="group")
            missing = f"{topic}.wallet.retry.1s"
        with pytest.raises(NotFound, match=missing):
            await bench.source(adapter, topic, provision="check")


async def test_off_looks_at_nothing(bench: Bench) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    with pytest.raises(NotFound):
        await bench.source(adapter, topic, provision="off")
    # Neither exchange nor delay queues: the queue is enough to read.
    await channel.declare_queue(f"{topic}.wallet", exclusive=False, auto_delete=True)
    source = await bench.source(adapter, topic, provision="off")
    await channel.default_exchange.publish(aio_pika.Message(b"x"), routing_key=f"{topic}.wallet")
    [one] = await take(source, 1)
    assert await source.settle([(one, RetryLater(60, outgoing(topic)))]) == [Settled.FAILED]


@pytest.mark.parametrize("provision", ["off", "check", "group"])
async def test_a_broadcast_source_creates_no_exchange(bench: Bench, provision: str) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    with pytest.raises(NotFound, match=topic):
        await bench.source(adapter, topic, provision=provision, broadcast=True)
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await channel.declare_exchange(topic, passive=True)
    await adapter.ensure([topic], is_queue=False, create=True)
    source = await bench.source(adapter, topic, provision=provision, broadcast=True)
    await send(adapter, outgoing(topic))
    await take(source, 1)
