"""A Redis cluster: topics in any slots, slots that move, and servers that die."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

import pytest
from tests.adapters.redis.cluster.seam import ADAPTERS, at, made
from tests.adapters.redis_load import Load
from tests.adapters.redis_seam import confirmed, nothing_comes, numbers, opened, outgoing, reading, receive, unique
from tests.brokers.redis import RedisBroker
from tests.brokers.redis_cluster import PASSWORD, USER, RedisCluster, until

from brokerkit._errors import ConfigError, ConnectionLost, UnsupportedFeature
from brokerkit._messages._delivery import ACK, RELEASE, RetryLater, Settled
from brokerkit._messages._outgoing import Receipt
from brokerkit.adapters.api import Adapter
from brokerkit.adapters.redis import _watch
from brokerkit.adapters.redis._stream_source import RedisStreamsSource
from brokerkit.adapters.redis.pubsub import RedisPubSubAdapter
from brokerkit.adapters.redis.streams import RedisStreamsAdapter
from brokerkit.dedupe import DONE, RedisStore, Taken

ALL: dict[str, Any] = {"group": "g", "provision": "all"}


def known_lag(source: Any, servers: RedisCluster) -> int | None:
    """The lag of a source that has read everything: before 7.0 a server knows none of a stream."""
    old = servers.nodes[0].fact("redis_version", "INFO", "server").startswith("6.")
    return None if old and isinstance(source, RedisStreamsSource) else 0


async def connections(servers: RedisCluster) -> int:
    """How many clients are connected, to all servers together."""
    return sum(
        [int(await asyncio.to_thread(each.fact, "connected_clients", "INFO", "clients")) for each in servers.nodes]
    )


# ---- topics in any slots ---------------------------------------------------------------------------------------------


async def test_one_source_reads_topics_of_every_server_in_their_order(adapter: Adapter, servers: RedisCluster) -> None:
    topics = await made(adapter, 30)
    assert len({servers.owner(topic).port for topic in topics}) == 3
    before = await connections(servers)
    async with reading(adapter, *topics, **ALL) as source:
        assert await source.receive(10) == []
        batch = [outgoing(topic, number) for number in range(40) for topic in topics]
        assert confirmed(await adapter.send(batch))
        got = await receive(source, len(batch))
        for topic in topics:
            assert numbers([one for one in got if one.topic == topic]) == list(range(40))
        assert await source.settle([(one, ACK) for one in got]) == [Settled.DONE] * len(got)
        # Two connections to each server for the news of all topics, and what the commands needed at once.
        assert await connections(servers) - before <= 3 * (2 + 3)
        assert await nothing_comes(source)
        assert await source.lag() == known_lag(source, servers)


async def test_what_comes_while_nobody_looks_is_told_of(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watch, "RECHECK", 1e6)
    topics = await made(adapter, 5)
    async with reading(adapter, *topics, **ALL) as source:
        assert await source.receive(10) == []
        for number in range(20):
            waiting = asyncio.ensure_future(receive(source, 1))
            await asyncio.sleep(0.01)
            assert confirmed(await adapter.send([outgoing(topics[number % 5], number)]))
            (delivery,) = await waiting
            assert numbers([delivery]) == [number]
            await source.settle([(delivery, ACK)])


async def test_few_slots_take_turns_among_many_topics_and_are_never_exceeded(adapter: Adapter) -> None:
    topics = await made(adapter, 20)
    async with reading(adapter, *topics, **ALL) as source:
        assert confirmed(await adapter.send([outgoing(topic, number) for number in range(5) for topic in topics]))
        seen: list[tuple[str, int]] = []
        async with asyncio.timeout(30):
            while len(seen) < 100:
                got = await source.receive(7)
                assert len(got) <= 7
                seen += [(one.topic, *numbers([one])) for one in got]
                await source.settle([(one, ACK) for one in got])
        assert set(seen) == {(topic, number) for topic in topics for number in range(5)}
        # Nobody waited until all others were done.
        assert len({topic for topic, _ in seen[:40]}) == 20


async def test_what_is_settled_leaves_the_streams_of_every_server(servers: RedisCluster) -> None:
    async with opened(RedisStreamsAdapter(at(servers.url(), keep_settled=0))) as adapter:
        topics = await made(adapter, 12)
        async with reading(adapter, *topics, **ALL) as source:
            for number in range(250):
                assert confirmed(await adapter.send([outgoing(topic, number) for topic in topics]))
            *settled, last = await receive(source, 12 * 250, bounded=60)
            await source.settle([(one, ACK) for one in settled])
            for later in (0.0, 1e6):
                await source._trimming.turn(asyncio.get_running_loop().time() + later)
            for topic in topics:
                length = int(await asyncio.to_thread(servers.owner(topic).call, "XLEN", topic))
                # A node of a stream's tree has a hundred entries, and goes as a whole.
                assert 0 < length <= 100, topic
            assert await source.settle([(last, ACK)]) == [Settled.DONE]


async def test_retries_releases_and_leases_work_in_every_slot(adapter: Adapter, servers: RedisCluster) -> None:
    topics = await made(adapter, 4)
    async with reading(adapter, *topics, **ALL, lease=1.5) as source:
        assert confirmed(await adapter.send([outgoing(topic, number) for topic in topics for number in range(3)]))
        got = await receive(source, 12)
        outcomes = {0: ACK, 1: RELEASE}
        pairs = [
            (one, outcomes.get(number) or RetryLater(0.3, outgoing(one.topic, number)))
            for one, number in zip(got, numbers(got), strict=True)
        ]
        assert await source.extend(got) == [Settled.DONE] * 12
        assert await source.settle(pairs) == [Settled.DONE] * 12
        again = await receive(source, 8)
        assert sorted((one.topic, *numbers([one])) for one in again) == sorted((t, n) for t in topics for n in (1, 2))
    # Nothing was settled at the end: another member takes it over.
    async with reading(adapter, *topics, **ALL, lease=1.5) as heir:
        taken = await receive(heir, 8)
        assert await heir.settle([(one, ACK) for one in taken]) == [Settled.DONE] * 8
        assert await heir.lag() == known_lag(heir, servers)


async def test_dead_letters_are_browsed_and_followed_and_removed(streams: RedisStreamsAdapter) -> None:
    topics = await made(streams, 3)
    assert confirmed(await streams.send([outgoing(topic, 1) for topic in topics]))
    assert sorted(one.topic for one in [one async for one in streams.browse(topics)]) == sorted(topics)

    async def follow() -> list[str]:
        found: list[str] = []
        async for one in streams.browse(topics, past=False, follow=True):
            found.append(one.topic)
            if len(found) == 3:
                break
        return found

    following = asyncio.create_task(follow())
    async with asyncio.timeout(20):
        while not following.done():
            # It has to begin before something new can be new to it.
            await streams.send([outgoing(topic, 2) for topic in topics])
            await asyncio.sleep(0.05)
    assert set(await following) <= set(topics)
    cursor = streams.cursor(topics[0])
    await cursor.open()
    await cursor.remove(await cursor.fetch(1))
    await cursor.close()
    assert numbers([one async for one in streams.browse(topics[:1])])[:1] == [2]


async def test_channels_reach_every_subscriber_whatever_server_it_is_connected_to(servers: RedisCluster) -> None:
    topics = [unique() for _ in range(6)]
    async with (
        opened(RedisPubSubAdapter(at(servers.url("+pubsub")))) as adapter,
        reading(adapter, *topics) as listener,
        reading(adapter, *reversed(topics)) as other,
    ):
        results = await adapter.send([outgoing(topic, number) for number, topic in enumerate(topics)])
        # PUBLISH counts the subscribers of one server alone.
        assert all(isinstance(result, Receipt) and result.receivers is None for result in results)
        for each in (listener, other):
            assert sorted(numbers(await receive(each, 6))) == list(range(6))


async def test_a_dedupe_store_remembers_in_every_slot(servers: RedisCluster) -> None:
    store = RedisStore(servers.url() + "?wait_replicas=1", prefix=f"{unique()}:")
    await store.open()
    try:
        claims = [await store.claim(str(number), lease=60, keep=60) for number in range(20)]
        assert isinstance(await store.claim("3", lease=60, keep=60), Taken)
        for claim in claims:
            assert not isinstance(claim, Taken) and claim is not DONE
            assert await claim.extend() and await claim.done()  # type: ignore[union-attr]
        assert [await store.claim(str(number), lease=60, keep=60) for number in range(20)] == [DONE] * 20
    finally:
        await store.close()


# ---- what is refused -------------------------------------------------------------------------------------------------


async def test_a_server_that_is_no_cluster_is_refused_with_the_scheme_to_write(redis_broker: RedisBroker) -> None:
    adapter = RedisStreamsAdapter(at(redis_broker.url.replace("redis://", "redis+cluster://")))
    with pytest.raises(ConfigError, match=r"not a cluster; write redis://"):
        await adapter.open()
    await adapter.close()


async def test_a_node_that_is_taken_for_the_only_server_is_refused_with_the_scheme_to_write(
    servers: RedisCluster,
) -> None:
    topic = unique()
    other = next(each for each in servers.nodes[:3] if each is not servers.owner(topic))
    async with opened(RedisStreamsAdapter(at(f"redis://{USER}:{PASSWORD}@127.0.0.1:{other.port}/0"))) as adapter:
        with pytest.raises(UnsupportedFeature, match=r"write redis\+cluster://"):
            await adapter.ensure([topic], is_queue=False, create=True)


async def test_a_wrong_password_and_nodes_that_are_not_there_are_clear_errors(servers: RedisCluster) -> None:
    wrong = RedisStreamsAdapter(at(servers.url().replace(PASSWORD, "not-the-password")))
    with pytest.raises(Exception, match="check user, password") as caught:
        await wrong.open()
    assert "not-the-password" not in str(caught.value)
    away = RedisStreamsAdapter(at("redis+cluster://127.0.0.1:1,127.0.0.1:2"))
    with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1:1,127\.0\.0\.1:2"):
        await away.open()
    for adapter in (wrong, away):
        await adapter.close()


async def test_one_node_of_those_in_the_url_is_enough(servers: RedisCluster) -> None:
    hosts = f"127.0.0.1:1,127.0.0.1:{servers.nodes[0].port}"
    async with opened(RedisStreamsAdapter(at(servers.url().replace(servers.hosts, hosts)))) as adapter:
        topics = await made(adapter, 5)
        assert confirmed(await adapter.send([outgoing(topic) for topic in topics]))


async def test_without_the_right_to_be_told_of_changes_streams_are_looked_at_often(
    servers: RedisCluster, caplog: pytest.LogCaptureFixture
) -> None:
    user, topic = unique("user"), unique()
    rights = ["+@stream", "+@sortedset", "+@scripting", "+type", "+time", "+ping", "+cluster|slots", "+client|id"]
    for each in servers.nodes:
        await asyncio.to_thread(each.call, "ACL", "SETUSER", user, "on", ">pw", "~*", "resetchannels", *rights)
    caplog.set_level(logging.INFO, logger="brokerkit")
    async with (
        opened(RedisStreamsAdapter(at(f"redis+cluster://{user}:pw@{servers.hosts}"))) as adapter,
        reading(adapter, topic, **ALL) as source,
    ):
        assert await source.receive(1) == []
        waiting = asyncio.ensure_future(receive(source, 1))
        await asyncio.sleep(0.1)
        await adapter.ensure([topic], is_queue=False, create=True)
        assert confirmed(await adapter.send([outgoing(topic, 1)]))
        assert numbers(await waiting) == [1]
    assert "does not tell of changes" in caplog.text


# ---- slots that move, servers that die -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ADAPTERS)
async def test_nothing_is_lost_or_repeated_while_slots_move(servers: RedisCluster, kind: str) -> None:
    async with Load(servers.url(kind), [unique() for _ in range(3)]) as load:
        await load.publish(20)
        publishing = asyncio.create_task(load.publish(300))

        def pause(left: int) -> None:
            time.sleep(0.1)  # in a thread: the slot is half moved meanwhile

        for topic in [*load.topics, load.topics[0]]:
            source = await asyncio.to_thread(servers.owner, topic)
            to = next(each for each in servers.nodes if each is not source and each.is_primary)
            await asyncio.to_thread(servers.move, topic, to, pause=pause)
        await publishing
        await load.has_handled_everything()
        assert set(load.handled.values()) == {1}
        for handled in load.order.values():
            firsts = [number for number in handled if number % 7]
            assert firsts == sorted(firsts)
        assert load.bus.stats["bus"].dead_lettered == 0


async def test_a_slot_that_stays_half_moved_is_read_and_its_retries_come_when_it_is_done(
    servers: RedisCluster, streams: RedisStreamsAdapter
) -> None:
    stem = unique()
    topics = [f"{{{stem}}}.one", f"{{{stem}}}.two"]
    await streams.ensure(topics, is_queue=False, create=True)
    source_node = servers.owner(stem)
    target = next(each for each in servers.nodes if each is not source_node and each.is_primary)
    async with reading(streams, *topics, **ALL, lease=60) as source:
        assert await source.receive(10) == []
        half, go_on = threading.Event(), threading.Event()

        def pause(left: int) -> None:
            if left == 2:  # of two topics and the retries of each
                half.set()
                go_on.wait(30)

        # Who uses keys that have moved and keys that have not is told to try again.
        moving = asyncio.create_task(asyncio.to_thread(servers.move, stem, target, pause=pause, at_once=1))
        await asyncio.to_thread(half.wait, 30)
        assert confirmed(await streams.send([outgoing(topic, number) for topic in topics for number in range(2)]))
        got = await receive(source, 4)
        assert sorted((one.topic, *numbers([one])) for one in got) == [(t, n) for t in topics for n in range(2)]
        go_on.set()
        await moving
        settled = await source.settle([(one, RetryLater(0, outgoing(one.topic, 5))) for one in got])
        assert settled == [Settled.DONE] * 4
        again = await receive(source, 4)
        assert numbers(again) == [5] * 4
        assert await source.settle([(one, ACK) for one in again]) == [Settled.DONE] * 4


@pytest.mark.parametrize("kind", ADAPTERS)
async def test_nothing_confirmed_is_lost_when_a_primary_dies(servers: RedisCluster, kind: str) -> None:
    # A replica has what is confirmed; without that, what had not reached it yet would be gone.
    async with Load(f"{servers.url(kind)}?wait_replicas=1", [unique() for _ in range(4)]) as load:
        victim = servers.owner(load.topics[0])
        await load.publish(20)
        publishing = asyncio.create_task(load.publish(60))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(victim.server.kill)
        async with opened(ADAPTERS[kind](at(servers.url(kind)))):
            pass  # whoever starts now finds the others
        try:
            await asyncio.to_thread(until, lambda: servers.owner(load.topics[0]) is not victim)
        finally:
            await asyncio.to_thread(victim.server.start)
            await asyncio.to_thread(servers.settled)
        await publishing
        await load.has_handled_everything()
        assert load.bus.stats["bus"].dead_lettered == 0
        # The one that came back is a replica now, and what is published goes on.
        await load.publish(5)
        await load.has_handled_everything()
