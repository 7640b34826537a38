"""What every group has settled leaves a Redis stream, and nothing else does."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.exceptions import ResponseError
from tests.adapters.redis_seam import (
    confirmed,
    connection,
    has_lag,
    numbers,
    opened,
    outgoing,
    raw_client,
    reading,
    receive,
    unique,
)
from tests.brokers.redis import RedisBroker

from brokerkit._errors import ConfigError
from brokerkit._messages._delivery import ACK, RetryLater, Settled
from brokerkit._url import Url
from brokerkit.adapters.api import Subscription
from brokerkit.adapters.redis import _trimming
from brokerkit.adapters.redis._trimming import kept_of, trimming_of
from brokerkit.adapters.redis.streams import RedisStreamsAdapter

NODE = 100
"""Entries of a radix tree node, by default: with ``~`` Redis removes whole nodes."""

ALL: dict[str, Any] = {"group": "g", "provision": "all"}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have sources trim with each look."""
    monkeypatch.setattr(_trimming, "FIRST", 0.0)
    monkeypatch.setattr(_trimming, "EVERY", 0.0)


@pytest.fixture
async def raw(redis_broker: RedisBroker) -> AsyncIterator[Any]:
    async with raw_client(redis_broker.url) as client:
        yield client


async def handle(source: Any, count: int) -> None:
    """Read and acknowledge so many messages."""
    while count:
        got = await receive(source, min(count, 500))
        assert await source.settle([(delivery, ACK) for delivery in got]) == [Settled.DONE] * len(got)
        count -= len(got)


async def trim(source: Any) -> None:
    """What the next read does before it waits."""
    await source._trimming.turn(asyncio.get_running_loop().time())


async def test_a_stream_that_is_handled_keeps_its_latest_entries_by_default(
    redis_broker: RedisBroker, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_trimming, "KEEP", 300)
    topic = unique()
    async with opened(RedisStreamsAdapter(connection(redis_broker.url))) as adapter, AsyncExitStack() as stack:
        source = await stack.enter_async_context(reading(adapter, topic, **ALL))
        for number in range(0, 2_000, 500):
            assert confirmed(await adapter.send([outgoing(topic, number + one) for one in range(500)]))
            await handle(source, 500)
        assert await source.receive(1) == []
        assert 300 <= await raw.xlen(topic) < 300 + NODE
        ((_, last),) = await raw.xrevrange(topic, count=1)
        assert last[b"data"] == b"1999"
        assert await has_lag(source, raw, 0)
        # A group that is made now begins with what is left, and its lag is known.
        late = await stack.enter_async_context(reading(adapter, topic, group="late", provision="all"))
        assert await has_lag(late, raw, await raw.xlen(topic))


async def test_nothing_goes_that_a_group_has_not_acknowledged(redis_broker: RedisBroker, raw: Any) -> None:
    """Three groups read different parts and acknowledge some; after each step everything that one still owes is there."""
    seed = random.randrange(2**32)
    chance, topic = random.Random(seed), unique()
    groups = [f"g{number}" for number in range(3)]
    ids: list[bytes] = []
    unread, pending = dict.fromkeys(groups, 0), {group: set[bytes]() for group in groups}
    settings = connection(redis_broker.url, keep_settled="0")
    async with opened(RedisStreamsAdapter(settings)) as adapter, reading(adapter, topic, **ALL) as source:
        for group in groups:
            await raw.xgroup_create(topic, group, "0")
        for _ in range(30):
            fields = [{"data": "x" * chance.choice((1, 300))} for _ in range(chance.randrange(400))]
            ids += [await raw.xadd(topic, each) for each in fields]
            await handle(source, len(fields))
            for group in groups:
                count = chance.randrange(600)
                for _, entries in await raw.xreadgroup(group, "c", {topic: ">"}, count=count) if count else ():
                    pending[group].update(id for id, _ in entries)
                    unread[group] += len(entries)
                done = [id for id in pending[group] if chance.random() < 0.9]
                if done:
                    await raw.xack(topic, group, *done)
                    pending[group].difference_update(done)
            await trim(source)
            there = {id for id, _ in await raw.xrange(topic)}
            owed = {id for group in groups for id in (*pending[group], *ids[unread[group] :])}
            assert owed <= there, f"seed {seed}"
        for group in groups:
            await raw.xgroup_setid(topic, group, "$")
            if pending[group]:
                await raw.xack(topic, group, *pending[group])
        await trim(source)
        assert await raw.xlen(topic) <= NODE, f"seed {seed}"


async def test_ids_are_compared_to_the_last_digit(redis_broker: RedisBroker, raw: Any) -> None:
    topic, large = unique(), 2**63
    settings = connection(redis_broker.url, keep_settled=0)
    async with opened(RedisStreamsAdapter(settings)) as adapter:
        await raw.xgroup_create(topic, "slow", "0", mkstream=True)
        async with reading(adapter, topic, **ALL) as source:
            for number in range(1_000):
                await raw.xadd(topic, {"data": str(number)}, id=f"{large}-{large + number}")
            await raw.xgroup_setid(topic, "slow", f"{large}-{large + 499}")
            await handle(source, 1_000)
            await trim(source)
            ((first, _),) = await raw.xrange(topic, count=1)
            assert first.decode() in [f"{large}-{large + number}" for number in range(500 - NODE, 501)]


async def test_a_durable_retry_outlives_the_entry_that_it_is_of(redis_broker: RedisBroker, raw: Any) -> None:
    topic = unique()
    settings = connection(redis_broker.url, keep_settled=0)
    async with opened(RedisStreamsAdapter(settings)) as adapter, reading(adapter, topic, **ALL) as source:
        assert confirmed(await adapter.send([outgoing(topic, number) for number in range(2 * NODE)]))
        first, *others = await receive(source, 2 * NODE)
        await source.settle([(first, RetryLater(3600, outgoing(topic, 0, due=None))), *((one, ACK) for one in others)])
        await trim(source)
        assert await raw.xlen(topic) <= NODE
        (waiting,) = [key async for key in raw.scan_iter(f"{{{topic}}}.g.waiting")]
        (member,) = await raw.zrange(waiting, 0, -1)
        await raw.zadd(waiting, {member: 0})
        assert numbers(await receive(source, 1)) == [0]


async def test_what_is_held_stays_and_so_does_what_comes_after_it(redis_broker: RedisBroker, raw: Any) -> None:
    topic = unique()
    settings = connection(redis_broker.url, keep_settled=0)
    async with opened(RedisStreamsAdapter(settings)) as adapter, reading(adapter, topic, **ALL) as source:
        assert confirmed(await adapter.send([outgoing(topic, number) for number in range(3 * NODE)]))
        held, *others = await receive(source, 3 * NODE)
        assert await source.settle([(one, ACK) for one in others]) == [Settled.DONE] * len(others)
        await trim(source)
        assert await raw.xlen(topic) == 3 * NODE
        assert await source.settle([(held, ACK)]) == [Settled.DONE]
        await trim(source)
        assert await raw.xlen(topic) <= NODE


@pytest.mark.parametrize(
    ("kept", "settings", "trims"),
    [
        (None, {"provision": "all"}, True),
        (None, {"provision": "group"}, False),
        (None, {"provision": "all", "start": "latest"}, False),
        (None, {"provision": "all", "broadcast": True}, False),
        (None, {"provision": "all", "is_queue": True}, False),
        (5, {"provision": "check", "start": "latest"}, True),
        (5, {"provision": "all", "broadcast": True}, False),
        (5, {"provision": "all", "is_queue": True}, False),
        ("all", {"provision": "all"}, False),
    ],
)
async def test_only_streams_that_brokerkit_creates_are_trimmed_unless_it_is_told(
    redis_broker: RedisBroker, kept: Any, settings: dict[str, Any], *, trims: bool
) -> None:
    async with opened(RedisStreamsAdapter(connection(redis_broker.url))) as adapter:
        assert isinstance(adapter, RedisStreamsAdapter)
        subscription = Subscription(topics=("t",), group="g", **settings)
        assert (trimming_of(adapter._client, [], subscription, kept) is not None) is trims


@pytest.mark.parametrize("value", [-1, "-1", "some", True, 1.5, ""])
def test_a_number_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="h: the option 'keep_settled' must be a whole number"):
        kept_of(Url.parse("redis://u:secret@h"), value)


async def test_a_group_that_nobody_reads_as_is_named_once(
    redis_broker: RedisBroker, raw: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_trimming, "AT_ONCE", 200)
    topic = unique()
    settings = connection(redis_broker.url, keep_settled=0)
    async with opened(RedisStreamsAdapter(settings)) as adapter, reading(adapter, topic, **ALL) as source:
        await raw.xgroup_create(topic, "left-behind", "0")
        assert confirmed(await adapter.send([outgoing(topic, number) for number in range(250)]))
        await handle(source, 250)
        for _ in range(3):
            await trim(source)
        (told,) = [record.getMessage() for record in caplog.records if "is not trimmed" in record.getMessage()]
        assert f"XGROUP DESTROY {topic} left-behind" in told
        assert await raw.xlen(topic) == 250
        await raw.xgroup_destroy(topic, "left-behind")
        for _ in range(3):
            await trim(source)
        assert await raw.xlen(topic) <= NODE


async def test_a_user_who_may_not_trim_reads_on(
    redis_broker: RedisBroker, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    user, topic = unique("user"), unique()
    rules = ["+@all", "-xtrim", "~*", "&*"]
    await raw.execute_command("ACL", "SETUSER", user, "on", ">pw", *rules)
    url = f"redis://{user}:pw@{redis_broker.url.rpartition('@')[2]}"
    settings = connection(url, keep_settled=0)
    async with opened(RedisStreamsAdapter(settings)) as adapter, reading(adapter, topic, **ALL) as source:
        for number in range(0, 600, 200):
            assert confirmed(await adapter.send([outgoing(topic, number + one) for one in range(200)]))
            await handle(source, 200)
        await trim(source)
        assert await raw.xlen(topic) == 600
        assert caplog.text.count("this user trims no stream") == 1
    with pytest.raises(ResponseError, match="NOPERM|no permissions"):
        async with raw_client(url) as denied:
            await denied.xtrim(topic, 0)
