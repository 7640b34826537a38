"""Reading AMQP frames whose values cannot all be decoded, without a broker."""

from __future__ import annotations

import asyncio
import struct
from datetime import UTC, datetime
from typing import Any

import aiormq
import pamqp.frame
import pytest
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import InvalidFrameError
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from tests.adapters.raw_amqp import (
    CONTENT_TYPE,
    CORRELATION_ID,
    HEADERS,
    MESSAGE_ID,
    TIMESTAMP,
    field,
    header,
    long_text,
    short,
    table,
)

from brokerkit._errors import DecodeError
from brokerkit._messages._delivery import State
from brokerkit.adapters.rabbitmq import _frames
from brokerkit.adapters.rabbitmq._frames import (
    RAW_HEADER,
    RAW_METHOD,
    DamagedHeader,
    TolerantFrames,
    salvage_header,
    salvage_method,
)
from brokerkit.adapters.rabbitmq._wire import read_message

EVENT = field(b"event", b"S", long_text(b"Paid"))
MICROSECONDS = struct.pack(">Q", 1_772_000_000_000_000)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SCALARS = (
    TEXT
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.binary(max_size=20).map(bytearray)
    | st.floats(allow_nan=False, width=32)
    | st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda t: t.replace(microsecond=0, tzinfo=UTC))
    | st.none()
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))


def frame(kind: int, payload: bytes, channel: int = 1, end: bytes = b"\xce") -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


async def read(*frames: bytes) -> list[Any]:
    reader = asyncio.StreamReader()
    reader.feed_data(b"".join(frames))
    reader.feed_eof()
    return [found async for _, _, found in TolerantFrames(reader)]


def deliver(routing_key: bytes) -> bytes:
    """The payload of a Basic.Deliver."""
    tag = short(b"tag") + struct.pack(">Q", 7) + b"\1"
    return struct.pack(">I", Basic.Deliver.index) + tag + short(b"orders") + short(routing_key)


def test_the_client_library_still_reads_frames_where_ours_steps_in() -> None:
    assert hasattr(aiormq.Connection, _frames._READER)


@given(headers=st.dictionaries(TEXT, VALUES, max_size=8), text=TEXT.filter(bool), priority=st.integers(0, 9))
def test_what_can_be_decoded_is_read_as_the_client_library_reads_it(
    headers: dict[str, Any], text: str, priority: int
) -> None:
    properties = Basic.Properties(
        headers=headers,
        content_type=text,
        message_id=text,
        priority=priority,
        timestamp=datetime(2026, 1, 2, tzinfo=UTC),
    )
    payload = ContentHeader(body_size=3, properties=properties).marshal()
    expected = ContentHeader()
    expected.unmarshal(payload)
    found, problem = salvage_header(payload)
    assert (found.body_size, found.properties, problem) == (3, expected.properties, "")


@given(
    payload=st.binary(min_size=14, max_size=200) | st.binary(max_size=150).map(lambda tail: header(b"x", 0xFFFE, tail))
)
def test_no_content_header_whatsoever_raises(payload: bytes) -> None:
    found, _ = salvage_header(payload)
    assert found.body_size == int.from_bytes(payload[4:12], "big")


@given(payload=st.binary(max_size=60))
def test_a_method_that_is_no_method_raises_what_the_reader_expects(payload: bytes) -> None:
    try:
        salvage_method(struct.pack(">I", Basic.Deliver.index) + payload)
    except (ValueError, KeyError, IndexError, struct.error):
        pass


@pytest.mark.parametrize(
    ("flags", "properties", "problem", "headers"),
    [
        (HEADERS | TIMESTAMP, [table(EVENT), MICROSECONDS], "property timestamp", {"event": "Paid"}),
        (HEADERS | TIMESTAMP, [table(EVENT), b"\xff" * 8], "property timestamp", {"event": "Paid"}),
        (
            HEADERS,
            [table(EVENT, field(b"sent", b"T", MICROSECONDS), field(b"n", b"b", b"\5"))],
            "header 'sent'",
            {"event": "Paid", "n": 5},
        ),
        (
            HEADERS,
            [table(field(b"caf\xe9", b"S", long_text(b"1")), EVENT)],
            "a header name is not UTF-8",
            {"caf\\xe9": "1", "event": "Paid"},
        ),
        (
            HEADERS,
            [table(EVENT, field(b"t", b"F", table(field(b"\xff", b"T", MICROSECONDS), EVENT)))],
            "header '\\\\xff'",
            {"event": "Paid", "t": {"event": "Paid"}},
        ),
        (HEADERS, [table(EVENT, field(b"z", b"Z", b"??"), EVENT)], "type b'Z'", {"event": "Paid"}),
        (
            HEADERS,
            [table(EVENT, field(b"a", b"A", table(b"T" + MICROSECONDS, b"t\1")))],
            "an item",
            {"event": "Paid", "a": [True]},
        ),
    ],
)
async def test_what_cannot_be_decoded_is_left_out_and_kept_raw(
    flags: int, properties: list[bytes], problem: str, headers: dict[str, Any]
) -> None:
    payload = header(b"body", flags, *properties)
    [found] = await read(frame(2, payload))
    assert isinstance(found, DamagedHeader)
    assert found.body_size == 4
    assert found.properties.headers == headers
    assert problem in found.problem
    assert found.raw == {RAW_HEADER: payload}


@pytest.mark.parametrize(
    ("written", "means"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (240_000_000, datetime(1977, 8, 9, 18, 40, tzinfo=UTC)),
        (2**32 - 1, datetime(2106, 2, 7, 6, 28, 15, tzinfo=UTC)),
        (2**32, datetime(2106, 2, 7, 6, 28, 16, tzinfo=UTC)),
        (253_402_300_799, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (253_402_300_800, datetime(1978, 1, 11, 21, 31, 40, 800_000, tzinfo=UTC)),
        (1_772_000_000_123, datetime(2026, 2, 25, 6, 13, 20, 123_000, tzinfo=UTC)),
    ],
)
async def test_times_are_seconds_unless_no_date_has_so_many(written: int, means: datetime) -> None:
    """The codec takes everything from 2106 on for milliseconds, so that "until 9999" was over in 1978."""
    raw = struct.pack(">Q", written)
    [in_headers] = await read(frame(2, header(b"", HEADERS, table(EVENT, field(b"until", b"T", raw)))))
    nested = field(b"more", b"F", table(field(b"all", b"A", table(b"T" + raw))))
    [sent] = await read(frame(2, header(b"", HEADERS | TIMESTAMP, table(nested), raw)))
    assert in_headers.properties.headers == {"event": "Paid", "until": means}
    assert sent.properties.headers == {"more": {"all": [means]}}
    assert sent.properties.timestamp == means
    assert not isinstance(sent, DamagedHeader)


async def test_properties_behind_a_damaged_one_are_read() -> None:
    properties = short(b"text/\xe9"), table(EVENT), short(b"caf\xe9"), short(b"m1"), struct.pack(">Q", 1_772_000_000)
    payload = header(b"", CONTENT_TYPE | HEADERS | CORRELATION_ID | MESSAGE_ID | TIMESTAMP, *properties)
    [found] = await read(frame(2, payload))
    read_properties = found.properties
    assert (read_properties.content_type, read_properties.message_id) == ("text/\\xe9", "m1")
    assert read_properties.timestamp == datetime.fromtimestamp(1_772_000_000, UTC)
    assert "content_type" in found.problem
    assert "correlation_id" in found.problem


async def test_a_table_nested_without_end_costs_neither_the_stack_nor_the_connection() -> None:
    nested = EVENT
    for _ in range(1500):
        nested = field(b"d", b"F", table(nested))
    [found] = await read(frame(2, header(b"", HEADERS, table(EVENT, nested))))
    assert found.properties.headers["event"] == "Paid"
    assert "nested deeper" in found.problem


async def test_a_routing_key_that_is_no_text_damages_its_own_message_alone() -> None:
    plain = ContentHeader(body_size=1, properties=Basic.Properties(message_id="m1")).marshal()
    frames = [
        frame(1, deliver(b"caf\xe9")),
        frame(1, deliver(b"ok"), channel=2),
        frame(2, plain, channel=2),
        frame(2, plain),
    ]
    bad, good, good_header, bad_header = await read(*frames)
    assert (bad.routing_key, bad.exchange, bad.delivery_tag, bad.redelivered) == ("caf\\xe9", "orders", 7, True)
    assert good.routing_key == "ok"
    assert type(good_header) is ContentHeader
    assert isinstance(bad_header, DamagedHeader)
    assert bad_header.raw == {RAW_METHOD: deliver(b"caf\xe9"), RAW_HEADER: plain}
    assert bad_header.properties.message_id == "m1"
    message = DeliveredMessage(delivery=bad, header=bad_header, body=b"x", channel=None)  # type: ignore[arg-type]
    one = read_message(message, "orders")
    assert (one.state, one.body, one.id, one.token) == (State.UNREADABLE, b"x", "m1", 7)
    assert isinstance(one.parsed, DecodeError)
    assert "routing_key is not UTF-8" in str(one.parsed)


@pytest.mark.parametrize(
    "wrong",
    [
        frame(2, b"\0" * 5),
        frame(2, header(b"", TIMESTAMP, MICROSECONDS), end=b"\0"),
        frame(1, b"\0\xff\0\xff"),
        frame(1, deliver(b"caf\xe9")[:20]),
        frame(9, b"x"),
    ],
)
async def test_what_is_no_frame_ends_the_connection(wrong: bytes) -> None:
    with pytest.raises(InvalidFrameError):
        await read(wrong)


async def test_good_frames_come_as_from_the_client_library() -> None:
    plain = ContentHeader(body_size=1, properties=Basic.Properties(headers={"a": 1})).marshal()
    frames = [frame(1, deliver(b"k")), frame(2, plain), frame(3, b"x"), frame(8, b"", channel=0)]
    found = await read(*frames)
    expected = [pamqp.frame.unmarshal(one)[2] for one in frames]
    assert [type(one) for one in found] == [type(one) for one in expected]
    assert found[1].properties == expected[1].properties  # type: ignore[union-attr]
