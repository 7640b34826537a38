"""A fail-over behind one address: the old primary stays up as a replica and keeps its clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from tests.adapters.redis_load import Load
from tests.adapters.redis_seam import connection, opened, outgoing, raw_client, reading, receive, unique
from tests.brokers import redis
from tests.brokers._ports import free_port
from tests.brokers._server import LocalServer, Program
from tests.brokers.redis import program

from brokerkit import Bus, ConnectionLost, Message, RetryPolicy
from brokerkit._messages._delivery import ACK, RELEASE, RetryLater, Settled
from brokerkit._messages._outgoing import Receipt
from brokerkit.adapters.redis import _client, pubsub
from brokerkit.adapters.redis._errors import code_of, is_transient, translate
from brokerkit.adapters.redis.list import RedisListAdapter
from brokerkit.adapters.redis.pubsub import RedisPubSubAdapter
from brokerkit.adapters.redis.streams import RedisStreamsAdapter
from brokerkit.dedupe import Dedupe, RedisStore
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.outbox import Outbox
from brokerkit.testing import Proxy

ADAPTERS = {"redis": RedisStreamsAdapter, "redis+list": RedisListAdapter}
NAME = "OnPlayerSeatedDown"


class Pair:
    """Two servers, the second one a replica of the first, and the address of whichever is the primary."""

    def __init__(self, ports: list[int], proxy: Proxy) -> None:
        self.ports = ports
        self.proxy = proxy
        self.address = f"redis://{proxy.address}/0"

    def url(self, number: int) -> str:
        return f"redis://127.0.0.1:{self.ports[number]}/0"

    async def replicated(self) -> None:
        """Wait until the second server has what the first one has."""
        async with raw_client(self.url(0)) as first:
            await first.set("mark", unique())
            async with asyncio.timeout(30):
                while await first.wait(1, 1000) < 1:
                    pass

    async def fail_over(self, *, move: bool = True) -> None:
        """The second server becomes the primary and the first one its replica, with all its clients."""
        await self.replicated()
        async with raw_client(self.url(0)) as first, raw_client(self.url(1)) as second:
            await second.replicaof("NO", "ONE")
            if move:
                self.move()
            await first.replicaof("127.0.0.1", self.ports[1])

    def move(self) -> None:
        self.proxy.redirect("127.0.0.1", self.ports[1])


def _is_up(url: str) -> Callable[[], None]:
    import redis

    def ask() -> None:
        with redis.Redis.from_url(url, socket_timeout=2) as client:
            client.ping()

    return ask


@contextmanager
def _servers(folder: Path) -> Iterator[list[int]]:
    with contextlib.ExitStack() as stack:
        ports = [free_port(), free_port()]
        for port in ports:
            home = folder / str(port)
            home.mkdir()
            settings = home / "redis.conf"
            settings.write_text(
                f'bind 127.0.0.1\nport {port}\ndir {home}\nsave ""\nappendonly no\nrepl-diskless-sync-delay 0\n'
            )
            server = LocalServer(
                "redis",
                programs=[Program(command=[*program(), str(settings)])],
                ready=_is_up(f"redis://127.0.0.1:{port}/0"),
                log=home / "redis.log",
            )
            server.start()
            stack.callback(server.close)
        yield ports


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncGenerator[Pair, None]:
    with _servers(tmp_path) as ports:
        async with Proxy("127.0.0.1", ports[0]) as proxy:
            made = Pair(ports, proxy)
            async with raw_client(made.url(1)) as second:
                await second.replicaof("127.0.0.1", ports[0])
            await made.replicated()
            yield made


async def soon(condition: Callable[[], object], *, bounded: float = 30) -> None:
    async with asyncio.timeout(bounded):
        while not condition():
            await asyncio.sleep(0.02)


class Wallet:
    """A bus whose handler notes every player, and fails once for those from 100 on."""

    def __init__(self, url: str, scheme: str, **settings: Any) -> None:
        self.handled: list[int] = []
        usual: dict[str, Any] = {
            "topic": unique(),
            "group": "wallet",
            "provision": "all",
            "format": "evenbet",
            "lease": 3,
            "retry": RetryPolicy(attempts=2, first=1.0, jitter=False),
        }
        if scheme == "redis+list":
            usual["envelope"] = "brokerkit"
        self.bus = Bus(url.replace("redis", scheme, 1), **usual | settings)

        @self.bus.on(NAME)
        async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
            if message.attempt == 1 and event.player_id >= 100:
                raise RuntimeError("not yet")
            self.handled.append(event.player_id)

    async def publish(self, *players: int) -> None:
        for player in players:
            await self.bus.publish(OnPlayerSeatedDown(player_id=player))

    async def has_handled(self, *players: int) -> None:
        """Wait for them, each of them once."""
        try:
            await soon(lambda: len(self.handled) >= len(players))
        except TimeoutError:
            assert sorted(self.handled) == sorted(players)
            raise
        assert sorted(self.handled) == sorted(players)

    async def is_ready(self, ready: bool = True) -> None:
        async with asyncio.timeout(30):
            while (await self.bus.health()).ready is not ready:
                await asyncio.sleep(0.05)


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


REFUSALS = {
    "OOM": ({"maxmemory": "1"}, {"maxmemory": "0"}),
    "NOREPLICAS": ({"min-replicas-to-write": "5"}, {"min-replicas-to-write": "0"}),
}


@pytest.mark.parametrize("scheme", ADAPTERS)
@pytest.mark.parametrize("code", REFUSALS)
async def test_a_server_that_takes_no_writes_for_a_while_is_waited_for(pair: Pair, scheme: str, code: str) -> None:
    on, off = REFUSALS[code]
    wallet = Wallet(pair.address, scheme)
    async with raw_client(pair.url(0)) as raw, wallet.bus, wallet.bus.serving():
        await wallet.publish(1, 100)
        await soon(lambda: wallet.handled[:1] == [1])
        await raw.config_set(*next(iter(on.items())))
        publishing = asyncio.create_task(wallet.publish(2))
        await wallet.is_ready(False)
        await asyncio.sleep(1.5)  # the retry of 100 is due meanwhile
        target = (await wallet.bus.health()).targets["bus"]
        assert code in target.error or "maxmemory" in target.error
        await raw.config_set(*next(iter(off.items())))
        await asyncio.wait_for(publishing, 30)
        await wallet.has_handled(1, 100, 2)
        await wallet.is_ready()


@pytest.mark.parametrize("scheme", ADAPTERS)
async def test_a_replica_without_its_primary_is_no_end(pair: Pair, scheme: str) -> None:
    wallet = Wallet(pair.address, scheme)
    async with raw_client(pair.url(0)) as first, wallet.bus, wallet.bus.serving():
        await wallet.publish(1)
        await wallet.has_handled(1)
        await first.config_set("replica-serve-stale-data", "no")
        await pair.fail_over(move=False)
        async with raw_client(pair.url(1)) as second:
            # Nothing listens there: the link goes down, and the answer is MASTERDOWN.
            await first.replicaof("127.0.0.1", free_port())
            await wallet.is_ready(False)
            pair.move()
            await wallet.publish(2)
            await wallet.has_handled(1, 2)
            assert await second.ping()
        await wallet.is_ready()


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


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ReadOnlyError("You can't write against a read only replica."), "READONLY"),
        (MasterDownError("Link with MASTER is down and replica-serve-stale-data is set to 'no'."), "MASTERDOWN"),
        (BusyLoadingError("Redis is loading the dataset in memory"), "LOADING"),
        (ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed"), "UNBLOCKED"),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), "MISCONF"),
        (ResponseError("BUSY Redis is busy running a script."), "BUSY"),
        (
            ResponseError(
                "ERR Error running script (call to f_0123): @user_script:2: @user_script: 2: "
                "-READONLY You can't write against a read only replica. "
            ),
            "READONLY",
        ),
        (TryAgainError("Multiple keys request during rehashing of slot"), "TRYAGAIN"),
        (ClusterDownError("The cluster is down"), "CLUSTERDOWN"),
        (
            ResponseError(
                "ERR Script attempted to access a non local key in a cluster node script: 0123, on @user_script:10."
            ),
            "TRYAGAIN",
        ),
        (
            ResponseError(
                "ERR Error running script (call to f_0123): @user_script:2: @user_script: 2: "
                "-OOM command not allowed when used memory > 'maxmemory'. "
            ),
            "OOM",
        ),
    ],
)
def test_a_refusal_that_another_server_might_not_give_may_be_tried_again(error: Exception, code: str) -> None:
    assert code_of(error) == code
    assert is_transient(error)
    assert isinstance(translate(error, "redis://there", "reading"), ConnectionLost)


@pytest.mark.parametrize(
    "error",
    [
        ResponseError("BUSYGROUP Consumer Group name already exists"),
        ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        ResponseError("ERR unknown command 'LMOVE'"),
        MovedError(
            "3999 127.0.0.1:6381"
        ),  # the client of a cluster follows it; there is nothing to follow on one server
        NoPermissionError("this user has no permissions"),
        AuthenticationError("invalid username-password pair"),
    ],
)
def test_a_refusal_of_the_command_itself_is_final(error: Exception) -> None:
    assert not is_transient(error)
    assert not isinstance(translate(error, "redis://there", "reading"), ConnectionLost)
