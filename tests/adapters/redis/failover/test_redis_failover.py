"""A fail-over behind one address: the old primary stays up as a replica and keeps its clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from tests.adapters.redis.failover.pair import ADAPTERS, NAME, Pair, Wallet, soon
from tests.adapters.redis_load import Load
from tests.adapters.redis_seam import connection, opened, outgoing, raw_client, reading, receive, unique
from tests.brokers import redis
from tests.brokers._ports import free_port
from tests.brokers._server import LocalServer

from brokerkit import Bus, ConnectionLost, RetryPolicy
from brokerkit._messages._delivery import ACK, RELEASE, RetryLater, Settled
from brokerkit._messages._outgoing import Receipt
from brokerkit.adapters.redis import _client, pubsub
from brokerkit.adapters.redis.pubsub import RedisPubSubAdapter
from brokerkit.dedupe import Dedupe, RedisStore
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.outbox import Outbox


@pytest.mark.parametrize("scheme", ADAPTERS)
@pytest.mark.parametrize("at_once", [True, False], ids=["moves-at-once", "moves-later"])
@pytest.mark.parametrize("hold", [10, 0], ids=["held", "durable"])
async def test_a_bus_goes_on_at_the_new_primary_and_handles_everything_once(
    pair: Pair, scheme: str, at_once: bool, hold: float
) -> None:
    wallet = Wallet(pair.address, scheme, hold=hold)
    async with wallet.bus, wallet.bus.serving():
        await wallet.publish(1, 2)
        await wallet.has_handled(1, 2)
        await wallet.publish(100)
        await soon(lambda: wallet.bus.stats["bus"].retried == 1)
        await pair.fail_over(move=at_once)
        publishing = asyncio.create_task(wallet.publish(3, 4, 101))
        if not at_once:
            await wallet.is_ready(False)
            pair.move()
        await asyncio.wait_for(publishing, 30)
        await wallet.has_handled(1, 2, 100, 3, 4, 101)
        await wallet.is_ready()


@pytest.mark.parametrize("scheme", ADAPTERS)
async def test_what_is_under_way_during_the_fail_over_is_settled_at_the_new_primary(pair: Pair, scheme: str) -> None:
    wallet, begun, go_on = Wallet(pair.address, scheme, retry=RetryPolicy(attempts=1)), asyncio.Event(), asyncio.Event()

    @wallet.bus.on(NAME)
    async def wait(event: OnPlayerSeatedDown) -> None:
        begun.set()
        await go_on.wait()
        if event.player_id == 7:
            raise RuntimeError("no luck")

    async with wallet.bus, wallet.bus.serving():
        await wallet.publish(1, 7)
        await begun.wait()
        await pair.fail_over()
        go_on.set()
        stats = wallet.bus.stats["bus"]
        await soon(lambda: stats.handled == 1 and stats.dead_lettered == 1)
        async with asyncio.timeout(30):
            while (await wallet.bus.health()).sources["bus"].in_flight:
                await asyncio.sleep(0.05)
        letters = [letter async for letter in wallet.bus.dead_letters()]
        assert len(letters) == 1
        assert wallet.handled == [1, 7]
        await wallet.is_ready()
        assert (await wallet.bus.health(lag=True)).sources["bus"].lag == 0


@pytest.mark.parametrize("scheme", ADAPTERS)
async def test_each_command_path_fails_once_and_then_reaches_the_new_primary(pair: Pair, scheme: str) -> None:
    topic = unique()
    async with opened(ADAPTERS[scheme](connection(pair.address, scheme))) as adapter:
        await adapter.ensure([topic], is_queue=False, create=True)
        async with reading(adapter, topic, group="wallet", provision="all", lease=3) as source:
            assert await adapter.send([outgoing(topic, number) for number in range(5)])
            first, second, third, fourth, fifth = await receive(source, 5)
            steps: list[Callable[[], Awaitable[list[Any]]]] = [
                lambda: source.extend([first, second, third, fourth, fifth]),
                lambda: source.settle([(first, ACK)]),
                lambda: source.settle([(second, RELEASE)]),
                lambda: source.settle([(third, RetryLater(0.1, outgoing(topic, 3)))]),
                lambda: adapter.send([outgoing(topic, 9)]),
            ]
            await pair.fail_over()
            for step in steps:
                # The pool is as it was: every step meets the old primary by itself.
                pair.proxy.redirect("127.0.0.1", pair.ports[0])
                await adapter._client.renew()  # pyright: ignore[reportPrivateUsage]
                (failed, *_) = await step()
                assert failed is Settled.FAILED or isinstance(failed, ConnectionLost), failed
                pair.move()
                for result in await step():
                    assert result is Settled.DONE or isinstance(result, Receipt), result
            assert await source.settle([(fourth, ACK), (fifth, ACK)]) == [Settled.DONE, Settled.DONE]
            got: list[bytes] = []
            async with asyncio.timeout(30):
                while len(got) < 3:
                    try:
                        deliveries = await source.receive(10)
                    except ConnectionLost:
                        continue
                    got += [delivery.body for delivery in deliveries]
                    await source.settle([(delivery, ACK) for delivery in deliveries])
            assert sorted(got) == [b"1", b"3", b"9"]
            assert await source.lag() == 0


@pytest.mark.parametrize("scheme", ADAPTERS)
@pytest.mark.parametrize("at_once", [True, False], ids=["moves-at-once", "moves-later"])
async def test_an_outbox_sends_on_at_the_new_primary_in_order(
    pair: Pair, scheme: str, at_once: bool, tmp_path: Path
) -> None:
    wallet = Wallet(pair.address, scheme, publish_timeout=3.0)
    outbox = Outbox(f"sqlite+aiosqlite:///{tmp_path}/outbox.db", wallet.bus)
    await outbox.create_tables()

    async def write(*players: int) -> None:
        async with AsyncSession(outbox.engine) as session, session.begin():
            for player in players:
                await outbox.publish(session, OnPlayerSeatedDown(player_id=player), key="table")

    async def is_empty() -> bool:
        async with outbox.engine.connect() as connection:
            return not await connection.scalar(select(func.count()).select_from(outbox.table))

    async with wallet.bus, wallet.bus.serving(), outbox:
        await write(1, 2)
        await wallet.has_handled(1, 2)
        await pair.fail_over(move=at_once)
        await write(3, 4)
        if not at_once:
            await wallet.is_ready(False)
            await write(5)
            pair.move()
        else:
            await write(5)
        await wallet.has_handled(1, 2, 3, 4, 5)
        async with asyncio.timeout(30):
            while not await is_empty():
                await asyncio.sleep(0.05)
        await wallet.is_ready()
    assert wallet.handled == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("scheme", ADAPTERS)
async def test_dead_letters_and_lag_are_those_of_the_new_primary(pair: Pair, scheme: str) -> None:
    wallet = Wallet(pair.address, scheme, retry=RetryPolicy(attempts=1))
    async with wallet.bus:
        async with wallet.bus.serving():
            await wallet.publish(100, 101)
            await soon(lambda: wallet.bus.stats["bus"].dead_lettered == 2)
        await pair.fail_over()
        left = 2
        while left:  # each walk may meet the old primary, and then says so
            with contextlib.suppress(ConnectionLost):
                assert len([letter async for letter in wallet.bus.dead_letters()]) == left
                assert await wallet.bus.dead_letters().replay(limit=1) == 1
                left -= 1
        assert [letter async for letter in wallet.bus.dead_letters()] == []
        async with wallet.bus.serving():
            await soon(lambda: wallet.bus.stats["bus"].dead_lettered == 2)
            assert (await wallet.bus.health(lag=True)).sources["bus"].lag == 0


@pytest.mark.parametrize("kind", ["", "+list"])
async def test_nothing_is_lost_when_a_manager_starts_a_killed_server_again(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.delenv(redis.VARIABLE, raising=False)  # one of our own
    broker = redis.broker()
    server = broker.server
    assert isinstance(server, LocalServer)
    await asyncio.to_thread(server.start)
    try:
        async with Load(broker.url.replace("redis", f"redis{kind}", 1), [unique() for _ in range(2)]) as load:
            await load.publish(20)
            for _ in range(2):
                publishing = asyncio.create_task(load.publish(100))
                await asyncio.sleep(0.05)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
                await publishing
            await load.has_handled_everything()
            assert load.bus.stats["bus"].dead_lettered == 0
    finally:
        await asyncio.to_thread(server.close)


async def test_pubsub_publishes_and_listens_at_the_new_primary(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "QUIET", 1.0)
    monkeypatch.setattr(_client, "ASK", 0.0)
    topic = unique()
    publisher = RedisPubSubAdapter(connection(pair.address, "redis+pubsub"))
    listener = RedisPubSubAdapter(connection(pair.address, "redis+pubsub"))
    async with opened(publisher), opened(listener), reading(listener, topic) as source:
        (receipt,) = await publisher.send([outgoing(topic, 1)])
        assert isinstance(receipt, Receipt) and receipt.receivers == 1
        assert [one.body for one in await receive(source, 1)] == [b"1"]
        await pair.fail_over()
        async with raw_client(pair.url(0)) as first:
            await first.replicaof("127.0.0.1", free_port())  # what the new primary tells does not get there
        with pytest.raises(ConnectionLost, match="another primary"):
            async with asyncio.timeout(20):
                while not await source.receive(1):
                    pass
        results: list[Any] = []
        async with asyncio.timeout(20):
            while not results or not isinstance(results[-1], Receipt) or not results[-1].receivers:
                await source.receive(1)
                results += await publisher.send([outgoing(topic, 2)])
        # Nothing was told to those who listen to the old server alone.
        assert all(isinstance(one, ConnectionLost) or one.receivers == 1 for one in results), results
        assert [one.body for one in await receive(source, 1)] == [b"2"]


async def test_handlers_go_on_when_their_dedupe_store_fails_over_and_health_says_that_they_wait(pair: Pair) -> None:
    handled, finishing, go_on = list[int](), asyncio.Event(), asyncio.Event()
    bus = Bus("memory://", topic=unique(), group="wallet", format="evenbet", provision="all")
    dedupe = Dedupe(RedisStore(pair.address), key=lambda event: event.player_id)

    @bus.on(NAME, dedupe=dedupe)
    async def handle(event: OnPlayerSeatedDown) -> None:
        handled.append(event.player_id)
        if event.player_id == 2:
            finishing.set()
            await go_on.wait()

    async def publish(*players: int) -> None:
        for player in players:
            await bus.publish(OnPlayerSeatedDown(player_id=player))

    async with bus, bus.serving():
        await publish(1, 1, 2)
        await finishing.wait()
        await pair.fail_over(move=False)
        go_on.set()
        await publish(3)
        async with asyncio.timeout(30):
            while (health := await bus.health()).ready:
                await asyncio.sleep(0.05)
        assert "dedupe store" in health.sources["bus"].error
        pair.move()
        await publish(1, 2, 4)
        await soon(lambda: len(handled) >= 4 and bus.stats["bus"].handled == 7)
        async with asyncio.timeout(30):
            while not (await bus.health()).ready:
                await asyncio.sleep(0.05)
    # 2 was done before the store could be told: it did not run again.
    assert sorted(handled) == [1, 2, 3, 4]
    assert bus.stats["bus"].failed == 0
