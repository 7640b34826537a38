"""Sending to SQS and receiving from it, at the seam, on ElasticMQ."""

from dataclasses import replace
from typing import Any

import pytest
from tests.adapters.sqs.seam import DONE, name, outgoing, reading, send, take

from brokerkit._errors import InvalidMessage, MessageTooLarge, NotFound
from brokerkit._messages._delivery import ACK, Delivery
from brokerkit._messages._outgoing import Receipt
from brokerkit.adapters.aws import _queues
from brokerkit.adapters.aws.sqs import SqsAdapter

WEIRD = {
    "": "",
    " ": " ",
    "data": "d",
    "key": "k",
    'quo"te': "it's",
    "ünïcode ☃": "☃ 🂡",
    "n" * 300: "long",
    "AWS.x": "y",
    "empty": "",
    "newline": "a\nb",
    "control": "\x00\x01",
    "bytes": b"\x00\xff",
}


@pytest.mark.parametrize("suffix", ["", ".fifo"])
@pytest.mark.parametrize("body", [b'{"a":1}', b"", bytes(range(256)), None, b'{"Type":"Notification","MessageId":"1"}'])
async def test_a_message_goes_through_unchanged(adapter: SqsAdapter, body: bytes | None, suffix: str) -> None:
    topic = name(suffix)
    await adapter.ensure([topic], is_queue=False, create=True)
    sent = outgoing(topic, body, key="table 7", headers=WEIRD, content_type="application/json")
    [receipt] = await adapter.send([sent])
    async with reading(adapter, topic) as source:
        [found] = await take(source, 1)
        assert isinstance(receipt, Receipt)
        assert (receipt.topic, receipt.id, receipt.position) == (topic, sent.id, found.position)
        assert (found.body, found.topic, found.key, found.id) == (body, topic, "table 7", sent.id)
        assert found.headers == WEIRD | {"content-type": "application/json"}
        assert found.count == 1
        assert found.time is not None and found.native["MessageId"] == found.position
        assert await source.settle([(found, ACK)]) == [DONE]


@pytest.mark.parametrize("suffix", ["", ".fifo"])
async def test_all_of_many_messages_arrive_with_forty_headers_each(adapter: SqsAdapter, suffix: str) -> None:
    topic = name(suffix)
    await adapter.ensure([topic], is_queue=False, create=True)
    headers: dict[str, str | bytes] = {f"h{n}": str(n) for n in range(40)}
    batch = [outgoing(topic, str(n).encode(), key=str(n % 7), headers=headers) for n in range(100)]
    await send(adapter, *batch)
    async with reading(adapter, topic) as source:
        found: list[Delivery] = []
        while len(found) < 100:
            some = await take(source, 1)
            found += some
            await source.settle([(delivery, ACK) for delivery in some])
        assert {delivery.body for delivery in found} == {message.body for message in batch}
        assert all(delivery.headers == headers for delivery in found)
        if suffix:
            for key in range(7):
                order = [int(delivery.body or b"") for delivery in found if delivery.key == str(key)]
                assert order == sorted(order)


@pytest.mark.parametrize("suffix", ["", ".fifo"])
async def test_a_plain_clients_message_needs_no_header_of_ours(adapter: SqsAdapter, plain: Any, suffix: str) -> None:
    topic = name(suffix)
    async with reading(adapter, topic) as source:
        url = (await plain.get_queue_url(QueueName=topic))["QueueUrl"]
        fifo = {"MessageGroupId": "g", "MessageDeduplicationId": "d"} if suffix else {}
        attributes = {
            "event": {"DataType": "String", "StringValue": "OnGameDone"},
            "n": {"DataType": "Number", "StringValue": "7"},
        }
        await plain.send_message(QueueUrl=url, MessageBody="{}", MessageAttributes=attributes, **fifo)
        [found] = await take(source, 1)
        assert (found.body, found.key, found.id) == (b"{}", "g" if suffix else None, None)
        assert found.headers == {"event": "OnGameDone", "n": "7"}
        assert found.stable_id == f"{topic}/{found.native['MessageId']}"


async def test_the_event_name_is_an_attribute_that_others_see(adapter: SqsAdapter, plain: Any) -> None:
    topic = name()
    await adapter.ensure([topic], is_queue=False, create=True)
    await send(adapter, outgoing(topic, headers={"event": "OnGameDone"}))
    url = (await plain.get_queue_url(QueueName=topic))["QueueUrl"]
    answer = await plain.receive_message(QueueUrl=url, MessageAttributeNames=["All"])
    assert answer["Messages"][0]["MessageAttributes"]["event"]["StringValue"] == "OnGameDone"


async def test_a_queue_is_found_by_its_url_and_its_arn(adapter: SqsAdapter, plain: Any) -> None:
    topic = name()
    url = (await plain.create_queue(QueueName=topic))["QueueUrl"]
    await send(adapter, outgoing(url))
    await adapter.ensure([url, f"arn:aws:sqs:us-east-1:000000000000:{topic}"], is_queue=False, create=False)
    async with reading(adapter, url, provision="check") as source:
        [found] = await take(source, 1)
        assert found.topic == url


async def test_a_fifo_id_sent_twice_arrives_once(adapter: SqsAdapter) -> None:
    topic = name(".fifo")
    async with reading(adapter, topic) as source:
        twice = outgoing(topic, key="k", id="same id")
        await send(adapter, twice, twice, outgoing(topic, key="k", body=b"last"))
        assert [found.body for found in await take(source, 2)] == [twice.body, b"last"]


# aiohttp warns of every request above 1 MiB, and has no other way to take one.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_the_largest_message_passes_and_one_byte_more_is_refused_with_both_numbers(adapter: SqsAdapter) -> None:
    topic = name()
    limit = _queues.MAX_BYTES
    overhead = len("bk-id") + len("String") + len("id-1")
    await adapter.ensure([topic], is_queue=False, create=True)
    largest = outgoing(topic, b"x" * (limit - overhead), id="id-1")
    small = outgoing(topic)
    too_large = replace(largest, body=b"x" * (limit - overhead + 1))
    results = await adapter.send([small, too_large, largest, small])
    assert [type(result) for result in results] == [Receipt, MessageTooLarge, Receipt, Receipt]
    error = results[1]
    assert isinstance(error, MessageTooLarge)
    assert (error.size, error.limit) == (limit + 1, limit)


async def test_an_invalid_header_fails_alone(adapter: SqsAdapter) -> None:
    topic = name()
    await adapter.ensure([topic], is_queue=False, create=True)
    results = await adapter.send([outgoing(topic, headers={"a": "\ud800"}), outgoing(topic)])
    assert [type(result) for result in results] == [InvalidMessage, Receipt]


async def test_sending_to_a_missing_queue_is_not_found_until_it_is_there(adapter: SqsAdapter) -> None:
    topic = name()
    [result] = await adapter.send([outgoing(topic)])
    assert isinstance(result, NotFound)
    await adapter.ensure([topic], is_queue=True, create=True)
    await send(adapter, outgoing(topic))


async def test_sending_to_a_queue_that_was_deleted_is_not_found(adapter: SqsAdapter, plain: Any) -> None:
    topic = name()
    url = (await plain.create_queue(QueueName=topic))["QueueUrl"]
    await send(adapter, outgoing(topic))
    await plain.delete_queue(QueueUrl=url)
    [result] = await adapter.send([outgoing(topic)])
    assert isinstance(result, NotFound)


@pytest.mark.parametrize("suffix", ["", ".fifo"])
async def test_a_batch_is_cut_by_its_total_size(adapter: SqsAdapter, suffix: str) -> None:
    topic, sizes = name(suffix), list[int]()
    await adapter.ensure([topic], is_queue=False, create=True)
    call = adapter._client.call

    async def watched(operation: str, /, **parameters: Any) -> Any:
        if operation == "send_message_batch":
            sizes.append(sum(len(entry["MessageBody"]) for entry in parameters["Entries"]))
        return await call(operation, **parameters)

    adapter._client.call = watched  # type: ignore[method-assign]
    await send(adapter, *(outgoing(topic, b"x" * 300_000, key=f"{number}") for number in range(7)))
    assert sorted(sizes) == [300_000, 900_000, 900_000]
    async with reading(adapter, topic) as source:
        assert len(await take(source, 7)) == 7
