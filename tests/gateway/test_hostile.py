"""Clients that misbehave, and storms: whoever does no harm is not harmed."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

import pytest
from tests import every_broker, every_redis
from tests.brokers import redis
from tests.brokers.fixtures import running
from tests.every_broker import until
from tests.gateway.scene import EVERYTHING, body, client, closed, event, gateway, receive, subscribe, url
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from brokerkit import Bus
from brokerkit.gateway import Gateway

BUS: dict[str, Any] = {"group": "gateway", "broadcast": True, "format": "thrillconnect"}
BIG = "x" * 8192
BUFFER = 65_536


@pytest.fixture
def bus() -> Bus:
    return every_broker.memory().bus(**BUS)


async def stuck(served: Gateway, player: str) -> ClientConnection:
    """A client that has subscribed and reads nothing from then on; its own buffers are small."""
    plug = socket.socket()
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plug.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plug, ("127.0.0.1", served.port))
    connection = await connect(url(served, player), sock=plug, ping_interval=None, close_timeout=0.1)
    await subscribe(connection)
    connection.transport.pause_reading()
    return connection


async def fill(bus: Bus, served: Gateway, player: str, other: ClientConnection) -> None:
    """Send to a player who reads nothing until the gateway gives up, and see that another gets everything."""
    while not served.stats.slow:
        await bus.publish(event(player, data={"text": BIG}))
        await bus.publish(sent := event("pl-2"))
        assert await receive(other) == body(sent)


async def test_a_client_that_never_reads_is_closed_and_costs_a_bounded_buffer(bus: Bus) -> None:
    async with bus, gateway(bus, buffer=BUFFER) as served, client(served, "pl-2") as other:
        never = await stuck(served, "pl-1")
        [slow] = [each for each in served._clients if each.player.player_id == "pl-1"]
        await fill(bus, served, "pl-1", other)
        assert BUFFER < slow.backlog < BUFFER + 2 * len(BIG)
        await until(lambda: served.stats.connected == 1)  # though it never answers the close
        assert (served.stats.slow, served.stats.dropped) == (1, 1)
        await bus.publish(sent := event("pl-2"))
        assert await receive(other) == body(sent)
        never.transport.abort()


async def test_a_client_that_asks_too_often_hears_why_it_is_closed_and_harms_nobody(bus: Bus) -> None:
    request = json.dumps({"SubscribeRequest": {"events": EVERYTHING}})
    async with bus, gateway(bus, max_requests=5) as served, client(served, "pl-2") as other:
        async with connect(url(served, "pl-1"), compression=None) as flooding:
            with pytest.raises(ConnectionClosed):
                while True:
                    await flooding.send(request)
            assert await closed(flooding) == (1008, "too many requests: 5 a second at most")
        asked = served.stats.requests
        assert (served.stats.flooding, served.stats.bad_requests) == (1, 1)  # the other's own
        assert 50 <= asked <= 2 + 50 + 5 * 20
        await until(lambda: served.stats.connected == 1)
        await bus.publish(sent := event("pl-2"))
        assert await receive(other) == body(sent)


async def test_a_client_may_ask_much_at_once(bus: Bus) -> None:
    async with bus, gateway(bus, max_requests=5) as served, client(served, "pl-1") as idempotent:
        for _ in range(48):  # two it has sent already
            await idempotent.send(json.dumps({"SubscribeRequest": {"events": EVERYTHING}}))
        await bus.publish(sent := event("pl-1"))
        assert await receive(idempotent) == body(sent)
        await until(lambda: served.stats.requests == 50)
        assert served.stats.flooding == 0


async def test_a_slow_client_that_reads_again_hears_why_it_was_closed(bus: Bus) -> None:
    async with bus, gateway(bus, buffer=BUFFER) as served, client(served, "pl-2") as other:
        slow = await stuck(served, "pl-1")
        await fill(bus, served, "pl-1", other)
        slow.transport.resume_reading()
        with pytest.raises(ConnectionClosed):
            while True:
                assert (await receive(slow))["data"]["text"] == BIG
        assert await closed(slow) == (1013, "too slow: events wait that were not read")


async def test_a_client_that_reads_nothing_of_what_waits_is_closed_without_further_events(bus: Bus) -> None:
    async with bus, gateway(bus, slow=0.3) as served, client(served, "pl-2") as other:
        never = await stuck(served, "pl-1")
        [slow] = [each for each in served._clients if each.player.player_id == "pl-1"]
        while not slow.backlog:
            await bus.publish(event("pl-1", data={"text": BIG}))
        await until(lambda: served.stats.connected == 1)
        assert (served.stats.slow, served.stats.dropped) == (1, 0)
        await bus.publish(sent := event("pl-2"))
        assert await receive(other) == body(sent)
        never.transport.abort()


async def test_pings_whose_answers_are_not_read_do_not_pile_up(bus: Bus) -> None:
    async with bus, gateway(bus, buffer=BUFFER, slow=0.3) as served, client(served, "pl-2"):
        never = await stuck(served, "pl-1")
        never.transport.write(Frame(Opcode.PING, b"x" * 125).serialize(mask=True) * 20_000)
        await until(lambda: served.stats.connected == 1)
        assert served.stats.slow == 1
        never.transport.abort()


async def test_a_frame_of_10_mb_closes_its_connection_with_1009_and_no_other(bus: Bus) -> None:
    async with bus, gateway(bus) as served, client(served, "pl-2") as other:
        one = await connect(url(served, "pl-1"))
        with pytest.raises(ConnectionClosed):
            await one.send("x" * 10_000_000)
            await receive(one)
        assert (await closed(one))[0] == 1009
        await bus.publish(sent := event("pl-2"))
        assert await receive(other) == body(sent)


async def test_a_thousand_clients_that_come_back_at_once_are_all_let_in(bus: Bus) -> None:
    async def come() -> ClientConnection:
        connection = await connect(url(served, "pl-1"), open_timeout=60, ping_interval=None, close_timeout=1)
        await connection.send(json.dumps({"SubscribeRequest": {"events": EVERYTHING}}))
        return connection

    async with bus, gateway(bus) as served, client(served, "pl-2") as other:
        crowd = await asyncio.gather(*(come() for _ in range(1000)))
        for each in crowd:
            each.transport.abort()
        coming = asyncio.gather(*(come() for _ in range(1000)))
        numbers = 0
        while not coming.done():
            await bus.publish(sent := event("pl-2"))
            assert await receive(other) == body(sent)
            numbers += 1
        crowd = await coming
        assert numbers > 1
        await until(lambda: sum(bool(each.subscriptions) for each in served._clients) == 1001)
        await bus.publish(everybody := event(None, "JackpotUpdate"))
        assert [await receive(each) for each in crowd] == [body(everybody)] * 1000
        assert (served.stats.refused, served.stats.slow) == (0, 0)
        for each in crowd:
            each.transport.abort()
        await until(lambda: served.stats.connected == 1)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_connections": 2}, "too many connections; try again later"),
        ({"max_per_player": 2}, "too many connections of this player"),
        ({"max_per_address": 2, "address_header": "X-Forwarded-For"}, "too many connections from this address"),
    ],
)
async def test_connections_beyond_a_limit_are_refused_until_one_ends(
    limits: dict[str, Any], reason: str, bus: Bus
) -> None:
    def come(address: str = "192.0.2.7", player: str = "pl-1") -> Any:
        # What a client claims stands before what the proxy saw.
        headers = {"X-Forwarded-For": f"203.0.113.{time.monotonic_ns() % 250}, {address}"}
        return connect(url(served, player), additional_headers=headers, close_timeout=1)

    async with bus, gateway(bus, **limits) as served:
        first, second = await come(), await come()
        assert await closed(await come()) == (1013, reason)
        if "max_connections" not in limits:
            async with come("192.0.2.8", "pl-2") as other:
                await subscribe(other)
        await first.close()
        await until(lambda: served.stats.connected == 1)
        async with come() as third:
            await subscribe(third)
        await second.close()
        await until(lambda: not served._door._inside)


async def test_a_restart_of_the_broker_is_waited_out_with_all_clients_connected() -> None:
    with running(redis.broker()) as broker:
        bus = every_redis.redis_streams(broker).bus(**BUS)
        async with bus, gateway(bus) as served, client(served, "pl-1") as one, client(served, "pl-2") as two:
            await bus.publish(before := event("pl-1"))
            assert await receive(one) == body(before)
            await asyncio.to_thread(broker.restart)
            await bus.publish(first := event("pl-1"))
            await bus.publish(second := event("pl-2"))
            assert await receive(one) == body(first)
            assert await receive(two) == body(second)
            assert served.stats.accepted == 2


async def test_connections_that_never_ask_for_anything_are_bounded(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brokerkit._vendors.gateway._gateway._OPENING", 5)
    async with bus, gateway(bus, max_connections=5, max_checks=5) as served, client(served, "pl-2") as other:
        silent = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(20)]
        await until(lambda: len(served._transports) == 15)
        await bus.publish(sent := event("pl-2"))
        assert await receive(other) == body(sent)
        for _, writer in silent:
            writer.close()
        await until(lambda: len(served._transports) == 1)


async def test_clients_that_vanish_leave_nothing_behind(bus: Bus) -> None:
    async with bus, gateway(bus) as served:
        for _ in range(20):
            connection = await connect(url(served, "pl-1"))
            await subscribe(connection)
            connection.transport.abort()
        await until(lambda: served.stats.connected == 0)
        assert len(served._clients) == 0
        assert served._clients._operators == {}
        assert not served._door._inside
        await until(lambda: not served._transports)
