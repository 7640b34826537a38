"""Pause and resume over HTTP, who may do it, and what the log says of it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from brokerkit import Bus
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.every_broker import Broker, until
from tests.http.port import Port

TOKEN = "a-token-that-nobody-guesses"
JSON = {"content_type": "application/json"}


@pytest.fixture
def bus(tmp_path: Path) -> Bus:
    """A bus with the sources games and cash."""
    file = tmp_path / "brokerkit.toml"
    file.write_text(
        "\n".join(
            f'[sources.{name}]\nurl = "memory://"\ntopic = "{name}"\ngroup = "g"\nformat = "evenbet"'
            for name in ("games", "cash")
        )
    )
    bus = Bus.from_config(file)

    @bus.on("OnPlayerSeatedDown")
    async def seat(event: OnPlayerSeatedDown) -> None: ...

    return bus


def paused(bus: Bus) -> set[str]:
    return {name for name, consumer in bus.runtime.consumers.items() if consumer.pause.is_on}


@pytest.mark.parametrize("broker", ["memory", "sqlite", "redis-streams"], indirect=True)
async def test_a_source_that_is_paused_over_http_hands_nothing_to_handlers_until_it_is_resumed(
    broker: Broker, port: Port
) -> None:
    bus = broker.bus()
    seated = list[int | None]()

    @bus.on("OnPlayerSeatedDown")
    async def seat(event: OnPlayerSeatedDown) -> None:
        seated.append(event.player_id)

    await port.open(bus.http(control=True))
    async with asyncio.timeout(90), bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1))
        await until(lambda: seated == [1], seconds=60)
        answer = await port.post("/sources/bus/pause", **JSON)
        source = answer.json()["sources"]["bus"]
        assert (answer.status_code, source["state"], source["error"]) == (200, "paused", "paused over HTTP")
        assert (await port.get("/readyz")).status_code == 503
        await bus.publish(OnPlayerSeatedDown(player_id=2))
        assert (await port.post("/pause", **JSON)).status_code == 200  # it is so already
        assert seated == [1]
        answer = await port.post("/resume", **JSON)
        assert (answer.status_code, answer.json()["sources"]["bus"]["state"]) == (200, "consuming")
        await until(lambda: seated == [1, 2], seconds=60)


async def test_one_source_of_several_or_all_of_them(port: Port, bus: Bus) -> None:
    await port.open(bus.http(control=True))
    async with asyncio.timeout(60), bus, bus.serving():
        for path, left in (
            ("/sources/games/pause", {"games"}),
            ("/pause", {"games", "cash"}),
            ("/sources/games/resume", {"cash"}),
            ("/resume", set[str]()),
        ):
            answer = await port.post(path, **JSON)
            assert answer.status_code == 200, answer.text
            shown: dict[str, Any] = answer.json()["sources"]
            assert {name for name, each in shown.items() if each["state"] == "paused"} == paused(bus) == left


async def test_what_is_not_there_or_does_not_consume_is_said(
    port: Port, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    await port.open(bus.http(control=True))
    early = await port.post("/pause", **JSON)
    assert (early.status_code, "the bus is not consuming" in early.text) == (409, True)
    async with asyncio.timeout(60), bus, bus.serving():
        unknown = await port.post("/sources/game%1Bs/pause", **JSON)
        assert unknown.status_code == 404
        assert unknown.text == "there is no source 'game\\x1bs'; there are games, cash\n"
        assert (await port.get("/pause")).status_code == 405
        assert (await port.client.options("/pause")).status_code == 405
        assert not paused(bus)
    assert "control over HTTP: pause source game\\x1bs, by 127.0.0.1: there is no source" in caplog.text


async def test_each_change_leaves_a_line_in_the_log_without_the_token(
    port: Port, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    await port.open(bus.http(control=True, token=TOKEN))
    async with asyncio.timeout(60), bus, bus.serving():
        for path in ("/sources/cash/pause", "/resume"):
            assert (await port.post(path, authorization=f"Bearer {TOKEN}")).status_code == 200
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("control")]
    assert said == [
        "control over HTTP: pause source cash, by the owner of the token at 127.0.0.1: done",
        "control over HTTP: resume all sources, by the owner of the token at 127.0.0.1: done",
    ]
    assert {record.levelno for record in caplog.records if record.getMessage() in said} == {logging.WARNING}
    assert TOKEN not in caplog.text


# ---- who may do it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 415),
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "multipart/form-data; boundary=application/json"}, 415),
        (JSON, 200),
        ({"content_type": "Application/JSON; charset=utf-8"}, 200),
        ({**JSON, "host": "localhost:9000", "origin": "http://localhost:9000", "sec_fetch_site": "same-origin"}, 200),
        ({**JSON, "origin": "http://evil.example"}, 403),
        ({**JSON, "origin": "null"}, 403),
        ({**JSON, "sec_fetch_site": "cross-site"}, 403),
        ({**JSON, "sec_fetch_site": "same-site"}, 403),
        ({**JSON, "host": "evil.example:9000"}, 403),
        ({**JSON, "host": "evil.example", "origin": "http://evil.example"}, 403),
        ({**JSON, "x_forwarded_for": "10.0.0.9"}, 403),
        ({**JSON, "forwarded": "for=10.0.0.9"}, 403),
    ],
)
@pytest.mark.parametrize("path", ["/pause", "/sources/games/pause"])
async def test_without_a_token_programs_on_this_machine_may_and_forms_and_foreign_pages_may_not(
    port: Port, bus: Bus, path: str, headers: dict[str, str], status: int
) -> None:
    await port.open(bus.http(control=True))
    async with asyncio.timeout(60), bus, bus.serving():
        answer = await port.post(path, **headers)
        assert answer.status_code == status, answer.text
        assert bool(paused(bus)) == (status == 200)
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        (JSON, 401),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": f"Bearer {TOKEN}", "x_forwarded_for": "10.0.0.9", "host": "wallet"}, 200),
        ({"authorization": f"Bearer {TOKEN}", "origin": "http://evil.example"}, 403),
        ({"authorization": f"Bearer {TOKEN}", "sec_fetch_site": "cross-site"}, 403),
    ],
)
async def test_with_a_token_those_who_send_it_may(port: Port, bus: Bus, headers: dict[str, str], status: int) -> None:
    await port.open(bus.http(token=TOKEN, control=True))
    async with asyncio.timeout(60), bus, bus.serving():
        answer = await port.post("/pause", **headers)
        assert answer.status_code == status, answer.text
        assert bool(paused(bus)) == (status == 200)
    assert TOKEN not in answer.text


@pytest.mark.parametrize("path", ["/pause", "/resume", "/sources/games/pause", "/sources/games/resume"])
async def test_without_control_it_is_refused_also_with_the_token(port: Port, bus: Bus, path: str) -> None:
    await port.open(bus.http(token=TOKEN))
    async with asyncio.timeout(60), bus, bus.serving():
        assert (await port.post(path)).status_code == 401
        refused = await port.post(path, authorization=f"Bearer {TOKEN}")
        assert (refused.status_code, "bus.http(control=True)" in refused.text) == (403, True)
        assert not paused(bus)


async def test_without_a_token_another_machine_may_not(bus: Bus) -> None:
    transport = httpx.ASGITransport(bus.http(control=True), client=("203.0.113.9", 5000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9000") as asking:
        refused = await asking.post("/pause", headers={"content-type": "application/json"})
    assert (refused.status_code, "give this port a token" in refused.text) == (403, True)
