"""What becomes of RabbitMQ's messages that are acknowledged, released or retried, at the seam, on a real broker."""

from __future__ import annotations

import time

import pytest
from tests.adapters.rabbitmq.seam import Bench, bodies, gives_back_freely, outgoing, send, settle, take, waiting

from brokerkit._messages._delivery import ACK, RELEASE, RetryLater, Settled
from brokerkit.adapters.api import TIME_HEADER


async def test_what_is_not_acknowledged_comes_back(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    await send(adapter, *[outgoing(topic, body=str(i).encode()) for i in range(6)])
    found = await take(source, 6)
    # Not in order, and with a gap: none of the others may be acknowledged along.
    await settle(source, [found[4], found[0], found[2]])
    await source.stop()
    await source.close()
    again = await take(await bench.source(adapter, topic), 3)
    assert bodies(again) == [b"1", b"3", b"5"]
    assert [one.count for one in again] == [1 if gives_back_freely(again[0]) else 2] * 3


@pytest.mark.parametrize("order", ["key", "strict"])
@pytest.mark.parametrize("stopped", [False, True])
async def test_acknowledgements_just_before_close_are_kept(bench: Bench, order: str, stopped: bool) -> None:
    # One by one they are more than the broker's channel has under way to a quorum queue at a time.
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic, order=order)
    await send(adapter, *[outgoing(topic) for _ in range(200)])
    found = await take(source, 200)
    if stopped:
        await source.stop()
    for one in reversed(found):
        await settle(source, [one])
    await source.close()
    fresh = await bench.source(adapter, topic, order=order)
    await send(adapter, outgoing(topic, body=b"next"))
    assert bodies(await take(fresh, 1)) == [b"next"]


async def test_settling_twice_never_reaches_the_broker(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    await send(adapter, outgoing(topic), outgoing(topic))
    first, second = await take(source, 2)
    await settle(source, [first])
    assert await source.settle([(first, ACK), (first, RELEASE)]) == [Settled.LOST, Settled.LOST]
    assert await source.extend([first, second]) == [Settled.LOST, Settled.DONE]
    # The channel would be dead by now.
    await settle(source, [second])
    await send(adapter, outgoing(topic))
    await take(source, 1)


async def test_a_released_message_comes_back_at_once(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    await send(adapter, outgoing(topic))
    await settle(source, await take(source, 1), RELEASE)
    [one] = await take(source, 1)
    assert one.count == (1 if gives_back_freely(one) else 2)


async def test_a_durable_retry_comes_back_to_this_group_alone(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source, other = await bench.source(adapter, topic), await bench.source(adapter, topic, group="crm")
    await send(adapter, outgoing(topic, id="m", routing_key="poker.done", key="k", headers={"h": "v"}))
    [one], [settings_of_url] = await take(source, 1), await take(other, 1)
    headers = dict(one.headers) | {"bk-failures": "1", TIME_HEADER: str(one.time)}
    copy = outgoing(topic, id="copy", key=one.key, headers=headers)
    began = time.monotonic()
    await settle(source, [one], RetryLater(1.5, copy))
    [again] = await take(source, 1)
    assert 0.9 < time.monotonic() - began < 9  # and not after the next level, 10 s
    assert (again.id, again.topic, again.key, again.routing_key, again.count) == ("copy", topic, "k", "poker.done", 1)
    assert again.headers["bk-failures"] == "1"
    assert again.time == one.time
    await settle(source, [again])
    await settle(other, [settings_of_url])
    for queue in (f"{topic}.wallet", f"{topic}.crm", f"{topic}.wallet.retry.1s"):
        await waiting(bench, queue, 0)


async def test_a_durable_retry_survives_the_process(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    await send(adapter, outgoing(topic))
    [one] = await take(source, 1)
    await settle(source, [one], RetryLater(1, outgoing(topic, body=b"copy")))
    await source.close()
    await adapter.close()
    fresh = await bench.adapter()
    assert bodies(await take(await bench.source(fresh, topic), 1)) == [b"copy"]


async def test_longer_waits_take_longer_queues(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    await send(adapter, *[outgoing(topic) for _ in range(3)])
    waits = (59.0, 60.0, 90_000.0)
    pairs = [(one, RetryLater(after, outgoing(topic))) for one, after in zip(await take(source, 3), waits, strict=True)]
    assert await source.settle(pairs) == [Settled.DONE] * 3
    for label in ("10s", "1m", "1h"):
        await waiting(bench, f"{topic}.wallet.retry.{label}", 1)


async def test_a_retry_that_cannot_be_stored_keeps_the_original(bench: Bench) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    source = await bench.source(adapter, topic)
    await send(adapter, outgoing(topic), outgoing(topic))
    first, second = await take(source, 2)
    await settle(source, [first], RetryLater(60, outgoing(topic)))
    await channel.queue_delete(f"{topic}.wallet.retry.1m")
    retry = RetryLater(60, outgoing(topic))
    assert await source.settle([(second, retry)]) == [Settled.FAILED]
    await settle(source, [second], retry)
    await waiting(bench, f"{topic}.wallet.retry.1m", 1)
