"""A bus over HTTP: probes, metrics and state on every broker, and who may see them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from brokerkit import Bus, ConfigError, RetryPolicy
from brokerkit._http import _app
from brokerkit._http._server import listener, warn_of_others
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.every_broker import Broker, until, until_async
from tests.http.port import Port
from tests.metrics.text import samples, total

TOKEN = "a-token-that-nobody-guesses"


async def test_probes_metrics_and_state_say_what_happened(broker: Broker, port: Port) -> None:
    bus = broker.bus(retry=RetryPolicy(attempts=1))
    letters = list[str | None]()
    bus.add_hook(lambda notice: letters.append(notice.message_id) if notice.kind == "dead_letter" else None)

    @bus.on("OnPlayerSeatedDown")
    async def seat(event: OnPlayerSeatedDown) -> None:
        if (event.player_id or 0) % 2:
            raise LookupError("secret of player 1")

    await port.open(bus.http())
    closed = await port.get("/readyz")
    assert (closed.status_code, closed.json()) == (503, {"ready": False, "reasons": ["the bus is not open"]})
    assert (await port.get("/livez")).status_code == 200

    async with asyncio.timeout(90), bus, bus.serving():
        ready = await port.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": []})
        results = await bus.publish_many([OnPlayerSeatedDown(player_id=number) for number in range(6)])
        assert not [result for result in results if isinstance(result, Exception)]
        await until(lambda: bus.stats["bus"].handled >= 3 and len(set(letters)) >= 3, seconds=60)
        await until(lambda: bus.runtime.consumers["bus"].state.in_flight == 0, seconds=30)

        metrics = await port.get("/metrics")
        assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert total(samples(metrics.text), "brokerkit_handled_messages_total") == 3

        async def has_a_rate() -> bool:
            found = (await port.get("/state")).json()
            return found["sources"]["bus"]["rate"] is not None

        await until_async(has_a_rate)
        answer = await port.get("/state")
    state: dict[str, Any] = answer.json()
    source, target, [handler] = state["sources"]["bus"], state["targets"]["bus"], state["handlers"]
    assert state["workers"] == [{"worker": 1, "pid": os.getpid(), "ready": True, "reasons": []}]
    assert (source["state"], source["topics"]) == ("consuming", [broker.topic()])
    assert (source["in_flight"], source["held"], source["counts"]["handled"]) == (0, 0, 3)
    assert (target["state"], target["confirmed"], target["refused"]) == ("open", 6, {})
    assert handler["handler"].endswith("seat")
    assert (handler["attempts"], handler["failures"]) == (6, {"LookupError": 3})
    assert (handler["last_error"], handler["last_error_at"] > 0, handler["seconds"] > 0) == ("LookupError", True, True)
    assert sum(handler["durations"].values()) == 6
    assert "secret" not in answer.text
    assert json.dumps(state)
    assert (await port.get("/readyz")).json()["reasons"] == ["the bus is not open"]


async def test_the_lag_is_what_the_broker_said_last(memory: Broker, port: Port) -> None:
    bus = memory.bus()

    @bus.on("OnPlayerSeatedDown")
    async def seat(event: OnPlayerSeatedDown) -> None: ...

    await port.open(bus.http())
    async with asyncio.timeout(60), bus, bus.serving():
        await bus.runtime.figures.ask(lambda: bus.health(lag=True))
        assert (await port.get("/state")).json()["sources"]["bus"]["lag"] == 0


# ---- who may see the state ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:9000"}, 200),
        ({"host": "[::1]:9000"}, 200),
        ({"host": "10.0.0.1"}, 200),  # no name server can make an address mean another one
        ({"host": "evil.example:9000"}, 403),
        ({"host": ""}, 403),
        ({"host": "[::1"}, 403),
        ({"host": "[evil.example]:9000"}, 403),
        ({"origin": "http://["}, 403),
        ({"host": "null", "origin": "null"}, 403),
        ({"host": "", "origin": "http://["}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.example", "origin": "http://evil.example"}, 403),
        ({"host": "localhost:9000", "origin": "http://localhost:9000"}, 200),
        ({"host": "localhost:9000", "origin": "http://localhost:3000"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "none"}, 200),
        ({"x_forwarded_for": "10.0.0.9"}, 403),
        ({"forwarded": "for=10.0.0.9"}, 403),
    ],
)
async def test_without_a_token_the_state_is_for_programs_on_this_machine(
    port: Port, headers: dict[str, str], status: int
) -> None:
    await port.open(Bus("memory://", topic="t", format="evenbet").http())
    answer = await port.get("/state", **headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers
    assert (await port.get("/readyz", **headers)).status_code == 503  # open to all, and the bus is not open


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": f"bearer {TOKEN}", "host": "wallet:9000"}, 200),
        ({"authorization": f"Bearer {TOKEN}", "origin": "http://evil.example"}, 403),
    ],
)
async def test_with_a_token_the_state_is_for_those_who_send_it(
    port: Port, headers: dict[str, str], status: int
) -> None:
    await port.open(Bus("memory://", topic="t", format="evenbet").http(token=TOKEN))
    answer = await port.get("/state", **headers)
    assert answer.status_code == status, answer.text
    assert TOKEN not in answer.text
    assert (answer.headers.get("www-authenticate") == "Bearer") == (status == 401)
    assert (await port.get("/metrics")).status_code == 200


@pytest.mark.parametrize(("server", "client"), [("203.0.113.1", "203.0.113.9"), ("127.0.0.1", "203.0.113.9")])
async def test_without_a_token_another_machine_sees_probes_and_metrics_alone(server: str, client: str) -> None:
    app = Bus("memory://", topic="t", format="evenbet").http()
    transport = httpx.ASGITransport(app, client=(client, 5000))
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{server}:9000") as asking:
        assert (await asking.get("/livez")).status_code == 200
        assert (await asking.get("/metrics")).status_code == 200
        refused = await asking.get("/state")
    assert (refused.status_code, "give this port a token" in refused.text) == (403, True)


def test_a_token_that_is_easily_guessed_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="token has 6 characters, and needs 16 at least") as refused:
        Bus("memory://", topic="t", format="evenbet").http(token="geheim")
    assert "geheim" not in str(refused.value)


# ---- the rest -----------------------------------------------------------------------------------------------------


async def test_it_is_mounted_into_an_application(port: Port, memory: Broker) -> None:
    bus = memory.bus()

    @bus.on("OnPlayerSeatedDown")
    async def seat(event: OnPlayerSeatedDown) -> None: ...

    app = FastAPI()
    app.mount("/brokerkit", bus.http())
    await port.open(app)
    async with asyncio.timeout(60), bus, bus.serving():
        assert (await port.get("/brokerkit/readyz")).json() == {"ready": True, "reasons": []}
        assert (await port.get("/brokerkit/state")).json()["ready"]
        assert (await port.get("/readyz")).status_code == 404


async def test_an_open_bus_is_refused() -> None:
    async with Bus("memory://", topic="t", format="evenbet") as bus:
        with pytest.raises(ConfigError, match="open already"):
            bus.http()


async def test_without_prometheus_client_the_metrics_say_what_is_missing(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_app, "find_spec", lambda name: None)
    await port.open(Bus("memory://", topic="t", format="evenbet").http())
    answer = await port.get("/metrics")
    assert (answer.status_code, "pip install 'brokerkit-sdk[prometheus]'" in answer.text) == (501, True)


@pytest.mark.parametrize("address", ["", "host", "127.0.0.1:", "127.0.0.1:port", "127.0.0.1:70000", ":9000", "a b:1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="--http"):
        listener(address, token=False)


def test_an_address_that_is_taken_is_named() -> None:
    with listener("127.0.0.1:0", token=False) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"--http {where}: cannot listen there: Address already in use"):
            listener(where, token=False)
    with listener("0", token=False) as alone:
        assert alone.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True), ("::", True)])
def test_an_address_beyond_this_machine_is_warned_of(host: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_others(host, 9000, token=False)
    assert ("other machines reach port 9000" in caplog.text) == warned
    with caplog.at_level(logging.WARNING):
        warn_of_others(host, 9000, token=True, control=True)
    assert ("/state and control only with the token" in caplog.text) == warned
    with caplog.at_level(logging.WARNING):
        warn_of_others(host, 9000, token=True, control=True, console=True)
    assert ("/state, dead letters and control only with the token" in caplog.text) == warned
