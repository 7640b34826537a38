"""Connections, queues and exchanges that RabbitMQ loses and that come back, at the seam, on a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence
from typing import Any

import aio_pika
import pytest
from tests.adapters.rabbitmq.seam import TIMEOUT, Bench, bodies, outgoing, reconnected, send, settle, take, waiting
from tests.brokers.rabbitmq import RabbitBroker

from brokerkit._errors import ConnectionLost, NotFound
from brokerkit._messages._delivery import ACK, Delivery, RetryLater, Settled
from brokerkit._messages._outgoing import Receipt
from brokerkit.adapters.api import Subscription
from brokerkit.adapters.rabbitmq import _publisher, _source


async def test_a_cut_connection_loses_what_was_out_and_the_next_receive_reconnects(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    proxy, url = await bench.proxy()
    behind = await bench.adapter(url)
    source = await bench.source(behind, topic, max_in_flight=4)
    await send(adapter, *[outgoing(topic, body=str(i).encode()) for i in range(4)])
    found = await take(source, 2)
    proxy.cut()
    async with asyncio.timeout(TIMEOUT):
        await bench.lost.called.wait()
    # The other two had not been handed out: nobody needs to hear of them.
    assert bench.lost.deliveries == found
    assert await source.settle([(one, ACK) for one in found]) == [Settled.LOST] * 2
    with pytest.raises(ConnectionLost):
        await source.receive(10)
    again = await reconnected(source, 4)
    assert bodies(again) == [b"0", b"1", b"2", b"3"]
    assert await source.settle([(one, ACK) for one in found]) == [Settled.LOST] * 2
    await settle(source, again)


async def test_a_settlement_that_outlives_its_channel_never_touches_the_next_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    proxy, url = await bench.proxy()
    behind = await bench.adapter(url)
    source = await bench.source(behind, topic)
    await send(adapter, outgoing(topic))
    [one] = await take(source, 1)
    is_queue, publishing = asyncio.Event(), asyncio.Event()

    async def publish(publisher: object, letters: Sequence[object]) -> list[None]:
        publishing.set()
        await is_queue.wait()
        return [None] * len(letters)

    with monkeypatch.context() as patch:
        patch.setattr(_publisher.Publisher, "send", publish)
        settling = asyncio.create_task(source.settle([(one, RetryLater(60, outgoing(topic)))]))
        await publishing.wait()
        proxy.cut()
        [again] = await reconnected(source, 1)
        assert again.token == one.token
        is_queue.set()
        assert await settling == [Settled.LOST]
    assert await source.extend([again]) == [Settled.DONE]
    await settle(source, [again])


async def test_a_settlement_ends_when_its_channel_does(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    proxy, url = await bench.proxy()
    source = await bench.source(await bench.adapter(url), topic)
    await send(adapter, *[outgoing(topic) for _ in range(400)])
    found = await take(source, 400)
    # The first one is still being handled, so each of the others needs a frame of its own, and the client's queue fills.
    settling = asyncio.create_task(source.settle([(one, ACK) for one in found[1:]]))
    await asyncio.sleep(0)
    proxy.cut()
    async with asyncio.timeout(TIMEOUT):
        assert len(await settling) == 399


async def test_sends_during_a_cut_all_end_and_the_next_send_reconnects(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    proxy, url = await bench.proxy()
    behind = await bench.adapter(url)
    batch = [outgoing(topic, body=bytes(5000)) for _ in range(400)]
    sending = asyncio.create_task(behind.send(batch))
    await take(source, 1)
    proxy.cut()
    async with asyncio.timeout(TIMEOUT):
        results = await sending
    assert len(results) == 400
    assert all(isinstance(result, Receipt | ConnectionLost) for result in results)
    assert any(isinstance(result, ConnectionLost) for result in results)
    await send(behind, outgoing(topic))


async def test_a_send_without_confirmation_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = bench.topic()
    proxy, url = await bench.proxy()
    behind = await bench.adapter(url)
    await bench.source(await bench.adapter(), topic)
    await send(behind, outgoing(topic))
    monkeypatch.setattr(_publisher, "CONFIRM_TIMEOUT", 0.3)
    proxy.freeze()
    async with asyncio.timeout(TIMEOUT):
        [result] = await behind.send([outgoing(topic)])
    assert isinstance(result, ConnectionLost)
    assert "may or may not" in str(result)


async def test_a_deleted_queue_is_made_again(bench: Bench) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    source = await bench.source(adapter, topic, provision="all")
    receiving = asyncio.create_task(source.receive(10))
    await channel.queue_delete(f"{topic}.wallet")
    with pytest.raises(ConnectionLost, match="it is gone"):
        await asyncio.wait_for(receiving, TIMEOUT)
    assert await asyncio.wait_for(source.receive(10), TIMEOUT) == []  # the core learns that the broker is back
    receiving = asyncio.create_task(source.receive(10))
    async with asyncio.timeout(TIMEOUT):
        while not isinstance((await adapter.send([outgoing(topic)]))[0], Receipt):
            await asyncio.sleep(0.02)
    assert len(await asyncio.wait_for(receiving, TIMEOUT)) == 1


async def test_a_deleted_queue_leaves_the_deliveries_of_the_others_alone(bench: Bench) -> None:
    kept, deleted, adapter, channel = bench.topic(), bench.topic(), await bench.adapter(), await bench.raw()
    source = await bench.source(adapter, kept, deleted)
    await send(adapter, outgoing(kept), outgoing(deleted), outgoing(kept))
    taken = await take(source, 3)
    await channel.queue_delete(f"{deleted}.wallet")
    with pytest.raises(ConnectionLost, match=re.escape(f"{deleted}.wallet; it is gone")):
        await asyncio.wait_for(source.receive(10), TIMEOUT)
    assert [one.topic for one in bench.lost.deliveries] == [deleted]
    # What runs meanwhile is settled on the channel on which it came.
    expected = [Settled.LOST if one.topic == deleted else Settled.DONE for one in taken]
    assert await source.settle([(one, ACK) for one in taken]) == expected
    assert await asyncio.wait_for(source.receive(10), TIMEOUT) == []  # the core learns that the queue is back
    await send(adapter, outgoing(deleted), outgoing(kept))
    again = await take(source, 2)
    assert {(one.topic, one.count) for one in again} == {(deleted, 1), (kept, 1)}
    await settle(source, again)
    await source.close()
    for topic in (kept, deleted):
        await waiting(bench, f"{topic}.wallet", 0)


async def test_a_queue_that_may_not_be_made_again_is_waited_for_while_others_are_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_source, "_LOOK_EVERY", 0.2)
    kept, deleted, adapter, channel = bench.topic(), bench.topic(), await bench.adapter(), await bench.raw()
    await (await bench.source(adapter, kept, deleted)).close()
    source = await bench.source(adapter, kept, deleted, provision="off")
    await send(adapter, outgoing(kept))
    held = await take(source, 1)
    await channel.queue_delete(f"{deleted}.wallet")
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(source.receive(10), TIMEOUT)
    for _ in range(2):
        with pytest.raises(ConnectionLost, match=re.escape(f"{deleted}.wallet") + ".*waiting for it"):
            await asyncio.wait_for(source.receive(10), TIMEOUT)
    assert await source.settle([(one, ACK) for one in held]) == [Settled.DONE]
    await send(adapter, outgoing(kept))

    async def received() -> Sequence[Delivery]:
        while True:
            with contextlib.suppress(ConnectionLost):
                return await source.receive(10)

    assert [one.topic for one in await asyncio.wait_for(received(), TIMEOUT)] == [kept]
    queue = await channel.declare_queue(f"{deleted}.wallet", durable=True)
    assert await asyncio.wait_for(received(), TIMEOUT) == []  # the core learns that the queue is back
    await queue.bind(deleted, "#")
    await send(adapter, outgoing(deleted))
    assert len(await take(source, 1)) == 1


@pytest.mark.parametrize("provision", ["group", "check"])
@pytest.mark.parametrize("broadcast", [False, True], ids=["group", "broadcast"])
async def test_an_exchange_that_is_missing_while_the_source_reconnects_is_waited_for(
    bench: Bench, provision: str, broadcast: bool
) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    proxy, url = await bench.proxy()
    await channel.declare_exchange(topic, "topic", durable=True)
    delays = [f"{topic}.wallet.retry.{label}" for label in ("1s", "10s", "1m", "10m", "1h")]
    await adapter.ensure(delays, is_queue=True, create=True)
    settings: dict[str, Any] = {"broadcast": True, "group": None} if broadcast else {}
    if not broadcast:
        await (await bench.source(adapter, topic)).close()
    source = await bench.source(await bench.adapter(url), topic, provision=provision, **settings)
    await channel.exchange_delete(topic)
    proxy.cut()
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(source.receive(1), TIMEOUT)
    for _ in range(2):
        with pytest.raises(ConnectionLost, match=f"no exchange '{re.escape(topic)}'"):
            await asyncio.wait_for(source.receive(1), TIMEOUT)
    exchange = await channel.declare_exchange(topic, "topic", durable=True)
    assert await asyncio.wait_for(source.receive(1), TIMEOUT) == []  # the core learns that the broker is back
    if provision == "check" and not broadcast:
        queue = await channel.get_queue(f"{topic}.wallet")
        await queue.bind(topic, "#")  # whoever provisions by himself binds by himself
    await exchange.publish(aio_pika.Message(b"after"), routing_key="Paid")
    assert bodies(await take(source, 1)) == [b"after"]


async def test_an_exchange_and_a_queue_that_are_deleted_together_are_waited_for(bench: Bench) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    await channel.declare_exchange(topic, "topic", durable=True)
    source = await bench.source(adapter, topic, provision="group")
    await channel.exchange_delete(topic)
    await channel.queue_delete(f"{topic}.wallet")
    with pytest.raises(ConnectionLost, match="it is gone"):
        await asyncio.wait_for(source.receive(1), TIMEOUT)
    with pytest.raises(ConnectionLost, match=f"no exchange '{re.escape(topic)}'"):
        await asyncio.wait_for(source.receive(1), TIMEOUT)
    exchange = await channel.declare_exchange(topic, "topic", durable=True)
    assert await asyncio.wait_for(source.receive(1), TIMEOUT) == []
    await exchange.publish(aio_pika.Message(b"after"), routing_key="Paid")
    assert bodies(await take(source, 1)) == [b"after"]


async def test_an_exchange_that_is_missing_at_the_start_ends_the_source(bench: Bench) -> None:
    topic = bench.topic()
    source = await bench.source(await bench.adapter(), topic, provision="group", open=False)
    with pytest.raises(NotFound, match=f"no exchange '{re.escape(topic)}'"):
        await source.open()


async def test_a_lost_handler_that_still_runs_is_waited_for_before_reconnecting(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    proxy, url = await bench.proxy()
    behind = await bench.adapter(url)
    done = asyncio.Event()

    async def lost(deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
        await done.wait()

    source = behind.subscribe(Subscription(topics=(topic,), group="wallet", provision="all"), lost)
    await source.open()
    await send(adapter, outgoing(topic))
    await take(source, 1)
    proxy.cut()
    with pytest.raises(ConnectionLost):
        await source.receive(1)
    again = asyncio.create_task(source.receive(1))
    await waiting(bench, f"{topic}.wallet", 1)
    assert not again.done()
    done.set()
    assert await asyncio.wait_for(again, TIMEOUT) == []  # the core learns that the broker is back
    await take(source, 1)
    await source.close()


async def test_a_restarted_broker_is_found_again(bench: Bench, rabbit_broker: RabbitBroker) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    await send(adapter, outgoing(topic, body=b"before"))
    await take(source, 1)
    await asyncio.to_thread(rabbit_broker.restart)
    assert bodies(await reconnected(source, 1)) == [b"before"]
    await send(adapter, outgoing(topic, body=b"after"))
    assert bodies(await reconnected(source, 1)) == [b"after"]
