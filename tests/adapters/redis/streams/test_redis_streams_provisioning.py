"""Which streams and groups of Redis the adapter makes, checks and refuses, at the seam, against a real server."""

from __future__ import annotations

from typing import Any

import pytest
from tests.adapters.redis.streams.seam import ALL, made
from tests.adapters.redis_seam import confirmed, ignore_lost, outgoing, reading, receive, unique

from brokerkit._errors import NotFound, Unroutable, UnsupportedFeature
from brokerkit.adapters.api import Subscription
from brokerkit.adapters.redis.streams import RedisStreamsAdapter


@pytest.mark.parametrize("provision", ["group", "check"])
async def test_a_missing_topic_is_not_found(adapter: RedisStreamsAdapter, provision: Any) -> None:
    topic = unique()
    source = adapter.subscribe(Subscription(topics=(topic,), group="g", provision=provision), ignore_lost)
    with pytest.raises(NotFound, match=topic):
        await source.open()
    await source.close()
    with pytest.raises(NotFound, match=topic):
        await adapter.ensure([topic], is_queue=False, create=False)
    (result,) = await adapter.send([outgoing(topic)])
    assert isinstance(result, NotFound)


async def test_check_finds_a_missing_group_and_off_does_not_look(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    check = adapter.subscribe(Subscription(topics=(topic,), group="g", provision="check"), ignore_lost)
    with pytest.raises(NotFound, match="XGROUP CREATE"):
        await check.open()
    await check.close()
    async with reading(adapter, topic, group="g", provision="off") as source:
        with pytest.raises(NotFound):
            await source.receive(1)
    async with reading(adapter, topic, group="g"):
        pass
    for provision in ("check", "off", "all"):
        async with reading(adapter, topic, group="g", provision=provision) as source:
            assert await source.receive(1) == []


async def test_ensure_makes_an_empty_stream_without_a_group_and_alters_none(
    adapter: RedisStreamsAdapter, raw: Any
) -> None:
    topic = await made(adapter)
    assert (await raw.xlen(topic), await raw.xinfo_groups(topic)) == (0, [])
    await adapter.send([outgoing(topic)])
    await adapter.ensure([topic], is_queue=False, create=True)
    assert await raw.xlen(topic) == 1


async def test_a_key_that_holds_something_else_is_refused(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = unique()
    await raw.set(topic, "text")
    with pytest.raises(UnsupportedFeature, match="holds a string"):
        await adapter.ensure([topic], is_queue=False, create=True)
    with pytest.raises(UnsupportedFeature, match="WRONGTYPE"):
        await adapter.subscribe(Subscription(topics=(topic,), **ALL), ignore_lost).open()
    (result,) = await adapter.send([outgoing(topic, is_queue=True)])
    assert isinstance(result, Unroutable)


async def test_a_new_group_starts_where_it_was_told(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    await adapter.send([outgoing(topic, 1)])
    async with (
        reading(adapter, topic, group="early") as early,
        reading(adapter, topic, group="late", start="latest") as late,
        reading(adapter, topic, broadcast=True) as private,
    ):
        await adapter.send([outgoing(topic, 2)])
        assert [delivery.body for delivery in await receive(early, 2)] == [b"1", b"2"]
        assert [delivery.body for delivery in await receive(late, 1)] == [b"2"]
        assert [delivery.body for delivery in await receive(private, 1)] == [b"2"]


async def test_a_broadcast_group_goes_away_at_close(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, broadcast=True, group="gateway"):
        assert len(await raw.xinfo_groups(topic)) == 1
    assert await raw.xinfo_groups(topic) == []
    assert [key async for key in raw.scan_iter(f"*{topic}*")] == [topic.encode()]


async def test_dead_letters_can_be_read_without_a_group_of_ones_own(adapter: RedisStreamsAdapter) -> None:
    dlq = adapter.derived(unique(), "g", "dlq")
    assert confirmed(await adapter.send([outgoing(dlq, is_queue=True)]))
    async with reading(adapter, dlq, is_queue=True) as source:
        assert len(await receive(source, 1)) == 1
