"""Every program in examples/ runs here as it stands; only environment and arguments say where its broker is."""

import asyncio
import os
import runpy
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.adapters.thrillconnect_server import playing
from tests.adapters.thrillconnect_server import sample as thrillconnect_sample
from tests.brokers.aws import REGION
from tests.brokers.kafka import KafkaBroker
from tests.stores import DATABASES

from brokerkit import Bus, Message
from brokerkit.dependencies import override
from brokerkit.events.evenbet import OnGameDone, OnUserLoggedIn, Participation
from brokerkit.testing import TestBus

EXAMPLES = Path(__file__).parents[2] / "examples"
WALLET = EXAMPLES / "wallet"
WITHIN = 60.0
"""Seconds in which an example must have done what it is for."""

CONFIGS = sorted(file.stem for file in WALLET.glob("*.toml"))
PROVISIONED_BY_USE = ("redis-list", "redis-pubsub")

Address = Callable[[str], dict[str, str]]


@pytest.fixture
def address(request: pytest.FixtureRequest) -> Address:
    """The environment that leads a configuration, named like its file, to a broker of the tests."""

    def find(config: str) -> dict[str, str]:
        match config.partition("-")[0]:
            case "kafka" if config == "kafka-share":
                address: str = request.getfixturevalue("kafka_share_broker").address
                return {"BROKERKIT_URL": f"kafka+share://{address}"}
            case "kafka":
                return {"BROKERKIT_URL": request.getfixturevalue("kafka_broker").url}
            case "rabbitmq":
                return {"BROKERKIT_URL": request.getfixturevalue("rabbit_broker").url}
            case "sqs":
                endpoint = request.getfixturevalue("sqs_broker").url
                return {"BROKERKIT_URL": f"sqs://{REGION}/", "BROKERKIT_ENDPOINT": endpoint}
            case "sns":
                endpoint = request.getfixturevalue("sns_broker").url
                return {"BROKERKIT_URL": f"sns://{REGION}/", "BROKERKIT_ENDPOINT": endpoint}
            case "redis":
                scheme = {"redis-list": "redis+list", "redis-pubsub": "redis+pubsub"}.get(config, "redis")
                url: str = request.getfixturevalue("redis_broker").url
                return {"BROKERKIT_URL": url.replace("redis://", f"{scheme}://", 1)}
            case _:
                return {"BROKERKIT_URL": f"memory://{uuid.uuid4().hex}"}

    return find


def run(program: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Run an example to its end; give what it printed."""
    result = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / program), *arguments],
        capture_output=True,
        text=True,
        timeout=WITHIN,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def load(program: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Import an example from its own folder, where its neighbours are importable, and forget it again."""
    monkeypatch.setattr(sys, "path", [str(program.parent), *sys.path])
    for neighbour in program.parent.glob("*.py"):
        monkeypatch.delitem(sys.modules, neighbour.stem, raising=False)
    return runpy.run_path(str(program))


async def serve_until(program: Path, environment: dict[str, str], *arguments: str, line: str) -> list[str]:
    """Run a service until it prints a line that begins so, end it with SIGTERM, and give all lines."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        *arguments,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        while not lines or not lines[-1].startswith(line):
            printed = await process.stdout.readline()
            assert printed, "the service ended early"
            lines.append(printed.decode())
        process.send_signal(signal.SIGTERM)
        rest, _ = await process.communicate()
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return [*lines, *rest.decode().splitlines(keepends=True)]


async def ignore(event: object) -> None:
    """A handler for a source that must have one."""


def set_environment(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def unused_topic(config: str) -> str:
    return f"examples-{uuid.uuid4().hex[:12]}{'.fifo' if config == 'sqs-fifo' else ''}"


def hand() -> OnGameDone:
    return OnGameDone(
        game_id=77, table_id=242487, participations=[Participation(player_id=5, stack_at_hand_end=12_500)]
    )


@pytest.mark.parametrize("config", CONFIGS)
async def test_one_handler_file_runs_on_every_broker(
    config: str,
    address: Address,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    set_environment(monkeypatch, {**address(config), "BROKERKIT_TOPIC": unused_topic(config)})
    if config not in PROVISIONED_BY_USE:
        monkeypatch.setenv("BROKERKIT_PROVISION", "all")
    bus: Bus = load(WALLET / "service.py", monkeypatch)["make_bus"](WALLET / f"{config}.toml")
    handled: set[str] = set()
    done = asyncio.Event()

    @bus.on("*")
    async def note(event: object, message: Message) -> None:
        handled.add(message.name)
        if len(handled) == 2:
            done.set()

    async with asyncio.timeout(WITHIN), bus, bus.serving():
        has_keys = config not in PROVISIONED_BY_USE  # a value of a Redis list or channel is a body and nothing else
        await bus.publish(hand(), key="242487" if has_keys else None)
        await bus.publish(OnUserLoggedIn(player_id=5, nick="ann", ip="192.0.2.7"), key="5" if has_keys else None)
        await done.wait()

    assert handled == {"OnGameDone", "OnUserLoggedIn"}
    printed = capsys.readouterr().out
    assert "hand 77: player 5 holds 12500 cents" in printed
    assert "login: ann from 192.0.2.7" in printed
    assert printed.count(" ms: handlers.") >= 3
    assert "attempt 1" in printed


async def test_the_wallet_is_tested_without_its_broker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    bus: Bus = load(WALLET / "service.py", monkeypatch)["make_bus"](WALLET / "kafka.toml")
    wallet = sys.modules["handlers"]
    books = wallet.Ledger()
    with override(wallet.ledger, lambda: books):
        async with TestBus(bus) as test:
            await test.deliver(OnGameDone(game_id=76, table_id=242487), key="242487")
            await test.deliver(hand(), key="242487")
            await test.settled()
            test.assert_handled("OnGameDone", game_id=77)
            test.assert_dead_lettered("OnGameDone", error="no players yet")
    assert books == {5: 12_500}
    assert "ms: handlers.settle" in capsys.readouterr().out


async def test_an_own_event_is_handled_on_kafka_by_twelve_lines(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    page = (EXAMPLES.parent / "docs" / "your-own-events.md").read_text()
    shown = page.partition("`wallet.py`")[2].split("```")
    program, commands = shown[1].removeprefix("python\n"), shown[3]
    lines = [line for line in (program + commands).splitlines() if line]
    assert len(lines) == 12
    place = ("kafka://localhost:9092", 'topic="wallet"')
    assert all(program.count(text) == 1 for text in place)
    own = program.replace(place[0], kafka_broker.url).replace(place[1], f'topic="{unused_topic("kafka")}"')
    (tmp_path / "wallet.py").write_text(own)
    serve, publish = (shlex.split(command)[1:] for command in commands.strip().splitlines())
    command = Path(sys.executable).with_name("brokerkit")
    service = await asyncio.create_subprocess_exec(command, *serve, cwd=tmp_path, stdout=asyncio.subprocess.PIPE)
    assert service.stdout is not None
    try:
        async with asyncio.timeout(2 * WITHIN):
            publisher = await asyncio.create_subprocess_exec(command, *publish, cwd=tmp_path)
            assert await publisher.wait() == 0
            assert await service.stdout.readline() == b"player 1 gets 2.50\n"
    finally:
        service.kill()
        await service.wait()


async def test_jackpots_are_followed_over_a_websocket_and_the_tickets_asked_for() -> None:
    async with asyncio.timeout(WITHIN), playing() as server:
        words = ["jackpots.py", f"{server.url}?currency=EUR", "pl-7"]
        ran = asyncio.create_task(asyncio.to_thread(run, *words, environment={"THRILLCONNECT_TOKEN": "good"}))
        while not server.connections and not ran.done():
            await asyncio.sleep(0.01)
        await server.push(thrillconnect_sample("JackpotUpdate"), thrillconnect_sample("RaffleWinEvent"))
        printed = await ran
    assert "lumen: bronze is worth 2748.0 SEK" in printed
    assert "Midsummer Draw is drawn" in printed
    assert "pl-7 had {'instance_id': " in printed
    assert "3 messages, 0 dropped, 0 gaps" in printed
    assert server.requests[1]["PlayerRaffleTicketsRequest"]["brand_id"] == "northlight:lumen"


def test_money_moves_once_and_others_are_told(tmp_path: Path) -> None:
    printed = run("ledger.py", f"sqlite+aiosqlite:///{tmp_path / 'ledger.db'}")
    assert sorted(printed.splitlines()[:2]) == ["player 5 has 10500 cents", "player 6 has 9500 cents"]
    assert printed.splitlines()[2:] == ["[(5, 500), (6, -500)]", "failed attempts: 1, duplicates: 1"]


@pytest.mark.parametrize("database", DATABASES)
def test_many_events_are_written_with_one_statement_and_each_once(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'hands.db'}"
    if database == "postgresql":
        url = request.getfixturevalue("postgresql_server").engine_url
    printed = run("bulk_insert.py", url).splitlines()
    assert printed[-1] == "999 hands are stored, 1 is a dead letter"
    assert len(printed) < 100


def test_own_events_are_published_and_handled() -> None:
    assert run("own_events.py") == (
        "player 1 gets 2.50\nthe bonus of player 1 ran out: time\nplayer 1 is paid 1.25, BonusPaid\n"
    )


def test_a_service_is_tested_without_its_broker() -> None:
    printed = run("testing_a_service.py")
    assert "published (1):\n  Published(name='OnGameDone', event=OnGameDone(game_id=77" in printed
    assert "unsettled: 0" in printed


async def test_the_service_drains_at_sigterm_and_what_it_handled_does_not_come_again(
    address: Address,
) -> None:
    environment = {**address("redis-streams"), "BROKERKIT_TOPIC": unused_topic("redis-streams")}
    publisher = Bus(
        environment["BROKERKIT_URL"], topic=environment["BROKERKIT_TOPIC"], format="evenbet", provision="all"
    )

    async def handle_one(player: int) -> str:
        await publisher.publish(OnUserLoggedIn(player_id=player, nick=f"player{player}"))
        arguments = [str(WALLET / "redis-streams.toml")]
        return "".join(await serve_until(WALLET / "service.py", environment, *arguments, line="done: "))

    async with asyncio.timeout(WITHIN), publisher:
        first, second = await handle_one(1), await handle_one(2)
    assert "login: player1" in first
    assert "login: player2" in second
    assert "player1" not in second


@pytest.mark.parametrize("broker", ["memory", "kafka", "redis-streams", "sqs"])
def test_the_publisher_shows_a_result_for_each_item(broker: str, address: Address) -> None:
    environment = address(broker)
    printed = run("publisher.py", environment["BROKERKIT_URL"], environment=environment)
    assert "the broker has" in printed
    assert printed.count("sent as") == 2
    assert "3: not sent: the payload does not fit OnUserLoggedIn" in printed


@pytest.mark.parametrize("broker", ["memory", "redis-streams", "sqs"])
def test_synchronous_code_publishes_from_several_threads(broker: str, address: Address) -> None:
    environment = address(broker)
    printed = run("sync_publisher.py", environment["BROKERKIT_URL"], environment=environment)
    assert printed.count("the broker has") == 8


@pytest.mark.parametrize("broker", ["memory", "kafka", "rabbitmq", "redis-streams"])
def test_failing_handlers_end_in_retries_and_dead_letters(broker: str, address: Address) -> None:
    printed = run("retries.py", address(broker)["BROKERKIT_URL"])
    assert printed.count("balance: attempt") == 2
    assert printed.count("cash: attempt") == 3
    assert "dead letter: OnReturnCash of __main__.strict: there is no such session" in printed
    assert "dead letter: OnGetCash of __main__.broken: the ledger is away" in printed


async def test_two_brokers_serve_one_process(address: Address) -> None:
    vendor, own = address("rabbitmq")["BROKERKIT_URL"], address("redis-streams")["BROKERKIT_URL"]
    vendor_topic, own_topic = unused_topic("rabbitmq"), unused_topic("redis-streams")
    environment = {
        "BROKERKIT_SOURCES__VENDOR__URL": vendor,
        "BROKERKIT_SOURCES__VENDOR__TOPIC": vendor_topic,
        "BROKERKIT_SOURCES__OWN__URL": own,
        "BROKERKIT_SOURCES__OWN__TOPIC": own_topic,
        "BROKERKIT_TARGETS__BONUS__URL": own,
        "BROKERKIT_TARGETS__BONUS__TOPIC": own_topic,
    }
    publisher = Bus(
        vendor, topic=vendor_topic, group="bonus", format="evenbet", name_from="routing_key", provision="all"
    )
    publisher.on("*")(ignore)
    async with asyncio.timeout(WITHIN), publisher:
        async with publisher.serving():
            pass  # the group's queue exists from now on, so that the service may start after the publisher
        await publisher.publish(OnUserLoggedIn(player_id=5, is_first_login=True))
        await publisher.publish(OnUserLoggedIn(player_id=6, is_first_login=False))
        lines = await serve_until(EXAMPLES / "several_sources" / "service.py", environment, line="player ")
    assert lines == ["player 5 gets 500 cents\n"]


@pytest.mark.parametrize("broker", ["memory", "redis-streams"])
async def test_a_web_service_publishes_and_consumes(
    broker: str, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, address(broker))
    service = load(EXAMPLES / "web_service" / "app.py", monkeypatch)
    app: FastAPI = service["app"]
    bus: Bus = service["bus"]
    counted = asyncio.Event()

    @bus.on("OnUserLoggedIn")
    async def note(event: OnUserLoggedIn) -> None:
        counted.set()

    web = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
    async with asyncio.timeout(WITHIN), app.router.lifespan_context(app), web:
        answer = await web.post("/players/5/logins")
        assert answer.status_code == 202
        assert answer.json()["id"]
        await counted.wait()
        assert (await web.get("/players/5/logins")).json() == {"logins": 1}
        ready = await web.get("/ready")
        assert (ready.status_code, ready.json()["sources"]["bus"]["state"]) == (200, "consuming")
