"""What RabbitMQ's messages carry, and the results of a send that are errors, at the seam, on a real broker."""

from __future__ import annotations

import asyncio
import time

import aio_pika
import pytest
from tests.adapters.rabbitmq.seam import Bench, bodies, outgoing, send, take
from tests.brokers.rabbitmq import LARGEST_MESSAGE

from brokerkit._errors import Closed, InvalidMessage, MessageTooLarge, NotFound, Unroutable
from brokerkit._messages._outgoing import Receipt
from brokerkit.adapters.rabbitmq import _publisher

# Messages


async def test_a_message_arrives_unchanged(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    headers = {f"h{i}": str(i) for i in range(32)} | {
        "": "empty name",
        "data": "",
        "ünï 'q\" ": b"\xff",
        "n" * 300: "long",
    }
    message = outgoing(
        topic,
        body=bytes(range(256)),
        key="k",
        headers=headers,
        routing_key="poker.done",
        type="T",
        content_type="text/x",
    )
    before = int(time.time())
    receipts = await adapter.send([message])
    assert receipts == [Receipt(topic, message.id)]
    [one] = await take(source, 1)
    assert (one.body, one.topic, one.key, one.id) == (message.body, topic, "k", message.id)
    assert (one.routing_key, one.type, one.count) == ("poker.done", "T", 1)
    assert {n: v for n, v in one.headers.items() if not n.startswith("bk-")} == headers | {"content-type": "text/x"}
    assert one.time is not None
    assert before <= one.time <= time.time()
    assert aio_pika.IncomingMessage(one.native).body == message.body


@pytest.mark.parametrize("body", [b"", None, b"\0", bytes(300_000)])
async def test_any_body_arrives(bench: Bench, body: bytes | None) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    await send(adapter, outgoing(topic, body=body))
    assert bodies(await take(source, 1)) == [body]


async def test_a_plain_clients_message_arrives(bench: Bench) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    source = await bench.source(adapter, topic)
    exchange = await channel.get_exchange(topic, ensure=False)
    await exchange.publish(aio_pika.Message(b"plain", headers={"n": 5, "t": {"a": [1]}}), routing_key="OnGameDone")
    [one] = await take(source, 1)
    assert (one.body, one.routing_key, one.key, one.type) == (b"plain", "OnGameDone", None, None)
    assert one.headers == {"n": "5", "t": '{"a": [1]}'}


async def test_a_plain_client_can_read_what_was_sent(bench: Bench) -> None:
    topic, adapter, channel = bench.topic(), await bench.adapter(), await bench.raw()
    await adapter.ensure([topic], is_queue=False, create=True)
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(topic, "Paid")
    await send(adapter, outgoing(topic, id="m1", type="T", content_type="application/json", headers={"h": "v"}))
    message = await queue.get()
    assert message.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
    assert (message.message_id, message.type, message.content_type) == ("m1", "T", "application/json")
    assert (message.routing_key, message.headers) == ("Paid", {"h": "v"})


async def test_headers_that_the_broker_reads_itself_arrive_and_neither_route_nor_close_the_channel(
    bench: Bench,
) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    exchange = await (await bench.raw()).get_exchange(topic, ensure=False)
    # What RabbitMQ's own clients send; brokerkit's copies of it are written below.
    await exchange.publish(aio_pika.Message(b"theirs", headers={"CC": ["elsewhere"]}), routing_key="Paid")
    [theirs] = await take(source, 1)
    for headers in ({"CC": "elsewhere"}, {"BCC": b"\xff", "h": "v"}, theirs.headers):
        await send(adapter, outgoing(topic, headers=headers))
        [one] = await take(source, 1)
        assert one.headers == headers
    assert theirs.headers == {"CC": '["elsewhere"]'}


async def test_a_batch_keeps_its_order(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    expected = [str(i).encode() for i in range(500)]
    await send(adapter, *[outgoing(topic, body=body) for body in expected])
    assert bodies(await take(source, 500)) == expected


async def test_two_sends_of_one_id_never_mix_up_their_results(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    channel = await bench.raw()
    await adapter.ensure([topic], is_queue=False, create=True)
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(topic, "bound")
    good, bad = outgoing(topic, id="same", name="bound"), outgoing(topic, id="same", name="unbound")
    both = await asyncio.gather(adapter.send([good, bad, good]), adapter.send([bad, good]))
    assert [[type(result) for result in results] for results in both] == [
        [Receipt, Unroutable, Receipt],
        [Unroutable, Receipt],
    ]


# Results that are errors


async def test_a_missing_topic_harms_no_other_message(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    await bench.source(adapter, topic)
    results = await adapter.send(
        [outgoing(topic), outgoing("no.such.exchange"), outgoing("no.queue", is_queue=True), outgoing(topic)]
    )
    assert [type(result) for result in results] == [Receipt, NotFound, NotFound, Receipt]
    # And the same again: a refused channel is replaced.
    assert isinstance((await adapter.send([outgoing("no.such.exchange")]))[0], NotFound)


async def test_a_topic_without_any_group_is_unroutable(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    await adapter.ensure([topic], is_queue=False, create=True)
    [result] = await adapter.send([outgoing(topic)])
    assert isinstance(result, Unroutable)


async def test_what_the_wire_cannot_hold_is_refused_alone(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    results = await adapter.send(
        [
            outgoing(topic, body=b"1"),
            outgoing(topic, headers={"h": "\ud800"}),
            outgoing(topic, headers={"h": 5}),
            outgoing(topic, name="\ud800"),
            outgoing(topic, headers={"h": "\ud800" * 50_000}),
            outgoing(topic, body=b"2"),
        ]
    )
    assert [type(result) for result in results] == [Receipt, *[InvalidMessage] * 4, Receipt]
    assert bodies(await take(source, 2)) == [b"1", b"2"]


async def test_headers_larger_than_a_frame_are_refused_before_they_cost_the_connection(bench: Bench) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    source = await bench.source(adapter, topic)
    fits, not_quite = {"h": "v" * 130_000}, {"h": "v" * 131_072}
    ok, refused = await adapter.send([outgoing(topic, headers=fits), outgoing(topic, headers=not_quite)])
    assert isinstance(ok, Receipt)
    assert isinstance(refused, MessageTooLarge)
    assert (refused.limit, refused.size > 131_072) == (131_072, True)
    assert len((await take(source, 1))[0].headers["h"]) == 130_000


async def test_the_brokers_limit_is_learnt_from_its_first_refusal(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, adapter = bench.topic(), await bench.adapter()
    await bench.source(adapter, topic, max_in_flight=1)
    too_large = outgoing(topic, body=bytes(LARGEST_MESSAGE + 1))
    [result] = await adapter.send([too_large])
    assert isinstance(result, MessageTooLarge)
    assert (result.size, result.limit) == (LARGEST_MESSAGE + 1, LARGEST_MESSAGE)
    sent: list[object] = []
    monkeypatch.setattr(_publisher.Batch, "add", lambda *given: sent.append(given))
    assert isinstance((await adapter.send([too_large]))[0], MessageTooLarge)
    assert not sent


async def test_sending_after_close_says_so(bench: Bench) -> None:
    adapter = await bench.adapter()
    await adapter.close()
    await adapter.close()
    assert [type(result) for result in await adapter.send([outgoing("x")])] == [Closed]
