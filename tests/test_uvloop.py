"""Every adapter on uvloop instead of asyncio's own event loop, and what is said where it is missing."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from brokerkit import Bus, Handlers, Message, MissingExtra, Receipt, Retry, RetryPolicy
from brokerkit.cli._app import run
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests import every_broker
from tests.adapters.thrillconnect_server import playing, sample
from tests.every_broker import Broker, Recorder, until
from tests.gateway.scene import body, client, event, gateway, receive


def on_uvloop(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert isinstance(runner.get_loop(), uvloop.Loop)
        runner.run(main)


def test_events_are_published_handled_and_retried(broker: Broker) -> None:
    handlers, attempts, order = Handlers(), Counter[int](), dict[str, list[int]]()

    @handlers.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        number = event.player_id or 0
        attempts[number] += 1
        if number == 150 and attempts[number] == 1:
            raise Retry("once")
        key = message.key.decode() if isinstance(message.key, bytes) else message.key
        order.setdefault(key or "", []).append(number)

    async def main() -> None:
        bus = broker.bus(retry=RetryPolicy(first=0.05), lease=30.0)
        bus.include(handlers)
        async with bus, bus.serving():
            batch = [
                Message("OnPlayerSeatedDown", json.dumps({"playerId": number}).encode(), key=f"k{number % 7}")
                for number in range(150)
            ]
            assert all(isinstance(result, Receipt) for result in await bus.publish_many(batch))
            await asyncio.gather(*(bus.publish(OnPlayerSeatedDown(player_id=n), key="late") for n in range(150, 200)))
            await until(lambda: sum(map(len, order.values())) == 200, seconds=100)
            assert (await bus.health()).ready

    on_uvloop(main())
    assert sorted(number for numbers in order.values() for number in numbers) == list(range(200))
    assert attempts[150] == 2


def test_a_websocket_source_reads() -> None:
    async def main() -> None:
        async with playing() as server:
            bus = Bus(
                server.url, topic="thrillpots", format="thrillconnect", options={"token": "good", "currency": "EUR"}
            )
            recorder = Recorder().record()
            async with recorder.serving(bus):
                await until(lambda: bool(server.connections))
                await server.push(*[sample("JackpotUpdate")] * 20)
                await recorder.wait_for(20)

    on_uvloop(main())


def test_a_gateway_serves() -> None:
    async def main() -> None:
        bus = every_broker.memory().bus(group="gateway", broadcast=True, format="thrillconnect")
        async with bus, gateway(bus) as served, client(served, "pl-1") as player:
            await bus.publish(sent := event("pl-1"))
            assert await receive(player) == body(sent)

    on_uvloop(main())


# ---- where it is missing ----------------------------------------------------------------------------------------


@pytest.fixture
def _missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)


@pytest.mark.usefixtures("_missing")
def test_a_bus_says_how_to_install_it() -> None:
    bus = Bus("memory://", topic="t")
    with pytest.raises(MissingExtra, match=r"uvloop .* not installed: pip install 'brokerkit-sdk\[uvloop\]'"):
        bus.run(uvloop=True)


@pytest.mark.usefixtures("_missing")
def test_a_bus_says_that_windows_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(MissingExtra, match="it does not exist on Windows"):
        Bus("memory://", topic="t").run(uvloop=True)


@pytest.mark.usefixtures("_missing", "log_as_before")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_command_line_says_so_once(
    workers: str, write_module: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    name = write_module("""
        from brokerkit import Bus

        bus = Bus("redis://localhost", topic="t", group="g", format="evenbet")
        bus.on("*")(lambda event: None)
    """)
    assert run(["run", f"{name}:bus", "--uvloop", "--workers", workers, "--log-level", "error"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: uvloop was requested as the event loop, but is not installed: pip install ")
    assert said.count("\n") == 1
