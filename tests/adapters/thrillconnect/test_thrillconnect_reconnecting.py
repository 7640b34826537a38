"""Connections to ThrillConnect that break, against a real server that plays ThrillConnect."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from tests.adapters.thrillconnect.seam import CHOICE, JACKPOT, Noted, consuming, failure_of, make_bus
from tests.adapters.thrillconnect_server import ThrillConnectServer, sample
from tests.every_broker import until

from brokerkit import Handlers, Notice
from brokerkit._errors import ConnectionLost
from brokerkit.events.thrillconnect import Interest, JackpotUpdate


async def test_a_cut_connection_is_made_again_with_its_subscriptions(
    server: ThrillConnectServer, noted: Noted, caplog: pytest.LogCaptureFixture
) -> None:
    async with consuming(make_bus(server, noted), server) as client:
        await client.subscribe(Interest(source="thrillgate", event_type="*"))
        await until(lambda: len(server.requests) == 2)
        for number in (1, 2):
            await server.push(JACKPOT)
            await until(lambda number=number: len(noted.names) == number)  # type: ignore[misc]
            server.cut()
            await until(lambda number=number: len(server.requests) == 2 + number)  # type: ignore[misc]
        wanted = [{"source": "thrillpots", "event_type": "*"}, {"source": "thrillgate", "event_type": "*"}]
        assert [request["SubscribeRequest"]["events"] for request in server.requests[1:]] == [wanted] * 3
        assert (client.received, client.gaps, client.dropped) == (2, 2, 0)
    assert caplog.text.count("events are missed until it is back") == 2


async def test_a_server_that_is_away_is_waited_for(server: ThrillConnectServer, noted: Noted) -> None:
    async with consuming(make_bus(server, noted), server) as client:
        await server.stop()
        await until(lambda: client.gaps == 1)
        with pytest.raises(ConnectionLost, match="no connection now"):
            await client.opt_in(CHOICE)
        await server.start()
        await until(lambda: bool(server.connections))
        await server.push(JACKPOT)
        await until(lambda: noted.names == ["JackpotUpdate"])
        assert client.connected


async def test_a_server_in_trouble_is_waited_for_and_at_the_start_told(
    server: ThrillConnectServer, noted: Noted
) -> None:
    server.status, server.tokens = 503, set()
    error = await failure_of(make_bus(server, noted))
    assert isinstance(error, ConnectionLost)
    assert "HTTP 503" in str(error)
    server.tokens = {"good"}
    async with consuming(make_bus(server, noted), server):
        server.tokens = set()
        server.cut()
        await until(lambda: len(server.upgrades) > 4)
        server.tokens = {"good"}
        await until(lambda: bool(server.connections))


async def test_a_server_that_accepts_and_closes_is_asked_less_and_less_often(
    server: ThrillConnectServer, noted: Noted, failures: list[int]
) -> None:
    notices: list[Notice] = []
    bus = make_bus(server, noted)
    bus.add_hook(notices.append)
    async with consuming(bus, server):
        server.tokens, server.status, server.closes_with = set(), None, (1013, "try again later")
        server.cut()
        await until(lambda: len(failures) == 5)
        server.tokens = {"good"}
        await until(lambda: [notice.kind for notice in notices] == ["connection_lost", "connection_back"])
        assert failures[:5] == [1, 2, 3, 4, 5]
        assert (await bus.health()).ready
        await server.push(JACKPOT)
        await until(lambda: noted.names == ["JackpotUpdate"])
    assert notices[0].broker == "ThrillConnect's WebSocket"


async def test_a_server_that_falls_silent_is_found_out(server: ThrillConnectServer, noted: Noted) -> None:
    bus = make_bus(server, noted, options={"ping_interval": 0.2, "ping_timeout": 3})
    async with consuming(bus, server) as client:
        [connection] = server.connections
        connection.transport.pause_reading()
        await until(lambda: len(server.upgrades) == 2)
        connection.transport.abort()
        await until(lambda: server.connections != [connection] and bool(server.connections))
        await server.push(JACKPOT)
        await until(lambda: noted.names == ["JackpotUpdate"])
        assert client.gaps == 1


async def test_a_quiet_server_that_answers_pings_is_no_lost_one(server: ThrillConnectServer, noted: Noted) -> None:
    bus = make_bus(server, noted, options={"ping_interval": 0.05, "ping_timeout": 20})
    async with consuming(bus, server) as client:
        connection = client._connection
        assert connection is not None
        for _ in range(5):
            connection.latency = 0.0
            await until(lambda: connection.latency > 0)  # set when a ping was answered
        assert (client.gaps, len(server.upgrades)) == (0, 1)


async def test_garbage_is_a_dead_letter_and_the_connection_lives(
    server: ThrillConnectServer, noted: Noted, tmp_path: Path
) -> None:
    letters = tmp_path / "letters.jsonl"
    garbage = ["", "no json", "[1", '"text"', "null", b"\x00\xff binary", '{"msg_name": 5.5.5}', "{" * 5_000]
    bus = make_bus(server, noted, dead_letter=letters.as_uri(), unknown="ack")
    async with consuming(bus, server) as client:
        await server.push(*garbage, JACKPOT)
        [connection] = server.connections
        connection.transport.write(b"\x81\x02\xc3\x28")  # a text frame that is no UTF-8
        await server.push(JACKPOT)
        await until(lambda: noted.names == ["JackpotUpdate"] * 2)
        await until(lambda: bus.stats["bus"].dead_lettered == len(garbage) + 1)
        assert (client.gaps, client.received) == (0, len(garbage) + 3)
    lines = [json.loads(line) for line in letters.read_text().splitlines()]
    bodies = [line["body"] for line in lines]
    assert set(garbage[:5]) <= {body for body in bodies if isinstance(body, str)}
    assert {line["headers"]["bk-topic"] for line in lines} == {"thrillpots"}


async def test_what_is_no_frame_ends_the_connection_and_not_the_source(
    server: ThrillConnectServer, noted: Noted
) -> None:
    async with consuming(make_bus(server, noted), server) as client:
        [connection] = server.connections
        connection.transport.write(b"\xff\xff\xff\xff GET / HTTP/1.1\r\n\r\n")
        await until(lambda: client.gaps == 1 and server.connections not in ([], [connection]))
        await server.push(JACKPOT)
        await until(lambda: noted.names == ["JackpotUpdate"])


async def test_a_frame_of_ten_megabytes_ends_the_connection_unless_it_is_allowed(
    server: ThrillConnectServer, noted: Noted, caplog: pytest.LogCaptureFixture
) -> None:
    large = {**sample("WinEvent"), "filler": "x" * 10_000_000}
    async with consuming(make_bus(server, noted), server) as client:
        [connection] = server.connections
        with contextlib.suppress(Exception):
            await server.push(large)
        await until(lambda: client.gaps == 1 and server.connections not in ([], [connection]))
        await server.push(JACKPOT)
        await until(lambda: noted.names == ["JackpotUpdate"])
        assert 1009 in server.closed
    assert "larger than 1,048,576 bytes; raise the option max_size" in caplog.text
    async with consuming(make_bus(server, noted, options={"max_size": 20_000_000}), server) as client:
        await server.push(large)
        await until(lambda: noted.names == ["JackpotUpdate", "WinEvent"])
        assert client.gaps == 0


async def test_what_a_slow_handler_leaves_is_bounded_and_counted(
    server: ThrillConnectServer, caplog: pytest.LogCaptureFixture
) -> None:
    handlers, go_on, done = Handlers(), asyncio.Event(), 0

    @handlers.on("JackpotUpdate")
    async def slow(event: JackpotUpdate) -> None:
        nonlocal done
        await go_on.wait()
        done += 1

    noted = Noted()
    noted.handlers = handlers
    async with consuming(make_bus(server, noted, max_in_flight=50), server) as client:
        await server.push(*[JACKPOT] * 1_000)
        await until(lambda: client.received == 1_000)
        # 50 are with the core and 50 in the buffer.
        assert 900 <= client.dropped < 1_000
        assert bus_is_connected(server)
        go_on.set()
        await until(lambda: done + client.dropped == 1_000)
    assert caplog.text.count("faster than they are handled") == 1


def bus_is_connected(server: ThrillConnectServer) -> bool:
    return len(server.upgrades) == 1 and len(server.connections) == 1


async def test_the_buffer_is_bounded_in_bytes_too(server: ThrillConnectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brokerkit._vendors.thrillconnect_source._source.BUFFER_BYTES", 100_000)
    noted, go_on, done = Noted(), asyncio.Event(), 0
    noted.handlers = Handlers()

    @noted.handlers.on("*")
    async def slow(event: object) -> None:
        nonlocal done
        await go_on.wait()
        done += 1

    async with consuming(make_bus(server, noted, concurrency=1, max_in_flight=10), server) as client:
        await server.push(*[{**JACKPOT, "filler": "x" * 30_000}] * 100)
        await until(lambda: client.received == 100)
        assert client.dropped >= 100 - 10 - 4
        go_on.set()
        await until(lambda: done + client.dropped == 100)


async def test_a_stop_does_not_wait_for_a_server_that_is_away(server: ThrillConnectServer, noted: Noted) -> None:
    started = asyncio.Event()
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        if asked > 1:
            started.set()
            await asyncio.Event().wait()
        return "good"

    bus = make_bus(server, noted, options={"token": token}, connect_timeout=600)
    async with consuming(bus, server):
        server.cut()
        await started.wait()
        before = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - before < 10
