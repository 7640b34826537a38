"""The events of ThrillConnect's source, against a real server that plays ThrillConnect."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.thrillconnect.seam import JACKPOT, Noted, consuming, make_bus
from tests.adapters.thrillconnect_server import PATH, PUSHED, ThrillConnectServer
from tests.every_broker import until

from brokerkit import Bus, Message
from brokerkit._errors import ConfigError
from brokerkit.events.thrillconnect import AnyMessage, JackpotUpdate, PlayerRaffleTicketResponse
from brokerkit.thrillconnect import client_of


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
