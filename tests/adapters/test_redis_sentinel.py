"""A primary that Sentinels name: another server becomes the primary, by itself or because somebody says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.adapters.redis_load import Load
from tests.adapters.redis_seam import confirmed, numbers, opened, outgoing, reading, receive, unique
from tests.brokers.redis_cluster import PASSWORD, USER, Guarded, Node, guarded, until

from brokerkit._errors import AccessDenied, ConfigError, ConnectionLost
from brokerkit._messages._outgoing import Receipt
from brokerkit._url import Url
from brokerkit.adapters.api import Connection
from brokerkit.adapters.redis.list import RedisListAdapter
from brokerkit.adapters.redis.pubsub import RedisPubSubAdapter
from brokerkit.adapters.redis.streams import RedisStreamsAdapter
from brokerkit.dedupe import DONE, RedisStore

ADAPTERS: dict[str, Any] = {"": RedisStreamsAdapter, "+list": RedisListAdapter}


@pytest.fixture(scope="module")
def servers() -> Iterator[Guarded]:
    """A primary, a replica and three Sentinels."""
    made = guarded()
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def calm(servers: Guarded) -> Guarded:
    """All servers run, and the Sentinels agree."""
    servers.settled()
    return servers


def at(url: str, **options: Any) -> Connection:
    return Connection(url=Url.parse(url), options=options, connect_timeout=10, envelope="brokerkit")


async def failed_over(servers: Guarded, old: Node) -> None:
    """Wait until the Sentinels name another primary than the old one."""
    await asyncio.to_thread(until, lambda: servers.primary is not old)


@pytest.mark.parametrize("kind", ADAPTERS)
async def test_nothing_confirmed_is_lost_when_the_primary_dies(calm: Guarded, kind: str) -> None:
    # The replica has what is confirmed; without that, what had not reached it yet would be gone.
    async with Load(f"{calm.url(kind)}?wait_replicas=1", [unique() for _ in range(2)]) as load:
        await load.publish(20)
        publishing = asyncio.create_task(load.publish(100))
        await asyncio.sleep(0.1)
        victim = calm.primary
        await asyncio.to_thread(victim.server.kill)
        try:
            await failed_over(calm, victim)
        finally:
            await asyncio.to_thread(calm.bring_back, victim)
        await publishing
        await load.has_handled_everything()
        assert load.bus.stats["bus"].dead_lettered == 0


async def test_one_sentinel_of_those_in_the_url_is_enough(servers: Guarded) -> None:
    hosts = f"127.0.0.1:1,127.0.0.1:{servers.sentinels[2].port}"
    url = f"redis+sentinel://{USER}:{PASSWORD}@{hosts}/{servers.name}"
    async with opened(RedisStreamsAdapter(at(url))) as adapter:
        topic = unique()
        await adapter.ensure([topic], is_queue=False, create=True)
        (result,) = await adapter.send([outgoing(topic)])
        assert isinstance(result, Receipt)


async def test_sentinels_may_ask_for_a_user_of_their_own(servers: Guarded) -> None:
    for each in servers.sentinels:
        each.call("ACL", "SETUSER", "default", "resetpass", ">closed")
    try:
        denied = RedisStreamsAdapter(at(servers.url()))
        with pytest.raises((AccessDenied, ConnectionLost), match="wallet-primary"):
            await denied.open()
        await denied.close()
        options = {"sentinel_username": USER, "sentinel_password": PASSWORD}
        async with opened(RedisStreamsAdapter(at(servers.url(), **options))) as adapter:
            assert "brokerkit-secret" not in repr(adapter)
    finally:
        for each in servers.sentinels:
            each.call("ACL", "SETUSER", "default", "nopass")


async def test_a_name_that_no_sentinel_knows_is_a_clear_error(servers: Guarded) -> None:
    adapter = RedisStreamsAdapter(at(servers.url().replace(servers.name, "unknown")))
    with pytest.raises(ConnectionLost, match="No master found for 'unknown'"):
        await adapter.open()
    await adapter.close()


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("redis+sentinel://u:secret@h1,h2", {}, "the name under which Sentinel knows the primary is missing"),
        ("redis+sentinel://u:secret@h1/name/one", {}, "database number"),
        ("redis+sentinel://u:secret@h1/name", {"sentinel_kwargs": {}}, "prefix sentinel_"),
        ("redis+sentinel://u:secret@h1/name", {"sentinel_retry": 1}, "duplicates"),
        ("redis+sentinel://u:secret@h1/name", {"sentinel_nothing": 1}, "no option 'sentinel_nothing'"),
        ("redis+sentinel://u:secret@h1/name", {"min_other_sentinels": "x"}, "must be a number"),
        ("redis+sentinel:///name", {}, "a host is needed"),
    ],
)
def test_a_wrong_url_or_option_is_found_before_connecting(url: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        RedisStreamsAdapter(at(url, **options))
    assert "secret" not in str(caught.value)


async def test_everybody_follows_when_somebody_has_the_sentinels_fail_over(calm: Guarded) -> None:
    topic = unique()
    store = RedisStore(calm.url(), prefix=f"{unique()}:")
    await store.open()
    channels = RedisPubSubAdapter(at(calm.url("+pubsub")))
    async with (
        opened(RedisStreamsAdapter(at(calm.url()))) as streams,
        opened(channels),
        reading(streams, topic, group="g", provision="all") as source,
        reading(channels, topic) as listener,
    ):
        await streams.ensure([topic], is_queue=False, create=True)
        old = calm.primary
        claim: Any = await store.claim("1", lease=60, keep=60)
        assert confirmed(await streams.send([outgoing(topic, 0)]))
        assert numbers(await receive(source, 1)) == [0]
        await asyncio.to_thread(calm.settled)
        await asyncio.to_thread(old.call, "WAIT", 1, 5000)
        await asyncio.to_thread(calm.sentinels[0].call, "SENTINEL", "FAILOVER", calm.name)
        await failed_over(calm, old)

        async def again(number: int) -> None:
            """Publish until it is confirmed, and to channels until it is heard."""
            while not confirmed(await streams.send([outgoing(topic, number)])):
                await asyncio.sleep(0.05)

        async with asyncio.timeout(30):
            await again(1)
            got: list[int] = []
            while 1 not in got:
                try:
                    got += numbers(await source.receive(10))
                except ConnectionLost:
                    continue
            heard: list[int] = []
            while 2 not in heard:
                await channels.send([outgoing(topic, 2)])
                try:
                    heard += numbers(await listener.receive(1))
                except ConnectionLost:
                    continue
            while True:
                try:
                    assert await claim.done()
                    break
                except ConnectionLost:
                    await asyncio.sleep(0.05)
            assert await store.claim("1", lease=60, keep=60) is DONE
    await store.close()
