"""B: payload and headers."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import pytest

from brokerkit._errors import InvalidMessage, MessageTooLarge
from brokerkit._messages._headers import as_text
from brokerkit._messages._message import Message
from brokerkit._messages._outgoing import Receipt
from brokerkit.testing.conformance._cases import section
from brokerkit.testing.conformance._harness import Harness
from brokerkit.testing.conformance._tools import NAME, TRACEPARENT, Recorder, accepted, numbered

case = section("Payload and headers")

WEIRD: dict[str, str | bytes] = {
    "empty": "",
    " spaces ": " both sides ",
    "quo\"te's": '\\"',
    "ünïcödé ☃": "\U0001f0cf",
    "long": "v" * 300,
    "n" * 100: "a long name",
    "UPPER-lower_1.2": "AbC",
    "key": "not the key",
    "id": "not the id",
    "data": "not the body",
    "Content-Length": "5",
    "line\nbreak": "\r\n",
    "semi;colon:=": "a=b; c",
    "binary": b"\xff\xfe\x00",
}
"""Names and values that some broker or client library has trouble with."""


@case(11)
async def any_bytes(h: Harness) -> None:
    """A body may be empty, hold every byte value, or be large and random."""
    await _bodies_arrive(h, [b"", bytes(range(256)), random.Random(11).randbytes(16_384)])


@case(12)
async def looks_like_an_envelope(h: Harness) -> None:
    """A body that looks like an envelope, such as that of SNS, is delivered unchanged."""
    envelope = {"Type": "Notification", "MessageId": "1", "TopicArn": "arn:aws:sns:x:1:t", "Message": '{"n": 1}'}
    values: list[object] = [{"a": [1, 2.5, None]}, envelope, {"body": "x", "headers": {}}, [1], "text", 5]
    await _bodies_arrive(h, [json.dumps(value).encode() for value in values])


async def _bodies_arrive(h: Harness, bodies: list[bytes]) -> None:
    async with h.adapter() as adapter, h.reading(lease=30.0) as reader:
        accepted(await adapter.send([h.outgoing(number, body=body) for number, body in enumerate(bodies)]))
        got = await reader.receive(len(bodies))
        await reader.ack(*got)
    arrived = {delivery.id: delivery.body for delivery in got}
    assert arrived == {f"id-{number}": body for number, body in enumerate(bodies)}


@case(13)
async def odd_headers(h: Harness) -> None:
    """Unusual names and values of headers arrive unchanged."""
    await _headers_arrive(h, WEIRD)


@case(14)
async def many_headers(h: Harness) -> None:
    """A message can have thirty-two headers, whatever the broker's own limit is."""
    await _headers_arrive(h, {f"header-{number}": str(number) for number in range(32)})


async def _headers_arrive(h: Harness, headers: Mapping[str, str | bytes]) -> None:
    async with h.adapter() as adapter, h.reading(lease=30.0) as reader:
        accepted(await adapter.send([h.outgoing(headers={"event": NAME, **headers})]))
        [delivery] = await reader.receive(1)
        await reader.ack(delivery)
    arrived = {name: as_text(value) for name, value in delivery.headers.items()}
    assert {name: arrived.get(name) for name in headers} == headers


@case(15)
async def impossible_headers(h: Harness) -> None:
    """A header that is not text is refused before anything is sent."""
    recorder = Recorder()
    impossible: list[dict[Any, Any]] = [{"lone": "\ud800"}, {"\udfff": "x"}, {"number": 5}]
    async with recorder.serving(h.bus()) as bus:
        for headers in impossible:
            with pytest.raises(InvalidMessage):
                await bus.publish(Message(NAME, b'{"n": -1}', headers=headers))
        await bus.publish(numbered(1))
        await recorder.wait(1)
    assert recorder.numbers == [1]


@case(16)
async def size_limit(h: Harness) -> None:
    """A message of exactly the largest size is accepted; one byte more is refused with both sizes."""
    h.tried(h.largest, "a size that the broker refuses")
    largest = h.largest or 0
    async with h.adapter() as adapter, h.reading(lease=30.0) as reader:
        [refused] = await adapter.send([h.outgoing(body=b"x" * largest)])
        assert isinstance(refused, MessageTooLarge), refused
        assert refused.limit is not None
        room = largest - (refused.size - refused.limit)
        fits, more = await adapter.send([h.outgoing(1, body=b"x" * room), h.outgoing(2, body=b"x" * (room + 1))])
        assert isinstance(fits, Receipt), fits
        assert isinstance(more, MessageTooLarge), more
        assert more.limit is not None
        assert more.size == more.limit + 1
        assert f"{more.size:,}" in str(more)
        assert f"{more.limit:,}" in str(more)
        [delivery] = await reader.receive(1)
        await reader.ack(delivery)
    assert delivery.body == b"x" * room


@case(17)
async def nothing_leaks(h: Harness) -> None:
    """Neither the handler nor what it publishes gets brokerkit's own headers."""
    recorder = Recorder()
    async with recorder.serving(h.bus()) as bus:
        await bus.publish(numbered(1, key="k", headers={"mine": "1"}))
        await recorder.wait(1)
        await bus.publish(recorder.messages[0], id="again")
        await recorder.wait(2)
        first, second = recorder.messages
        assert first.headers == second.headers
        assert not [name for name in second.headers if name.startswith("bk-")]
        assert (second.key, second.body) == (first.key, first.body)


@case(18)
async def plain_client(h: Harness) -> None:
    """A message of a client without brokerkit reaches the handler of its name."""
    recorder = Recorder()
    name = h.topic() if h.plain_rule == "topic" else "PlainEvent"
    body = {"n": 18} | ({h.plain_rule.partition(":")[2]: name} if h.plain_rule.startswith("field:") else {})
    # Where the name has a header, the trace of a program with tracing has one too.
    traced = {"traceparent": TRACEPARENT} if h.plain_rule.startswith("header:") else {}
    await h.create_topic(h.topic())
    async with recorder.serving(h.bus(name_from=h.plain_rule)):
        await h.plain_publish(h.topic(), json.dumps(body).encode(), name=name, headers=traced)
        await recorder.wait(1)
    [message] = recorder.messages
    assert message.name == name
    assert json.loads(message.body or b"") == body
    assert traced.items() <= message.headers.items()
