"""``brokerkit ctl``: a running bus, in one process and in workers, is paused and resumed from the command line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.brokers.redis import RedisBroker
from tests.certificates import Authority, tls_front
from tests.cli.program import Cli, Program, Start

TOKEN = "a-token-that-nobody-guesses"
SERVICE = """
    from brokerkit import Handlers

    handlers = Handlers()

    @handlers.on("OnUserLoggedIn")
    async def greet(event) -> None:
        print(f"greeted {event.player_id}", flush=True)
"""
Run = Callable[..., tuple[Program, str]]


@pytest.fixture
def run(
    start: Start,
    tmp_path: Path,
    write_module: Callable[[str], str],
    request: pytest.FixtureRequest,
) -> Run:
    """Run the service with two sources; the program, and the URL of its port."""
    service = write_module(SERVICE)

    def call(broker: str, *more: str) -> tuple[Program, str]:
        redis: RedisBroker | None = request.getfixturevalue("redis_broker") if broker == "redis" else None
        url = f"sqlite:///{tmp_path / 'broker.db'}" if redis is None else redis.url
        mark = f"ctl-{tmp_path.parent.name}-{tmp_path.name}"
        common = f'url = "{url}"\nformat = "evenbet"\nprovision = "all"\n'
        (tmp_path / "brokerkit.toml").write_text(
            f'[bus]\n{common}[sources.games]\ntopic = "{mark}-games"\ngroup = "g"\n'
            f'[sources.cash]\ntopic = "{mark}-cash"\ngroup = "g"\n[targets.games]\ntopic = "{mark}-games"\n'
        )
        arguments = ["run", f"{service}:handlers", "--config", "brokerkit.toml", "--http", "127.0.0.1:0", *more]
        program = Program(start(arguments, cwd=tmp_path, own_session=True))
        [found] = program.wait_for(r"answering on (http://127\.0\.0\.1:\d+)$")
        return program, found[1]

    return call


def publish(cli: Cli, tmp_path: Path, player: int) -> None:
    sent = cli(
        *("publish", "OnUserLoggedIn", "--data", json.dumps({"playerId": player})),
        *("--config", str(tmp_path / "brokerkit.toml")),
    )
    assert sent.code == 0, sent.err


def states(cli: Cli, url: str) -> dict[str, str]:
    answer = cli("ctl", "state", "--http", url, "--json")
    return {name: each["state"] for name, each in json.loads(answer.out or '{"sources": {}}')["sources"].items()}


def wait_for_states(cli: Cli, url: str, **wanted: str) -> None:
    end = time.monotonic() + 60
    while (found := states(cli, url)) != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.05)


@pytest.mark.parametrize("broker", ["redis", "sqlite"])
def test_one_source_is_paused_and_resumed(run: Run, cli: Cli, tmp_path: Path, broker: str) -> None:
    program, url = run(broker, "--control")
    wait_for_states(cli, url, games="consuming", cash="consuming")
    done = cli("ctl", "pause", "games", "--http", url)
    assert done.code == 0, done.err
    [head, row] = done.out.splitlines()
    assert head.split() == ["source", "state", "since", "in", "flight", "held", "limited", "lag", "rate", "reason"]
    assert (row.split()[:2], row.endswith("paused over HTTP")) == (["games", "paused"], True)
    assert states(cli, url) == {"games": "paused", "cash": "consuming"}
    publish(cli, tmp_path, 7)
    assert [line.split()[:2] for line in cli("ctl", "state", "--http", url).out.splitlines()[1:]] == [
        ["games", "paused"],
        ["cash", "consuming"],
    ]
    assert not any("greeted" in line for line in program.said)
    assert cli("ctl", "resume", "--http", url.removeprefix("http://")).code == 0
    program.wait_for("greeted 7")
    unknown = cli("ctl", "pause", "game", "--http", url)
    assert (unknown.code, "answers 404: there is no source 'game'; there are games, cash" in unknown.err) == (1, True)
    unknown = cli("ctl", "state", "game", "--http", url)
    assert (unknown.code, "there is no source 'game'; there are games, cash" in unknown.err) == (1, True)
    program.process.terminate()
    assert program.end() == 0, "".join(program.said)
    assert "control over HTTP: pause source games, by 127.0.0.1: done" in "".join(program.said)


@pytest.mark.parametrize("broker", ["redis", "sqlite"])
def test_all_workers_are_paused_also_one_that_is_replaced_and_sigusr1_knows_of_it(
    run: Run, cli: Cli, tmp_path: Path, broker: str
) -> None:
    program, url = run(broker, "--control", "--workers", "2")
    workers = program.serving(2)
    wait_for_states(cli, url, games="consuming", cash="consuming")
    cli("ctl", "pause", "games", "--http", url)
    program.wait_for("source games: paused: paused over HTTP", times=2)
    os.kill(workers[1], signal.SIGKILL)
    program.wait_for("source games: paused: paused over HTTP")
    program.serving(1)  # it is paused before that
    unknown = cli("ctl", "pause", "game", "--http", url)
    assert (unknown.code, "there is no source 'game'; there are games, cash" in unknown.err) == (1, True)
    publish(cli, tmp_path, 7)
    wait_for_states(cli, url, games="paused", cash="consuming")
    program.process.send_signal(signal.SIGUSR1)  # not all are paused, so it pauses the others
    program.wait_for("source cash: paused: paused by SIGUSR1", times=2)
    wait_for_states(cli, url, games="paused", cash="paused")
    assert not any("greeted" in line for line in program.said)
    cli("ctl", "resume", "cash", "--http", url)
    program.wait_for("source cash: resumed", times=2)
    cli("ctl", "pause", "cash", "--http", url)
    program.wait_for("source cash: paused: paused over HTTP", times=2)
    program.process.send_signal(signal.SIGUSR1)
    program.wait_for("greeted 7")
    wait_for_states(cli, url, games="consuming", cash="consuming")
    program.process.terminate()
    assert program.end() == 0, "".join(program.said)
    assert "Traceback" not in "".join(program.said)


def test_what_is_refused_is_said_in_one_line(run: Run, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "wrong").write_text(f"{TOKEN}x\n")
    (tmp_path / "empty").write_text("\n")
    program, url = run("sqlite", "--http-token-file", "token")
    for arguments, said in (
        (["state"], "/state answers 401: "),
        (["state"], "--token-file names a file with the token"),
        (["state", "--token-file", "wrong"], "/state answers 401: "),
        (["pause", "--token-file", "token"], "/pause answers 403: this port only shows"),
        (["state", "--token-file", "none"], "--token-file none: "),
        (["state", "--token-file", "empty"], "--token-file empty holds no token"),
    ):
        refused = cli("ctl", *arguments, "--http", url)
        assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1), refused.err
        assert said in refused.err
        assert TOKEN not in refused.err
    assert cli("ctl", "state", "--http", f"{url}/", "--token-file", "token").code == 0
    elsewhere = cli("ctl", "state", "--http", f"{url}/elsewhere")
    assert (elsewhere.code, "/elsewhere/state answers 404: Not Found" in elsewhere.err) == (1, True)
    program.process.terminate()
    assert program.end() == 0, "".join(program.said)
    nobody = cli("ctl", "state", "--http", url)
    assert (nobody.code, "does not answer: [Errno 111] Connection refused" in nobody.err) == (1, True)


async def test_tls_is_checked(run: Run, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, url = run("sqlite", "--control")
    authority = Authority.make(tmp_path)
    async with tls_front(url.removeprefix("http://"), authority.file, authority.key_file) as port:
        arguments = ("ctl", "pause", "--http", f"https://127.0.0.1:{port}", "--json")
        refused = await asyncio.to_thread(cli, *arguments)
        assert (refused.code, "certificate verify failed" in refused.err) == (1, True)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        end = time.monotonic() + 60
        while (done := await asyncio.to_thread(cli, *arguments)).code:
            assert "answers 409: the bus is not consuming" in done.err
            assert time.monotonic() < end
        assert {each["state"] for each in json.loads(done.out)["sources"].values()} == {"paused"}
    program.process.terminate()
    assert program.end() == 0, "".join(program.said)


@pytest.mark.parametrize(
    "address", ["", "ftp://127.0.0.1", "http://", "http://127.0.0.1:x", "127.0.0.1:70000", "http://h/?a"]
)
def test_what_is_no_address_is_refused(cli: Cli, address: str) -> None:
    refused = cli("ctl", "state", "--http", address)
    assert (refused.code, "--http must be a URL such as http://127.0.0.1:9000" in refused.err) == (1, True), refused.err


def test_a_password_in_the_url_is_refused_and_not_shown(cli: Cli) -> None:
    refused = cli("ctl", "state", "--http", "http://u:geheim@127.0.0.1:9")
    assert (refused.code, "geheim" in refused.err) == (1, False)


def test_control_goes_with_http(cli: Cli, write_module: Callable[[str], str]) -> None:
    service = write_module(f"{SERVICE}\n    from brokerkit import Bus\n    bus = Bus('memory://', topic='t')")
    refused = cli("run", f"{service}:bus", "--control")
    assert (refused.code, "--control goes with --http" in refused.err) == (2, True)
