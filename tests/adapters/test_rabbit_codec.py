"""What the adapter decodes and encodes itself is what the client library makes of it."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from tests.adapters.raw_amqp import header
from tests.adapters.test_rabbit_frames import TEXT, VALUES

from brokerkit.adapters.rabbitmq._codec import (
    DELIVER,
    decode_deliver,
    decode_header,
    encode_body,
    encode_header,
    encode_publish,
)

USUAL = TEXT | st.binary(max_size=20).map(bytearray) | st.integers(2**40, 2**63 - 1)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2110, 1, 1)).map(lambda each: each.replace(tzinfo=UTC))
PROPERTIES = st.builds(
    Basic.Properties,
    content_type=st.none() | TEXT,
    content_encoding=st.none() | TEXT,
    headers=st.none() | st.dictionaries(TEXT, USUAL, max_size=6) | st.dictionaries(TEXT, VALUES, max_size=4),
    delivery_mode=st.sampled_from([None, 1, 2]),
    priority=st.none() | st.integers(0, 255),
    correlation_id=st.none() | TEXT,
    reply_to=st.none() | TEXT,
    expiration=st.none() | TEXT,
    message_id=st.none() | TEXT,
    timestamp=st.none() | TIMES,
    message_type=st.none() | TEXT,
    user_id=st.none() | TEXT,
    app_id=st.none() | TEXT,
)


def by_the_client(kind: int, payload: bytes) -> Any:
    """The frame, or None where the client library cannot decode it."""
    try:
        return pamqp.frame.unmarshal(struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce")[2]
    except Exception:  # it raises anything
        return None


def same_header(found: ContentHeader, expected: Any) -> bool:
    head = (found.class_id, found.weight, found.body_size)
    return head == (expected.class_id, expected.weight, expected.body_size) and same(
        found.properties, expected.properties
    )


def same(found: Any, expected: Any) -> bool:
    """Equal values of equal types, in equal order."""
    return [(name, repr(value)) for name, value in found] == [(name, repr(value)) for name, value in expected]


@given(properties=PROPERTIES, size=st.integers(0, 2**40))
def test_a_header_is_decoded_as_the_client_library_decodes_it(properties: Basic.Properties, size: int) -> None:
    payload = ContentHeader(body_size=size, properties=properties).marshal()
    if (found := decode_header(payload)) is not None:
        assert same_header(found, by_the_client(2, payload))


@given(headers=st.dictionaries(TEXT, USUAL, max_size=6), text=TEXT, time=TIMES.filter(lambda time: time.year < 2100))
def test_an_usual_header_is_decoded_here(headers: dict[str, Any], text: str, time: datetime) -> None:
    properties = Basic.Properties(
        headers=headers, message_id=text, content_type=text, timestamp=time, delivery_mode=2, priority=3
    )
    assert decode_header(ContentHeader(body_size=3, properties=properties).marshal()) is not None


@given(
    payload=st.binary(max_size=80)
    | st.binary(max_size=60).map(lambda tail: header(b"x", 0xE0D0, tail))
    | st.binary(max_size=60).map(lambda tail: header(b"x", 0x2000, tail))
)
def test_nothing_is_made_of_a_header_that_the_client_library_cannot_decode(payload: bytes) -> None:
    if (found := decode_header(payload)) is not None:
        assert same_header(found, by_the_client(2, payload))


@given(
    properties=PROPERTIES,
    cut=st.integers(0, 200),
    flipped=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3),
)
def test_nothing_is_made_of_a_damaged_header(
    properties: Basic.Properties, cut: int, flipped: list[tuple[int, int]]
) -> None:
    damaged = bytearray(ContentHeader(body_size=9, properties=properties).marshal())
    for at, value in flipped:
        damaged[at % len(damaged)] = value
    for payload in (bytes(damaged), bytes(damaged[:cut])):
        if (found := decode_header(payload)) is not None:
            assert same_header(found, by_the_client(2, payload))


@given(
    tag=TEXT,
    number=st.integers(0, 2**63 - 1),
    again=st.booleans(),
    key=TEXT,
    exchange=st.from_regex("[a-z.]{0,9}", fullmatch=True),
)
def test_a_delivery_is_decoded_as_the_client_library_decodes_it(
    tag: str, number: int, again: bool, key: str, exchange: str
) -> None:
    delivery = Basic.Deliver(tag, number, again, exchange, key)
    payload = DELIVER + delivery.marshal()
    found = decode_deliver(payload)
    assert found is not None and same(found, by_the_client(1, payload))


@given(payload=st.binary(max_size=60))
def test_nothing_is_made_of_a_delivery_that_the_client_library_cannot_decode(payload: bytes) -> None:
    if (found := decode_deliver(DELIVER + payload)) is not None:
        assert same(found, by_the_client(1, DELIVER + payload))


@given(properties=PROPERTIES, size=st.integers(0, 2**40), channel=st.integers(1, 2047))
def test_a_header_is_encoded_as_the_client_library_encodes_it(
    properties: Basic.Properties, size: int, channel: int
) -> None:
    try:
        expected = pamqp.frame.marshal(ContentHeader(properties=properties, body_size=size), channel)
    except (TypeError, ValueError) as error:
        with pytest.raises(type(error)):
            encode_header(channel, properties, size)
    else:
        assert encode_header(channel, properties, size) == expected


@pytest.mark.parametrize("text", ["é" * 128, "\ud800"])
def test_what_amqp_cannot_carry_is_refused_as_by_the_client_library(text: str) -> None:
    for properties in (Basic.Properties(message_id=text), Basic.Properties(headers={"\ud800": text})):
        with pytest.raises((TypeError, ValueError)):
            encode_header(1, properties, 0)


def test_a_publish_is_encoded_as_the_client_library_encodes_it() -> None:
    frame = Basic.Publish(exchange="orders", routing_key="Paid", mandatory=True)
    assert encode_publish(3, "orders", "Paid") == pamqp.frame.marshal(frame, 3)
    with pytest.raises(ValueError, match="exchange"):
        encode_publish(3, "not*allowed", "Paid")


@pytest.mark.parametrize(("size", "limit", "frames"), [(0, 10, 0), (10, 10, 1), (11, 10, 2), (30, 10, 3), (30, -8, 1)])
def test_a_body_is_cut_into_frames(size: int, limit: int, frames: int) -> None:
    body = bytes(range(size))
    parts = [body[at : at + limit] for at in range(0, size, limit)] if limit > 0 else [body]
    expected = [pamqp.frame.marshal(ContentBody(part), 2) for part in parts if part]
    assert len(expected) == frames
    assert b"".join(encode_body(2, body, limit)) == b"".join(expected)
