"""``brokerkit run --http``: one port that answers for one process, and for all workers."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.brokers.redis import RedisBroker
from tests.cli.program import Cli, Program, Start
from tests.metrics.text import samples

TOKEN = "a-token-that-nobody-guesses"
SERVICE = """
    import asyncio
    from pathlib import Path
    from brokerkit import Handlers, Reject

    handlers = Handlers()

    @handlers.on("OnUserLoggedIn")
    async def greet(event) -> None:
        while Path("held").exists():
            print("holding", flush=True)
            await asyncio.sleep(0.05)
        if Path("failing").exists():
            raise Reject("failing")
        if Path("retrying").exists():
            raise LookupError("retrying")
"""


class Port:
    """A client of the port that a program says it answers on."""

    def __init__(self, program: Program) -> None:
        [found] = program.wait_for(r"answering on (http://127\.0\.0\.1:\d+)$")
        self.url = found[1]

    def get(self, path: str, token: str = "") -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.get(self.url + path, headers=headers, timeout=60, trust_env=False)

    def post(self, path: str, **given: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=given, timeout=60, trust_env=False)

    def until(self, path: str, true: Callable[[httpx.Response], bool]) -> httpx.Response:
        """Ask until the answer is right."""
        end = time.monotonic() + 60
        while not true(answer := self.get(path)):
            assert time.monotonic() < end, answer.text
            time.sleep(0.05)
        return answer


Run = Callable[..., Program]


@pytest.fixture
def run(start: Start, tmp_path: Path, write_module: Callable[[str], str], redis_broker: RedisBroker) -> Run:
    service = write_module(SERVICE)
    topic = f"http-{tmp_path.parent.name}-{tmp_path.name}".replace("_", "-")
    lines = {"url": redis_broker.url, "topic": topic, "group": "g", "format": "evenbet", "provision": "all"}
    (tmp_path / "brokerkit.toml").write_text(
        "\n".join(["[bus]", *(f'{key} = "{value}"' for key, value in lines.items()), ""])
    )

    def call(*more: str) -> Program:
        arguments = ["run", f"{service}:handlers", "--config", "brokerkit.toml", "--http", "127.0.0.1:0", *more]
        return Program(start(arguments, cwd=tmp_path, own_session=True))

    return call


def publish(cli: Cli, tmp_path: Path) -> None:
    sent = cli("publish", "OnUserLoggedIn", "--data", '{"playerId": 1}', "--config", str(tmp_path / "brokerkit.toml"))
    assert sent.code == 0, sent.err


def handled(state: dict[str, Any]) -> int:
    count: int = state["sources"]["bus"]["counts"]["handled"]
    return count


def handled_by_workers(metrics: httpx.Response) -> dict[str, float]:
    return {
        labels["worker"]: value for labels, value in samples(metrics.text).get("brokerkit_handled_messages_total", [])
    }


def test_the_port_answers_until_the_bus_has_drained(run: Run, cli: Cli, tmp_path: Path) -> None:
    program = run()
    port = Port(program)
    port.until("/readyz", lambda answer: answer.status_code == 200)
    (tmp_path / "held").touch()
    publish(cli, tmp_path)
    program.wait_for("holding")
    program.process.terminate()
    stopping = port.until("/readyz", lambda answer: answer.status_code == 503)
    assert stopping.json()["reasons"] == ["source bus: stopping"]
    assert port.get("/livez").json() == {"live": True, "reasons": []}
    assert port.get("/state").json()["sources"]["bus"]["in_flight"] == 1
    (tmp_path / "held").unlink()
    assert program.end() == 0, "".join(program.said)
    assert "Traceback" not in "".join(program.said)
    with pytest.raises(httpx.ConnectError):
        port.get("/livez")


def test_one_port_answers_for_all_workers_and_says_which_is_away(run: Run, cli: Cli, tmp_path: Path) -> None:
    program = run("--workers", "2")
    port = Port(program)
    assert port.get("/livez").status_code == 200
    pids = program.serving(2)
    port.until("/readyz", lambda answer: answer.json() == {"ready": True, "reasons": []})
    for _ in range(4):
        publish(cli, tmp_path)
    state = port.until("/state", lambda answer: answer.json()["ready"] and handled(answer.json()) == 4).json()
    assert {each["worker"]: each["pid"] for each in state["workers"]} == pids
    assert (state["ready"], state["sources"]["bus"]["state"]) == (True, "consuming")
    assert [row["attempts"] for row in state["handlers"]] == [4]
    metrics = port.until("/metrics", lambda answer: len(handled_by_workers(answer)) == 2)
    assert sum(handled_by_workers(metrics).values()) == 4

    os.kill(pids[2], signal.SIGSTOP)  # as if a handler held up its loop for ever
    silent = port.until("/livez", lambda answer: answer.status_code == 503)
    assert "worker 2: no answer within 2 seconds" in silent.json()["reasons"]
    assert "worker 2: no answer within 2 seconds" in port.get("/readyz").json()["reasons"]
    assert "2" not in handled_by_workers(port.get("/metrics"))
    os.kill(pids[2], signal.SIGKILL)
    [(number, replacement)] = program.serving(1).items()
    assert (number, replacement != pids[2]) == (2, True)
    port.until("/readyz", lambda answer: answer.status_code == 200)
    program.process.terminate()
    assert program.end() == 0, "".join(program.said)
    assert "Traceback" not in "".join(program.said)


def test_the_console_of_several_workers_shows_and_replays_dead_letters(run: Run, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "failing").touch()
    program = run("--workers", "2", "--console", "--control")
    port = Port(program)
    assert "brokerkit" in port.get("/console").text
    publish(cli, tmp_path)
    letters = "/sources/bus/dead-letters"
    found = port.until(letters, lambda answer: answer.status_code == 200 and answer.json()["letters"] != []).json()
    assert [each["error_type"] for each in found["letters"]] == ["Reject"]
    (tmp_path / "failing").unlink()
    assert port.post(f"{letters}/replay", all=True, by="Ann").json()["done"] == 1
    port.until("/state", lambda answer: handled(answer.json()) == 1)
    assert port.get(letters).json()["letters"] == []
    program.process.terminate()
    assert program.end() == 0, "".join(program.said)
    assert "replay dead letters of source bus, by 'Ann', 127.0.0.1: done: 1" in "".join(program.said)
    assert "Traceback" not in "".join(program.said)


def test_one_page_shows_what_arrives_and_waits_in_all_workers(run: Run, cli: Cli, tmp_path: Path) -> None:
    with (tmp_path / "brokerkit.toml").open("a") as settings:
        settings.write("hold = 1000\n[bus.retry]\nfirst = 100\ncap = 100\n")
    program = run("--workers", "2", "--console", "--mask", "event")
    port = Port(program)
    program.serving(2)
    port.until("/readyz", lambda answer: answer.status_code == 200)
    live = "/sources/bus/messages?watcher=w"
    assert port.get(live).json()["messages"] == []
    (tmp_path / "retrying").touch()
    with ThreadPoolExecutor(1) as beside:  # who does not look for some seconds is forgotten
        looking = beside.submit(port.until, live, lambda answer: answer.json()["messages"] != [])
        publish(cli, tmp_path)
        seen = looking.result().json()
    [message] = seen["messages"]
    assert (message["event"], message["worker"] in (1, 2), seen["matched"]) == ("OnUserLoggedIn", True, 1)
    assert message["headers"]["event"] == "•••"
    waiting = port.until("/sources/bus/retries", lambda answer: answer.json()["held"] != []).json()
    [held] = waiting["held"]
    assert (held["worker"], held["error_type"], waiting["error"]) == (message["worker"], "LookupError", "")
    assert [each["count"] for each in waiting["at_broker"]] == [0]
    assert port.get("/sources/bus/history").json()["seconds"] == 10
    assert port.get("/sources/none/retries").status_code == 404
    program.process.terminate()
    assert program.end() == 0, "".join(program.said)
    assert "the supervisor's question" not in "".join(program.said)


def test_a_token_comes_from_a_file_which_is_read_again(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    program = run("--http-token-file", "token")
    port = Port(program)
    assert port.get("/state").status_code == 401
    assert port.get("/state", TOKEN).status_code == 200
    file.write_text(f"another-{TOKEN}")
    assert [port.get("/state", each).status_code for each in (TOKEN, f"another-{TOKEN}")] == [401, 200]
    file.write_text("")
    assert port.get("/state", "x").status_code == 401
    program.process.terminate()
    assert program.end() == 0
    assert TOKEN not in "".join(program.said)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--http", "nowhere"], 1, "--http 'nowhere' is no HOST:PORT"),
        (["--http", "127.0.0.1:0", "--http-token-file", "none"], 1, "No such file or directory: 'none'"),
        (["--http", "127.0.0.1:0", "--http-token-file", "short"], 1, "has 3 characters, and needs 16 at least"),
        (["--http-token-file", "short"], 2, "--http-token-file goes with --http"),
        (["--console"], 2, "--console goes with --http"),
        (["--http", "127.0.0.1:0", "--mask", "card"], 2, "--mask goes with --console"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    cli: Cli, write_module: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str],
    code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short").write_text("abc")
    service = write_module(
        f"{SERVICE}\n    from brokerkit import Bus\n    bus = Bus('memory://', topic='t', format='evenbet')"
    )
    result = cli("run", f"{service}:bus", *arguments)
    assert result.code == code, result.err
    assert message in result.err
    assert len(re.findall("^error: ", result.err, re.MULTILINE)) == 1
