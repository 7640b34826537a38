"""Looking at streams and lists: by reads that change nothing, a page at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Final

from brokerkit.adapters.api import Delivery, ReadFrom
from brokerkit.adapters.redis._client import Client, Command, in_slots
from brokerkit.adapters.redis._cluster import ClusterClient
from brokerkit.adapters.redis._errors import translated
from brokerkit.adapters.redis._watch import Spread, Taken
from brokerkit.adapters.redis._wire import Entries, EntryDelivery, ValueDelivery

_PAGE: Final = 100
_BLOCK: Final = 1.0
_NOTHING: Final = b"0-0"


async def browse_streams(
    client: Client, entries: Entries, topics: Sequence[str], *, past: bool, follow: bool
) -> AsyncGenerator[Delivery, None]:
    """See `Adapter.browse`; the streams exist."""
    seen: dict[bytes, bytes] = {}
    for topic in topics:
        with translated(client.where, f"browsing the stream {topic!r}"):
            last = await client.call("XREVRANGE", topic, "+", "-", "COUNT", 1)
        seen[topic.encode()] = last[0][0] if last else _NOTHING
    for stream, end in seen.items() if past else ():
        begin = b"-"
        while True:
            with translated(client.where, f"browsing the stream {stream.decode()!r}"):
                page = await client.call("XRANGE", stream, begin, end, "COUNT", _PAGE)
            if not page:
                break
            begin = b"(" + page[-1][0]
            for id, flat in page:
                yield EntryDelivery(entries, stream.decode(), stream, id, flat, 0, None)
    if not follow:
        return
    pages = _follow_cluster(client, seen) if isinstance(client, ClusterClient) else _follow_server(client, seen)
    async with aclosing(pages):
        async for stream, page in pages:
            seen[stream] = page[-1][0]
            for id, flat in page:
                yield EntryDelivery(entries, stream.decode(), stream, id, flat, 0, None)


Page = tuple[bytes, list[Any]]
"""A stream and some of its entries."""


async def _follow_server(client: Client, seen: dict[bytes, bytes]) -> AsyncGenerator[Page, None]:
    """What comes behind what was seen of each stream."""
    line = client.line(_BLOCK, next(iter(seen)))
    waiting = ("BLOCK", round(_BLOCK * 1000))
    try:
        with translated(client.where, f"connecting within {client.connect_timeout:g} s"):
            async with asyncio.timeout(client.connect_timeout):
                await _cancellable(line.connect())
        while True:
            with translated(client.where, "following streams"):
                answer = await _cancellable(line.call(*_read(_PAGE, waiting, seen, list(seen))))
            for stream, page in answer or ():
                yield stream, page
    finally:
        await line.close()


async def _follow_cluster(client: ClusterClient, seen: dict[bytes, bytes]) -> AsyncGenerator[Page, None]:
    """As `_follow_server`, for streams in any slots."""

    async def take(streams: list[bytes], count: int) -> Taken[Page]:
        parts = in_slots(client, streams, lambda stream: stream)
        taken = Taken[Page]()
        for answer in await client.pipeline([_read(count, (), seen, part) for part in parts]):
            if isinstance(answer, BaseException):
                raise answer
            taken.got += answer or ()
            taken.more.update(stream for stream, _ in answer or ())
        return taken

    spread = Spread(client, {stream: stream for stream in seen}, look="XLEN", take=take)
    try:
        while True:
            with translated(client.where, "following streams"):
                found = await _cancellable(spread.read(_PAGE, _BLOCK))
            for stream, page in found:
                yield stream, page
    finally:
        await spread.close()


def _read(count: int, waiting: Sequence[Any], seen: dict[bytes, bytes], streams: Sequence[bytes]) -> Command:
    return ("XREAD", "COUNT", count, *waiting, "STREAMS", *streams, *(seen[stream] for stream in streams))


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


async def browse_lists(client: Client, topics: Sequence[str], end: ReadFrom) -> AsyncGenerator[Delivery, None]:
    """See `Adapter.browse`; the lists exist, or are empty."""
    for topic in topics:
        with translated(client.where, f"browsing the list {topic!r}"):
            length = await client.call("LLEN", topic)
        # What is taken meanwhile moves the rest forward: a list has no other address than the distance from its ends.
        for at in range(0, length, _PAGE):
            past = min(at + _PAGE, length)
            with translated(client.where, f"browsing the list {topic!r}"):
                if end == "left":
                    values = await client.call("LRANGE", topic, at, past - 1)
                else:
                    values = (await client.call("LRANGE", topic, -past, -at - 1))[::-1]
            for value in values:
                yield ValueDelivery(value, topic, value, None)
