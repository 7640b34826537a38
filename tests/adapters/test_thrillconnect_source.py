"""The WebSocket source, against a real server that plays ThrillConnect."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.adapters.thrillconnect_server import PATH, PUSHED, ThrillConnectServer, playing, sample
from tests.certificates import self_signed
from tests.every_broker import until

from brokerkit import Bus, Handlers, Message, Notice
from brokerkit._consuming._consumer import Consumer
from brokerkit._errors import AccessDenied, Closed, ConfigError, ConnectionLost, InvalidMessage, UnsupportedFeature
from brokerkit._url import Url
from brokerkit._vendors.thrillconnect_source import ThrillConnectAdapter
from brokerkit.adapters.api import Connection
from brokerkit.events.thrillconnect import (
    AnyMessage,
    Interest,
    JackpotUpdate,
    OptInChoice,
    OptInChoiceV2,
    OptInEvent,
    OptInPlayer,
    OptInTarget,
    PlayerRaffleTicketResponse,
    RaffleTicketQuestion,
)
from brokerkit.thrillconnect import Client, RequestFailed, client_of

JACKPOT = sample("JackpotUpdate")
CHOICE = OptInChoice(instance_id="i-1", player_id="pl-7", brand_id="northlight:lumen", player_country="SE", opt_in=True)
QUESTION = RaffleTicketQuestion(player_id="pl-7", instance_id="i-2", brand_id="northlight:lumen")
ERROR = sample("PlayerRaffleTicketResponse") | {
    "msg_type": "Error",
    "msg_name": "InvalidRequest",
    "data": {"message": "unknown instance"},
}


@pytest.fixture
async def server() -> AsyncIterator[ThrillConnectServer]:
    async with playing() as server:
        yield server


@pytest.fixture(autouse=True)
def failures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Reconnect soon: how long the core waits after so many failures is the core's, and tested there."""
    seen: list[int] = []
    back_off = Consumer._back_off

    async def soon(consumer: Consumer, failures: int) -> None:
        seen.append(failures)
        await back_off(consumer, -3)

    monkeypatch.setattr(Consumer, "_back_off", soon)
    return seen


class Noted:
    """What handlers of every name got."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.events: list[Any] = []
        self.handlers = Handlers()
        self.handlers.on("*")(self.note)

    async def note(self, event: Any, message: Message) -> None:
        self.events.append(event)
        self.messages.append(message)

    @property
    def names(self) -> list[str]:
        return [message.name for message in self.messages]


@pytest.fixture
def noted() -> Noted:
    return Noted()


def make_bus(server: ThrillConnectServer, noted: Noted, /, **settings: Any) -> Bus:
    options = {"token": "good", "currency": "EUR", **settings.pop("options", {})}
    bus = Bus(server.url, **{"topic": "thrillpots", "format": "thrillconnect", "options": options, **settings})
    bus.include(noted.handlers)
    return bus


@contextlib.asynccontextmanager
async def consuming(
    bus: Bus, server: ThrillConnectServer, *, on_source_failure: Literal["raise", "log"] = "raise"
) -> AsyncIterator[Client]:
    """A bus that consumes, and whose subscription the server has."""
    async with asyncio.timeout(60), bus.serving(on_source_failure=on_source_failure):
        await until(lambda: bool(server.connections))
        yield client_of(bus)


async def failure_of(bus: Bus) -> BaseException:
    with pytest.raises(Exception) as caught:
        async with asyncio.timeout(60):
            await bus.serve()
    return caught.value


def shown(error: BaseException | None) -> str:
    """All that a traceback tells of an error."""
    return "" if error is None else "".join(traceback.format_exception(error)) + repr(error)


# ---- events ----------------------------------------------------------------------------------------------------------


async def test_every_sample_reaches_its_handlers(server: ThrillConnectServer, noted: Noted) -> None:
    bus = make_bus(server, noted, topic=["thrillpots/JackpotUpdate", "thrillgate"])
    async with consuming(bus, server):
        await server.push(*PUSHED)
        await until(lambda: len(noted.messages) == len(PUSHED))
    assert sorted(noted.names) == sorted(wire["msg_name"] for wire in PUSHED)
    assert {"Event", "Message", "Error"} == {event.msg_type for event in noted.events}
    by_name = dict(zip(noted.names, noted.events, strict=True))
    assert isinstance(by_name["JackpotUpdate"], JackpotUpdate)
    assert isinstance(by_name["InvalidRequest"], AnyMessage)
    assert isinstance(by_name["PlayerRaffleTicketResponse"], PlayerRaffleTicketResponse)
    assert {message.topic for message in noted.messages} == {f"{wire['source']}/{wire['msg_name']}" for wire in PUSHED}
    assert server.requests == [
        {
            "SubscribeRequest": {
                "events": [
                    {"source": "thrillpots", "event_type": "JackpotUpdate"},
                    {"source": "thrillgate", "event_type": "*"},
                ]
            }
        }
    ]
    assert (server.paths, server.upgrades) == ([PATH], [{"token": "good", "currency": "EUR"}])


async def test_a_named_source_of_a_file_serves_typed_handlers(
    server: ThrillConnectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAYER_TOKEN", "good")
    file = tmp_path / "brokerkit.toml"
    file.write_text(f"""
        [sources.thrillconnect]
        url = "{server.url}?currency=SEK&lang=sv"
        topic = "thrillpots"
        format = "thrillconnect"
        options = {{ token_from = "env:PLAYER_TOKEN" }}
        [sources.other]
        url = "memory://websocket-other"
        topic = "t"
        format = "evenbet"
    """)
    bus = Bus.from_config(file)
    got: asyncio.Queue[tuple[Any, Message]] = asyncio.Queue()

    @bus.on("JackpotUpdate", source="thrillconnect")
    async def handle(event: JackpotUpdate, message: Message) -> None:
        got.put_nowait((event, message))

    @bus.on("OnGameDone")
    async def other(event: object) -> None: ...

    async with asyncio.timeout(60), bus.serving():
        await until(lambda: bool(server.connections))
        await server.push(JACKPOT)
        event, message = await got.get()
        assert message.source == "thrillconnect"
        assert message.native is client_of(bus, "thrillconnect")
        assert event.data.currency == JACKPOT["data"]["currency"]
        with pytest.raises(ConfigError, match="is not on thrillconnect.wss://"):
            client_of(bus, "other")
        for name in (None, "nobody"):
            with pytest.raises(ConfigError, match="there are thrillconnect, other"):
                client_of(bus, name)
    assert server.upgrades == [{"token": "good", "currency": "SEK", "lang": "sv"}]


async def test_events_come_in_the_order_in_which_they_were_sent(server: ThrillConnectServer, noted: Noted) -> None:
    bus = make_bus(server, noted, key_from="field:data.id", max_in_flight=5_000)
    async with consuming(bus, server):
        await server.push(*({**JACKPOT, "timestamp": 1_767_040_591_000 + number} for number in range(2_000)))
        await until(lambda: len(noted.messages) == 2_000)
    times = [event.timestamp for event in noted.events]
    assert times == sorted(times)
    assert len(set(times)) == 2_000


# ---- tokens ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_refused_at_the_upgrade_is_access_denied_at_once(
    server: ThrillConnectServer, noted: Noted, status: int
) -> None:
    server.status = status
    error = await failure_of(make_bus(server, noted, options={"token": "sECRET/=1"}))
    assert isinstance(error, AccessDenied)
    assert f"HTTP {status}" in str(error)
    assert "sECRET" not in shown(error)
    assert [upgrade["token"] for upgrade in server.upgrades] == ["sECRET/=1"]


@pytest.mark.parametrize(
    "closes_with",
    [(4401, ""), (4403, "no right, sECRET"), (1008, "policy"), (1000, "401 Unauthorized"), (401, ""), (403, "")],
    ids=str,
)
async def test_a_token_refused_after_the_socket_opened_is_access_denied(
    server: ThrillConnectServer, noted: Noted, closes_with: tuple[int, str]
) -> None:
    server.status, server.closes_with = None, closes_with
    error = await failure_of(make_bus(server, noted, options={"token": "sECRET"}))
    assert isinstance(error, AccessDenied)
    assert "sECRET" not in shown(error)
    assert len(server.upgrades) == 1


@pytest.mark.parametrize("status", [401, None], ids=["upgrade", "close"])
async def test_a_token_function_is_asked_once_more_before_access_is_denied(
    server: ThrillConnectServer, noted: Noted, status: int | None
) -> None:
    server.status = status
    tokens = iter(["old", "older"])

    async def token() -> str:
        return next(tokens)

    error = await failure_of(make_bus(server, noted, options={"token": token}))
    assert isinstance(error, AccessDenied)
    assert [upgrade["token"] for upgrade in server.upgrades] == ["old", "older"]


@pytest.mark.parametrize("status", [401, None], ids=["upgrade", "close"])
async def test_the_second_token_of_a_function_may_be_the_right_one(
    server: ThrillConnectServer, noted: Noted, status: int | None
) -> None:
    server.status = status
    tokens = iter(["old", "good"])

    async def token() -> str:
        return next(tokens)

    async with consuming(make_bus(server, noted, options={"token": token}), server):
        await server.push(JACKPOT)
        await until(lambda: noted.names == ["JackpotUpdate"])


async def test_a_session_that_ran_out_goes_on_with_another_token(server: ThrillConnectServer, noted: Noted) -> None:
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        return "good"

    bus = make_bus(server, noted, options={"token": token})
    async with consuming(bus, server) as client:
        for number in range(1, 4):
            [connection] = server.connections
            # A connection that is older than the connect timeout shows that its token was accepted.
            bus.adapter()._source._since -= 60  # type: ignore[attr-defined]
            await connection.close(4401, "session over")
            await until(lambda number=number: asked == number + 1 and bool(server.connections))  # type: ignore[misc]
        await server.push(JACKPOT)
        await until(lambda: noted.names == ["JackpotUpdate"])
        assert client.gaps == 3


async def test_a_token_function_that_fails_is_asked_again(server: ThrillConnectServer, noted: Noted) -> None:
    results: list[Any] = ["good", OSError("sECRET"), "good"]

    async def token() -> str:
        match results.pop(0):
            case str(text):
                return text
            case error:
                raise error

    bus = make_bus(server, noted, options={"token": token})
    async with consuming(bus, server):
        server.cut()
        await until(lambda: not results and bool(server.connections))
    assert len(server.upgrades) == 2


async def test_a_token_function_must_give_text(server: ThrillConnectServer, noted: Noted) -> None:
    error = await failure_of(make_bus(server, noted, options={"token": lambda: 5}))
    assert isinstance(error, ConfigError)
    assert "did not return text but int" in str(error)


async def test_the_token_is_in_no_log_no_repr_and_no_error(
    server: ThrillConnectServer, noted: Noted, caplog: pytest.LogCaptureFixture
) -> None:
    server.tokens = {"sECRET %"}
    bus = make_bus(server, noted, options={"token": "sECRET %", "headers": {"X-Key": "sECRET"}})
    with caplog.at_level(logging.DEBUG):
        async with consuming(bus, server, on_source_failure="log") as client:
            with pytest.raises(AssertionError):
                assert not client, "connected"
            texts = [repr(bus), repr(client), repr(bus.adapter()), repr(bus.runtime.settings)]
            server.cut()
            await until(lambda: len(server.upgrades) == 2 and bool(server.connections))
            server.tokens = set()
            server.cut()
            await until(lambda: "source bus ends" in caplog.text)
    ours = [record for record in caplog.records if not record.name.startswith("websockets.server")]
    texts += [record.getMessage() for record in ours]
    assert "AccessDenied" in caplog.text
    assert [text for text in texts if "sECRET" in text] == []


async def test_no_redirect_takes_the_token_elsewhere(server: ThrillConnectServer, noted: Noted) -> None:
    async with playing() as other:
        server.status, server.headers = 307, {"Location": f"{other.url}?token=bad"}
        error = await failure_of(make_bus(server, noted, options={"token": "bad"}))
        assert isinstance(error, ConnectionLost)
        assert "HTTP 307" in str(error)
        assert other.upgrades == []


# ---- connections that break ------------------------------------------------------------------------------------------


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


# ---- requests --------------------------------------------------------------------------------------------------------


async def test_requests_get_their_answers_and_handlers_see_them_too(server: ThrillConnectServer, noted: Noted) -> None:
    async with consuming(make_bus(server, noted), server) as client:
        joined, left, tickets = await asyncio.gather(
            client.opt_in(CHOICE),
            client.opt_in(CHOICE.model_copy(update={"opt_in": False})),
            client.raffle_tickets(QUESTION),
        )
        assert (joined.data.opted_in, left.data.opted_in) == (True, False)
        assert joined.data.instance_id == "i-1"
        assert tickets.data.model_extra == {"instance_id": "i-2", "tickets": 9}
        await until(lambda: len(noted.names) == 3)
    assert sorted(noted.names) == ["OptInEvent", "OptInEvent", "PlayerRaffleTicketResponse"]
    assert {type(event) for event in noted.events} == {OptInEvent, PlayerRaffleTicketResponse}
    assert server.requests[1] == {
        "PlayerOptInRequest": {
            "instance_id": "i-1",
            "player_id": "pl-7",
            "brand_id": "northlight:lumen",
            "player_country": "SE",
            "opt_in": True,
        }
    }


async def test_answers_are_told_apart_by_player_and_instance(server: ThrillConnectServer, noted: Noted) -> None:
    server.answers = False
    answer = sample("PlayerRaffleTicketResponse")
    async with consuming(make_bus(server, noted), server) as client:
        asked = [
            asyncio.create_task(client.raffle_tickets(QUESTION.model_copy(update=update)))
            for update in ({}, {"instance_id": "i-9"}, {"player_id": "pl-9"})
        ]
        await until(lambda: len(server.requests) == 4)
        about = [("pl-7", "i-3"), ("pl-9", "i-2"), ("pl-7", "i-9"), ("pl-7", "i-2")]
        await server.push(
            *(
                {**answer, "player_id": player, "data": {"instance_id": instance, "tickets": number}}
                for number, (player, instance) in enumerate(about)
            )
        )
        answers = await asyncio.gather(*asked)
        assert [one.data.model_extra["tickets"] for one in answers] == [3, 2, 1]


async def test_of_requests_that_are_alike_the_oldest_gets_the_answer(server: ThrillConnectServer, noted: Noted) -> None:
    server.answers = False
    async with consuming(make_bus(server, noted), server) as client:
        asked = [asyncio.create_task(client.raffle_tickets(QUESTION)) for _ in range(2)]
        await until(lambda: len(server.requests) == 3)
        for number in (1, 2):
            await server.push({**sample("PlayerRaffleTicketResponse"), "data": {"tickets": number}})
        answers = await asyncio.gather(*asked)
        assert [one.data.model_extra for one in answers] == [{"tickets": 1}, {"tickets": 2}]


async def test_the_second_form_of_opting_in_is_sent(server: ThrillConnectServer, noted: Noted) -> None:
    choice = OptInChoiceV2(
        target=OptInTarget(type="source", id="slots-main"),
        operator_id="northlight",
        player=OptInPlayer(id="pl-7", country="SE", brand_id="lumen"),
        opt_in=True,
        opt_linked=False,
    )
    async with consuming(make_bus(server, noted), server) as client:
        await client.opt_in_v2(choice)
        await until(lambda: len(server.requests) == 2)
    assert server.requests[1] == sample("PlayerOptInRequestV2")


async def test_a_handler_may_ask_and_may_still_ask_while_the_bus_stops(server: ThrillConnectServer) -> None:
    handlers, begun, answers = Handlers(), asyncio.Event(), list[PlayerRaffleTicketResponse]()

    @handlers.on("JackpotUpdate")
    async def ask(event: JackpotUpdate, message: Message) -> None:
        answers.append(await message.native.raffle_tickets(QUESTION))
        begun.set()
        await until(lambda: "stopped" in repr(bus.adapter()._source))  # type: ignore[attr-defined]
        answers.append(await message.native.raffle_tickets(QUESTION))

    bus = Bus(server.url, topic="thrillpots", format="thrillconnect", options={"token": "good"})
    bus.include(handlers)
    async with consuming(bus, server):
        await server.push(JACKPOT)
        await begun.wait()
    assert len(answers) == 2


async def test_an_error_message_ends_the_one_request_that_it_can_mean(
    server: ThrillConnectServer, noted: Noted
) -> None:
    server.answers = False
    async with consuming(make_bus(server, noted), server) as client:
        asked = asyncio.create_task(client.opt_in(CHOICE))
        await until(lambda: len(server.requests) == 2)
        await server.push({**ERROR, "player_id": "pl-8"}, {**ERROR, "player_id": "pl-7"})
        with pytest.raises(RequestFailed, match="unknown instance") as caught:
            await asked
        assert caught.value.answer is not None
        assert caught.value.answer.msg_name == "InvalidRequest"
        await until(lambda: noted.names == ["InvalidRequest"] * 2)


async def test_an_error_message_that_may_mean_two_requests_ends_neither(
    server: ThrillConnectServer, noted: Noted
) -> None:
    server.answers = False
    async with consuming(make_bus(server, noted), server) as client:
        asked = [asyncio.create_task(one) for one in (client.opt_in(CHOICE), client.raffle_tickets(QUESTION))]
        await until(lambda: len(server.requests) == 3)
        await server.push({**ERROR, "player_id": None})
        await server.push({**ERROR, "player_id": None, "data": {"instance_id": "i-2"}})
        with pytest.raises(RequestFailed):
            await asked[1]
        assert not asked[0].done()
        asked[0].cancel()
        await asyncio.wait(asked)
        assert "0 requests wait" in repr(client)


async def test_a_request_without_an_answer_fails_in_time(server: ThrillConnectServer, noted: Noted) -> None:
    server.answers = False
    async with consuming(make_bus(server, noted), server) as client:
        with pytest.raises(RequestFailed, match="no answer to PlayerOptInRequest within 0.1 s") as caught:
            await client.opt_in(CHOICE, timeout=0.1)
        assert caught.value.answer is None
        asked = asyncio.create_task(client.raffle_tickets(QUESTION))
        await until(lambda: len(server.requests) == 3)
        server.cut()
        with pytest.raises(ConnectionLost, match="before PlayerRaffleTicketsRequest's answer"):
            await asked


async def test_requests_need_a_bus_that_consumes(server: ThrillConnectServer, noted: Noted) -> None:
    bus = make_bus(server, noted)
    client = client_of(bus)
    with pytest.raises(Closed):
        await client.opt_in(CHOICE)
    async with consuming(bus, server):
        assert (await client.opt_in(CHOICE)).msg_name == "OptInEvent"
    with pytest.raises(Closed):
        await client.raffle_tickets(QUESTION)


# ---- what it cannot do, and what is wrong ----------------------------------------------------------------------------


async def test_publishing_is_refused_and_says_what_to_do(server: ThrillConnectServer, noted: Noted) -> None:
    bus = make_bus(server, noted)
    async with bus:
        with pytest.raises(InvalidMessage, match="its requests are calls of brokerkit.thrillconnect.Client"):
            await bus.publish("thrillconnect:JackpotUpdate", JACKPOT)
    assert server.upgrades == []


async def test_what_it_cannot_do_is_refused_at_the_start(
    server: ThrillConnectServer, noted: Noted, tmp_path: Path
) -> None:
    error = await failure_of(make_bus(server, noted, topic=None, queue="q"))
    assert isinstance(error, UnsupportedFeature)
    source = Bus("memory://websocket-dead", topic="t", dead_letter=f"{server.url}?topic=dead")
    source.include(noted.handlers)
    assert isinstance(await failure_of(source), UnsupportedFeature)
    with pytest.raises(UnsupportedFeature):
        make_bus(server, noted, name_from="header:event")
    file = tmp_path / "target.toml"
    file.write_text(f'[targets.out]\nurl = "{server.url}"\nformat = "thrillconnect"\ntopic = "thrillpots"')
    with pytest.raises(UnsupportedFeature, match="target 'out'"):
        Bus.from_config(file)


async def test_looking_shows_what_comes_from_then_on_and_hangs_up_at_the_end(server: ThrillConnectServer) -> None:
    adapter = ThrillConnectAdapter(Connection(url=Url.parse(server.url), options={"token": "good"}))
    await adapter.open()
    assert [one async for one in adapter.browse(["thrillpots"])] == []
    async with contextlib.aclosing(adapter.browse(["thrillpots"], follow=True)) as browse:
        first = asyncio.ensure_future(anext(browse))
        await until(lambda: bool(server.connections))
        await server.push(JACKPOT)
        delivery = await first
    assert delivery.topic == "thrillpots/JackpotUpdate"
    assert json.loads(delivery.body or b"") == JACKPOT
    await until(lambda: not server.connections)
    await adapter.close()


async def test_one_url_and_token_serve_one_source_at_a_time_and_again_later(
    server: ThrillConnectServer, noted: Noted, tmp_path: Path
) -> None:
    file = tmp_path / "two.toml"
    tables = [f'[sources.{name}]\ntopic = "{name}"' for name in ("thrillpots", "thrillgate")]
    file.write_text("\n".join([f'[bus]\nurl = "{server.url}?token=good"\nformat = "thrillconnect"', *tables]))
    bus = Bus.from_config(file)
    bus.include(noted.handlers)
    assert isinstance(await failure_of(bus), UnsupportedFeature)
    bus = make_bus(server, noted)
    async with bus:
        for _ in range(2):
            async with consuming(bus, server):
                pass
            await until(lambda: not server.connections)


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("thrillconnect+ws://ann:pw@h/", {}, "a user or password does not belong"),
        ("thrillconnect+ws://h1,h2/", {}, "exactly one host"),
        ("thrillconnect+ws://", {}, "exactly one host"),
        ("thrillconnect+ws://h/", {"tokn": "x"}, "looks like 'token'"),
        ("thrillconnect+ws://h/", {"ping_intervall": "x"}, "looks like 'ping_interval'"),
        ("thrillconnect+ws://h/", {"token": 5}, "token is not a function but int"),
        ("thrillconnect+ws://h/", {"token": "x", "token_from": "env:HOME"}, "give one of them"),
        ("thrillconnect+ws://h/", {"token_from": "env:BROKERKIT_NO_SUCH"}, "BROKERKIT_NO_SUCH, which is not set"),
        ("thrillconnect+ws://h/", {"token_from": "no.such:thing"}, "cannot be imported"),
        ("thrillconnect+ws://h/", {"token_from": "json:no_such"}, "cannot be imported"),
        ("thrillconnect+ws://h/", {"token_from": "json:__name__"}, "is not a function but str"),
        ("thrillconnect+ws://h/", {"token_from": 5}, "token_from must be text"),
        ("thrillconnect+ws://h/", {"currency": ["EUR"]}, "must be text or a number"),
        ("thrillconnect+ws://h/", {"ping_interval": "soon"}, "must be a number above 0"),
        ("thrillconnect+ws://h/", {"ping_timeout": 0}, "must be a number above 0"),
        ("thrillconnect+ws://h/", {"max_size": "nan"}, "must be a number above 0"),
        ("thrillconnect+ws://h/", {"headers": {"X": "a\r\nb"}}, "without line breaks"),
        ("thrillconnect+ws://h/", {"headers": "X"}, "must be a table"),
        ("thrillconnect+ws://h/", {"ssl": "ca.pem"}, "write thrillconnect.wss://"),
        ("thrillconnect+wss://h/", {"ssl": "/no/such/ca.pem"}, "a file of certificate authorities"),
        ("thrillconnect+ws://h/", {"proxy": "sECRET"}, "must be a URL"),
    ],
)
def test_wrong_options_are_told_by_name(url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ThrillConnectAdapter(Connection(url=Url.parse(url), options=options))
    assert "sECRET" not in shown(caught.value)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_url_of_any_websocket_is_refused_with_the_scheme_of_thrillconnect(scheme: str) -> None:
    with pytest.raises(ConfigError, match=rf"no adapter for '{scheme}'; did you mean thrillconnect\+{scheme}://"):
        Bus(f"{scheme}://host/v1/events/northlight/lumen", topic="thrillpots")


def test_text_options_of_a_url_are_taken() -> None:
    options = {"ping_interval": "5", "max_size": "1e6", "flag": True, "token": "a b&c", "proxy": "http://p:1"}
    url = Url.parse("thrillconnect+wss://[::1]:8443/a%20b/c")
    made = ThrillConnectAdapter(Connection(url=url, options=options))._options
    assert (made.ping_interval, made.max_size, made.proxy) == (5.0, 1_000_000, "http://p:1")
    assert made.uri("a b&c") == "wss://[::1]:8443/a%20b/c?token=a%20b%26c&flag=true"
    assert made.uri(None) == "wss://[::1]:8443/a%20b/c?flag=true"


async def test_headers_go_along(server: ThrillConnectServer, noted: Noted) -> None:
    async with consuming(make_bus(server, noted, options={"headers": {"X-Key": "k"}}), server):
        assert server.asked_with["X-Key"] == "k"


async def test_a_proxy_is_used_where_it_is_named_and_only_there(
    server: ThrillConnectServer, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    async def serve_proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        there, out = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pump(reader, out), pump(there, writer))

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async with await asyncio.start_server(serve_proxy, "127.0.0.1", 0) as proxy:
        address = f"http://ann:sECRET@127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        async with consuming(make_bus(server, noted, options={"proxy": address}), server):
            await server.push(JACKPOT)
            await until(lambda: noted.names == ["JackpotUpdate"])
        assert asked[0].startswith(f"CONNECT 127.0.0.1:{server.port} ".encode())
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, address)
        async with consuming(make_bus(server, noted), server):
            assert len(asked) == 1
    error = await failure_of(make_bus(server, noted, options={"proxy": address}))
    assert isinstance(error, ConnectionLost)
    assert "sECRET" not in shown(error)


async def a_token() -> str:
    return "good"


async def test_token_from_names_a_function(server: ThrillConnectServer, noted: Noted) -> None:
    options = {"token": None, "token_from": f"{__name__}:a_token"}
    async with consuming(make_bus(server, noted, options=options), server):
        pass
    assert server.upgrades[0]["token"] == "good"


async def test_without_a_token_the_refusal_says_so(server: ThrillConnectServer, noted: Noted) -> None:
    error = await failure_of(make_bus(server, noted, options={"token": None}))
    assert isinstance(error, AccessDenied)
    assert "set the option token or token_from" in str(error)
    assert server.upgrades == [{"currency": "EUR"}]


# ---- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A file with a certificate for 127.0.0.1, and a server's context that holds it."""
    file, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return file, context


async def test_wss_works_with_an_authority_of_ones_own_and_with_no_other(
    certificate: tuple[Path, ssl.SSLContext], noted: Noted
) -> None:
    file, context = certificate
    async with playing(context) as server:
        assert server.url.startswith("thrillconnect+wss://")
        async with consuming(make_bus(server, noted, options={"ssl": str(file)}), server):
            await server.push(JACKPOT)
            await until(lambda: noted.names == ["JackpotUpdate"])
        error = await failure_of(make_bus(server, noted))
        assert isinstance(error, ConnectionLost)
        assert "certificate" in str(error).lower()
