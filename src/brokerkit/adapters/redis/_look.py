"""Looking at streams and lists: by reads that change nothing, a page at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from typing import Any, Final

from brokerkit._message import Delivery
from brokerkit.adapters.redis._client import Client, translated
from brokerkit.adapters.redis._wire import EntryFormat, unwrap

_PAGE: Final = 100
_BLOCK: Final = 1.0
_NOTHING: Final = b"0-0"


async def look_at_streams(
    client: Client, entries: EntryFormat, topics: Sequence[str], *, past: bool, follow: bool
) -> AsyncGenerator[Delivery, None]:
    """See `Adapter.look`; the streams exist."""
    seen: dict[bytes, bytes] = {}
    for topic in topics:
        with translated(client.where, f"looking at the stream {topic!r}"):
            last = await client.call("XREVRANGE", topic, "+", "-", "COUNT", 1)
        seen[topic.encode()] = last[0][0] if last else _NOTHING
    for stream, end in seen.items() if past else ():
        begin = b"-"
        while True:
            with translated(client.where, f"looking at the stream {stream.decode()!r}"):
                page = await client.call("XRANGE", stream, begin, end, "COUNT", _PAGE)
            if not page:
                break
            begin = b"(" + page[-1][0]
            for id, flat in page:
                yield entries.delivery(stream.decode(), stream, id, flat, 0, None)
    if not follow:
        return
    line = client.line(_BLOCK)
    try:
        with translated(client.where, f"connecting within {client.connect_timeout:g} s"):
            async with asyncio.timeout(client.connect_timeout):
                await _cancellable(line.connect())
        while True:
            with translated(client.where, f"following {', '.join(topics)}"):
                answer = await _cancellable(
                    line.call(
                        *("XREAD", "COUNT", _PAGE, "BLOCK", round(_BLOCK * 1000), "STREAMS", *seen, *seen.values())
                    )
                )
            for stream, page in answer or ():
                seen[stream] = page[-1][0]
                for id, flat in page:
                    yield entries.delivery(stream.decode(), stream, id, flat, 0, None)
    finally:
        await line.close()


async def _cancellable(call: Coroutine[Any, Any, Any]) -> Any:
    """Wait for a call, and be cancelled whatever it is about: redis-py writes through ``asyncio.wait_for``, which before
    Python 3.12 swallows a cancellation that comes when the write is just done.
    """
    calling = asyncio.ensure_future(call)
    try:
        await asyncio.wait([calling])
    finally:
        if calling.cancel():
            await asyncio.wait([calling])
    return calling.result()


async def look_at_lists(client: Client, topics: Sequence[str]) -> AsyncGenerator[Delivery, None]:
    """See `Adapter.look`; the lists exist, or are empty."""
    for topic in topics:
        with translated(client.where, f"looking at the list {topic!r}"):
            length = await client.call("LLEN", topic)
        # What is taken meanwhile moves the rest forward: a list has no other address than the distance from its head.
        for at in range(0, length, _PAGE):
            with translated(client.where, f"looking at the list {topic!r}"):
                values = await client.call("LRANGE", topic, at, min(at + _PAGE, length) - 1)
            for value in values:
                body, key, id, headers = unwrap(value)
                yield Delivery(body, topic, key, headers, id, None, None, 0, value, None)
