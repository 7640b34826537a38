"""How deliveries are put together, and how messages are written with their confirmations, without a broker."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pamqp.frame
import pytest
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import AMQPConnectionError, ChannelInvalidStateError, InvalidFrameError
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from brokerkit.adapters.rabbitmq._confirmations import Batch
from brokerkit.adapters.rabbitmq._frames import TolerantFrames


def content(number: int, body: bytes, *, tag: str = "ours", channel: int = 1, size: int = 4) -> list[bytes]:
    """The frames of a delivery, with a body in parts of ``size`` bytes."""
    frames: list[Any] = [Basic.Deliver(tag, number, False, "orders", "Paid"), ContentHeader(body_size=len(body))]
    frames += [ContentBody(body[at : at + size]) for at in range(0, len(body), size)]
    return [pamqp.frame.marshal(frame, channel) for frame in frames]


def channel(number: int = 1, *, closed: bool = False) -> Channel:
    return cast("Channel", SimpleNamespace(number=number, is_closed=closed))


async def read(stream: bytes, *chunks: int, **consumers: Channel) -> tuple[list[Any], list[DeliveredMessage]]:
    """What the client library sees, and what is handed over, when the bytes come in chunks of these sizes."""
    reader = asyncio.StreamReader()
    frames, arrived = TolerantFrames(reader), list[DeliveredMessage]()
    for tag, each in consumers.items():
        frames.deliveries.add(each, tag, arrived.append)

    async def feed() -> None:
        rest = stream
        for size in chunks:
            reader.feed_data(rest[:size])
            rest = rest[size:]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        reader.feed_data(rest)
        reader.feed_eof()

    feeding = asyncio.ensure_future(feed())
    seen = list[Any]()
    with suppress(AMQPConnectionError):  # the end came while the next frame was awaited
        async for _, _, frame in frames:
            seen.append(frame)
    await feeding
    return seen, arrived


@settings(max_examples=50)
@given(
    bodies=st.lists(st.binary(max_size=12), min_size=1, max_size=4),
    chunks=st.lists(st.integers(1, 40), max_size=8),
)
async def test_each_message_is_handed_over_once_and_in_order(bodies: list[bytes], chunks: list[int]) -> None:
    stream = b"".join(frame for number, body in enumerate(bodies, 1) for frame in content(number, body))
    seen, arrived = await read(stream, *chunks, ours=channel())
    assert [(one.delivery_tag, one.body, one.routing_key) for one in arrived] == [
        (number, body, "Paid") for number, body in enumerate(bodies, 1)
    ]
    # The client library takes the connection for dead if it sees nothing.
    assert seen and all(isinstance(frame, Heartbeat) for frame in seen)


async def test_deliveries_on_two_channels_may_be_interleaved() -> None:
    first, second = content(1, b"abcdefgh"), content(1, b"12345678", channel=2)
    both = [frame for pair in zip(first, second, strict=True) for frame in pair]
    reader = asyncio.StreamReader()
    reader.feed_data(b"".join(both))
    reader.feed_eof()
    frames, arrived = TolerantFrames(reader), list[bytes]()
    for number in (1, 2):
        frames.deliveries.add(channel(number), "ours", lambda message: arrived.append(message.body))
    assert [type(frame) async for _, _, frame in frames] == [Heartbeat]
    assert arrived == [b"abcdefgh", b"12345678"]


@pytest.mark.parametrize("consumers", [{}, {"other": channel()}, {"ours": channel(2)}, {"ours": channel(closed=True)}])
async def test_other_deliveries_are_left_to_the_client_library(consumers: dict[str, Channel]) -> None:
    seen, arrived = await read(b"".join(content(1, b"abcd")), **consumers)
    assert [type(frame) for frame in seen] == [Basic.Deliver, ContentHeader, ContentBody]
    assert not arrived


@pytest.mark.parametrize("at", [1, 2])
async def test_a_frame_in_the_middle_of_a_message_ends_the_connection(at: int) -> None:
    frames = content(1, b"abcdefgh")
    frames.insert(at, pamqp.frame.marshal(Basic.Cancel("ours"), 1))
    with pytest.raises(InvalidFrameError, match="in the middle of a message"):
        await read(b"".join(frames), ours=channel())


async def test_a_frame_with_a_wrong_end_ends_the_connection() -> None:
    wrong = struct.pack(">BHI", 3, 1, 1) + b"x\0"
    with pytest.raises(InvalidFrameError):
        await read(wrong, ours=channel())


class Written:
    """The part of a channel that a `Batch` uses."""

    def __init__(self) -> None:
        self.write_queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
        self.confirmations: dict[int, asyncio.Future[Any]] = {}
        self.message_id_delivery_tag: dict[str, int] = {}
        self.delivery_tag = 0
        self.ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @property
    def is_closed(self) -> bool:
        return self.ended.done()

    @property
    def closing(self) -> asyncio.Future[Any]:
        observer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.ended.add_done_callback(lambda _: observer.done() or observer.set_result(None))
        return observer


async def test_messages_are_written_at_once_and_numbered_in_their_order() -> None:
    written = Written()
    with Batch(cast("Channel", written)) as batch:
        confirmations = [batch.add(name, [name.encode()]) for name in ("a", "b", "c")]
        await batch.write()
        assert written.write_queue.get_nowait().payload == b"abc"
        assert written.confirmations == dict(enumerate(confirmations, 1))
        assert written.message_id_delivery_tag == {"a": 1, "b": 2, "c": 3}
    assert not written.message_id_delivery_tag


async def test_a_returned_message_is_found_although_an_earlier_one_had_its_id() -> None:
    written = Written()
    with Batch(cast("Channel", written)) as earlier:
        earlier.add("a", [b"1"]).set_result(None)
        await earlier.write()
        written.write_queue.get_nowait()
        with Batch(cast("Channel", written)) as later:
            later.add("a", [b"2"])
            await later.write()
            earlier.__exit__()
            assert written.message_id_delivery_tag == {"a": 2}


async def test_confirmations_fail_when_the_channel_ends() -> None:
    written = Written()
    with Batch(cast("Channel", written)) as batch:
        sent, waiting = batch.add("a", [b"1"]), None
        await batch.write()
        waiting = batch.add("b", [b"2"])  # the queue of the client is full
        writing = asyncio.ensure_future(batch.write())
        await asyncio.sleep(0)
        written.ended.set_result(None)
        await writing
        late = batch.add("c", [b"3"])
        await batch.write()
        for confirmation in (sent, waiting, late):
            with pytest.raises(ChannelInvalidStateError):
                await confirmation
