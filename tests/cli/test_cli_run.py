"""``brokerkit publish`` and ``brokerkit run``: from one program to the other through a real broker."""

import io
import json
import signal
import sys
import textwrap
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest
import redis
from tests.brokers.redis import RedisBroker
from tests.cli.program import Cli, Start

SERVICE = """
    import asyncio, sys
    from brokerkit import Bus, Handlers
    from brokerkit.events.evenbet import OnUserLoggedIn

    handlers = Handlers()

    @handlers.on("OnUserLoggedIn")
    async def greet(event: OnUserLoggedIn, message) -> None:
        print(f"begin {event.nick} {message.key} {message.headers.get('shift')}", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(f"end {event.nick}", flush=True)

    bus = Bus("memory://", topic="logins", format="evenbet")
    bus.include(handlers)
    number = 5
"""


@pytest.fixture
def service(write_module: Callable[[str], str]) -> str:
    return write_module(SERVICE)


def wait_for_line(stream: IO[str] | None, text: str) -> str:
    """The next line that holds the text; the test's own timeout ends a wait in vain."""
    assert stream is not None
    for line in stream:
        if text in line:
            return line
    raise AssertionError(f"the program ended without {text!r}")


# ---- publish, then run ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has no SIGUSR1")
def test_sigusr1_pauses_a_running_service_and_the_next_one_resumes_it(
    cli: Cli, start: Start, redis_broker: RedisBroker, service: str, tmp_path: Path
) -> None:
    config = tmp_path / "redis.toml"
    config.write_text(
        f'[bus]\nurl = "{redis_broker.url}"\ntopic = "paused-{tmp_path.name}"\ngroup = "greeter"\nformat = "evenbet"\n'
        'provision = "all"\n'
    )
    process = start(["run", f"{service}:handlers", "--config", str(config), "--log-level", "debug"], cwd=tmp_path)
    wait_for_line(process.stderr, "handler")
    publishing = ("publish", "OnUserLoggedIn", "--data", '{"nick": "Heron"}', "--config", str(config))
    assert cli(*publishing).code == 0
    wait_for_line(process.stdout, "begin Heron")
    process.send_signal(signal.SIGUSR1)
    wait_for_line(process.stderr, "source bus: paused: paused by SIGUSR1")
    assert cli(*publishing).code == 0
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert wait_for_line(process.stdout, "") == "end Heron\n"
    process.send_signal(signal.SIGUSR1)
    wait_for_line(process.stderr, "source bus: resumed")
    assert wait_for_line(process.stdout, "") == "begin Heron None None\n"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate("\n", timeout=30)
    assert (out, process.returncode) == ("end Heron\n", 0), err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_published_event_reaches_a_running_service_which_drains_on_a_signal(
    cli: Cli, start: Start, redis_broker: RedisBroker, service: str, tmp_path: Path, number: signal.Signals
) -> None:
    topic = f"cli-{tmp_path.name}"
    config = tmp_path / "redis.toml"
    config.write_text(
        f'[bus]\nurl = "{redis_broker.url}"\ntopic = "{topic}"\ngroup = "greeter"\nformat = "evenbet"\nprovision = "all"\n'
    )
    data = '{"playerId": 90201, "nick": "Heron"}'
    published = cli(
        *("publish", "OnUserLoggedIn", "--data", data, "--config", str(config)),
        *("--key", "90201", "--header", "shift=night=late"),
    )
    assert published.code == 0, published.err
    assert published.out.startswith(f"published OnUserLoggedIn to {topic}, id ")
    assert ", position " in published.out

    process = start(["run", f"{service}:handlers", "--config", str(config)], cwd=tmp_path)
    assert wait_for_line(process.stdout, "begin") == "begin Heron 90201 night=late\n"
    process.send_signal(number)
    out, err = process.communicate("\n", timeout=30)
    assert out == "end Heron\n"
    assert process.returncode == 0, err
    assert f"INFO    brokerkit.cli.run: running {service}:handlers until SIGTERM or SIGINT" in err
    assert f"{service}:handlers has stopped" in err


def test_an_idle_service_stops_on_sigterm(start: Start, service: str, tmp_path: Path) -> None:
    (tmp_path / "ready.py").write_text(
        textwrap.dedent(f"""
        import contextlib
        from {service} import bus

        class Ready(type(bus)):
            @contextlib.asynccontextmanager
            async def serving(self):
                async with super().serving():
                    print("serving", flush=True)
                    yield self

        bus.__class__ = Ready
        """)
    )
    process = start(["run", "ready:bus", "--log-level", "error"], cwd=tmp_path)
    wait_for_line(process.stdout, "serving")
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")


# ---- run: what can be wrong -------------------------------------------------------------------------------------


def test_run_refuses_what_is_no_module_and_name(cli: Cli, service: str) -> None:
    assert cli("run", service).err == f"error: {service!r} is not MODULE:BUS, such as wallet.events:bus\n"


def test_run_names_the_buses_of_a_module(cli: Cli, service: str) -> None:
    for attribute, what in (("number", "is not a Bus but a int"), ("bsu", "does not exist")):
        result = cli("run", f"{service}:{attribute}")
        assert result.code == 2
        assert result.err.endswith(f"error: {service}:{attribute} {what}; this module has {service}:bus\n")


def test_run_asks_for_a_configuration_where_there_are_only_handlers(cli: Cli, service: str) -> None:
    result = cli("run", f"{service}:handlers")
    assert result.code == 2
    assert "give their bus with --config FILE" in result.err


def test_run_tells_a_missing_module_from_one_that_a_module_misses(cli: Cli, service: str, tmp_path: Path) -> None:
    assert cli("run", f"{service}.deeper:bus").code == 2
    missing = cli("run", "no_such_module:bus")
    assert missing.code == 2
    assert missing.err == "error: no module 'no_such_module' in the current folder or in the installed packages\n"
    (tmp_path / f"broken_{service}.py").write_text("import no_such_library")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        cli("run", f"broken_{service}:bus")


def test_run_ends_with_one_line_where_the_broker_is_not_there(cli: Cli, service: str, tmp_path: Path) -> None:
    config = tmp_path / "nowhere.toml"
    config.write_text(
        '[bus]\nurl = "redis://user:geheim@127.0.0.1:1"\ntopic = "t"\ngroup = "g"\nformat = "evenbet"\nconnect_timeout = 1\n'
    )
    result = cli("run", f"{service}:handlers", "--config", str(config), "--log-level", "error")
    assert result.code == 1
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert "geheim" not in result.err


def test_run_logs_json_where_it_is_asked_to(cli: Cli, service: str, tmp_path: Path) -> None:
    config = tmp_path / "nowhere.toml"
    config.write_text(
        '[bus]\nurl = "redis://127.0.0.1:1"\ntopic = "t"\ngroup = "g"\nformat = "evenbet"\nconnect_timeout = 1\n'
    )
    result = cli("run", f"{service}:handlers", "--config", str(config), "--log-format", "json")
    *lines, error = result.err.splitlines()
    assert error.startswith("error: ")
    assert [json.loads(line)["level"] for line in lines][:1] == ["info"]


# ---- publish: what can be wrong ---------------------------------------------------------------------------------

LOGIN = ("publish", "OnUserLoggedIn", "--url", "memory://publish", "--topic", "logins")


def test_publish_reads_a_file_or_standard_input(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"playerId": 5}'
    (tmp_path / "login.json").write_bytes(body)
    assert cli(*LOGIN, "--file", str(tmp_path / "login.json")).code == 0
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(body)))
    assert cli(*LOGIN, "--file", "-").code == 0
    assert cli(*LOGIN, "--file", str(tmp_path / "none.json")).err.endswith("none.json: No such file or directory\n")


def test_publish_warns_of_fields_that_the_event_does_not_have(cli: Cli) -> None:
    result = cli(*LOGIN, "--data", '{"nickk": "heron"}')
    assert result.code == 0
    assert result.err == "warning: OnUserLoggedIn has no field nickk; it is published anyway\n"


@pytest.mark.parametrize("due", [("--after", "3600"), ("--at", "2200-01-01T12:00+01:00"), ("--at", "2200-01-01")])
def test_publish_delivers_later(cli: Cli, redis_broker: RedisBroker, due: tuple[str, str]) -> None:
    topic = f"later-{uuid.uuid4().hex}"
    to = ("--url", f"{redis_broker.url}?provision=all&format=json", "--topic", topic)
    result = cli("publish", "OnUserLoggedIn", *to, "--data", '{"playerId": 5}', *due)
    assert result.code == 0, result.err
    with redis.Redis.from_url(redis_broker.url) as client:
        assert client.xlen(topic) == 0
        [(_, at)] = client.zrange(f"{{{topic}}}.all.later", 0, -1, withscores=True)
    assert at > 1_000 * (time.time() + 3_000)


def test_publish_takes_one_time(cli: Cli) -> None:
    result = cli(*LOGIN, "--data", "{}", "--after", "5", "--at", "2200-01-01")
    assert (result.code, "give one of them" in result.err) == (1, True)


def test_publish_takes_a_qualified_name_and_the_environment(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERKIT_URL", "memory://environment")
    monkeypatch.setenv("BROKERKIT_TOPIC", "logins")
    result = cli("publish", "evenbet:OnUserLoggedIn", "--data", "{}")
    assert result.code == 0, result.err
    assert result.out.startswith("published evenbet:OnUserLoggedIn to logins, id ")


def test_publish_chooses_among_targets(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "two.toml"
    config.write_text(
        '[targets.crm]\nurl = "memory://crm"\ntopic = "crm"\n[targets.bi]\nurl = "memory://bi"\ntopic = "bi"\n'
    )
    publish = ("publish", "OnUserLoggedIn", "--data", "{}", "--config", str(config))
    assert "to bi, id" in cli(*publish, "--to", "bi").out
    undecided = cli(*publish)
    assert undecided.code == 1
    assert "crm, bi" in undecided.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", '{"playerId": "many"}'], 1, "evenbet:OnUserLoggedIn.playerId"),
        (["--data", "{"], 1, "evenbet:OnUserLoggedIn: EOF while parsing"),
        ([], 2, "the payload is missing or given twice"),
        (["--data", "{}", "--file", "-"], 2, "the payload is missing or given twice"),
        (["--data", "{}", "--header", "shift"], 2, "--header 'shift' is not NAME=VALUE"),
        (["--data", "{}", "--format", "xml"], 1, "'xml' is not known"),
    ],
)
def test_publish_refuses_in_one_line(cli: Cli, arguments: list[str], code: int, message: str) -> None:
    result = cli(*LOGIN, *arguments)
    assert (result.code, result.out) == (code, "")
    assert message in result.err
    assert result.err.count("\n") == 1


def test_publish_suggests_a_name(cli: Cli) -> None:
    result = cli("publish", "OnUserLogedIn", "--data", "{}", "--url", "memory://", "--topic", "logins")
    assert result.code == 1
    assert "did you mean 'OnUserLoggedIn'?" in result.err
