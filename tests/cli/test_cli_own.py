"""The command line on a program's own events and buses, and what it writes for other programs."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.brokers.redis import RedisBroker
from tests.cli.program import PROGRAM, Cli

OWN = """
from pydantic import BaseModel
from brokerkit import Bus
from brokerkit.events import Family, register

class BonusGiven(BaseModel):
    player: int

FAMILY = Family("acme", {{"BonusGiven": BonusGiven}})
register(FAMILY)
bus = Bus({url!r}, topic={topic!r}, group="wallet", format="json", name_from="header:event", provision="all")

@bus.on("BonusGiven")
async def handle(event: BonusGiven) -> None: ...
"""


@pytest.fixture
def own(redis_broker: RedisBroker, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder with a program that has an event and a bus of its own."""
    (tmp_path / "acme.py").write_text(OWN.format(url=redis_broker.url, topic=f"own-{tmp_path.name}"))
    return tmp_path


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_program_s_own_event_is_published_followed_and_inspected(own: Path, redis_broker: RedisBroker) -> None:
    topic = f"own-{own.name}"
    data = ["BonusGiven", "--data", '{"player": 7}', "--key", "k"]
    unknown = call(own, "publish", *data, "--url", redis_broker.url, "--topic", topic)
    assert unknown.returncode == 1
    assert "BonusGiven" in unknown.stderr
    by_bus = call(own, "publish", *data, "--url", "acme:bus")
    assert (by_bus.returncode, by_bus.stderr) == (0, "")
    url = f"{redis_broker.url}?format=json&name_from=header:event"
    by_import = call(own, "--import", "acme", "publish", *data, "--url", url, "--topic", topic)
    assert (by_import.returncode, by_import.stderr) == (0, "")

    followed = call(own, "tail", "acme:bus", "--from-start", "--limit", "2", "--json")
    assert followed.returncode == 0, followed.stderr
    first, second = map(json.loads, followed.stdout.splitlines())
    assert (first["event"], first["key"], json.loads(first["body"])) == ("BonusGiven", "k", {"player": 7})
    assert first["topic"] == second["topic"] == topic
    assert first["headers"]["event"] == "BonusGiven"
    assert first["id"] != second["id"]

    inspected = call(own, "inspect", "acme:bus", "--json")
    assert inspected.returncode == 0, inspected.stderr
    found = json.loads(inspected.stdout)
    assert (found["messages"], found["family"], found["known"]) == (2, "acme", {"BonusGiven": 2})
    assert tomllib.loads(found["configuration"])["bus"]["name_from"] == "header:event"


def test_what_goes_with_a_url_is_refused_beside_a_bus(own: Path) -> None:
    refused = call(own, "tail", "acme:bus", "--name-from", "key")
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: --name-from goes with a URL; acme:bus has its own settings\n",
    )
    settings_of_url = call(own, "tail", "acme:bus", "--topic", "other")
    assert settings_of_url.returncode == 2
    assert f"bus reads own-{own.name}" in settings_of_url.stderr
    missing = call(own, "--import", "nowhere", "catalog", "list")
    assert (missing.returncode, missing.stderr) == (
        2,
        "error: no module 'nowhere' in the current folder or in the installed packages\n",
    )


def test_nothing_is_folded_in_a_pipe(cli: Cli) -> None:
    shown = cli("catalog", "show", "OnGameDone").out.splitlines()
    assert max(map(len, shown)) > 200


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_tab_key_completes_commands(tmp_path: Path, shell: str) -> None:
    output = tmp_path / "completion"
    done = call(tmp_path, "--install-completion", "--shell", shell, "--output", str(output))
    assert done.returncode == 0, done.stderr
    assert "inspect" in output.read_text()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("publish OnUserLoggedIn --data {} --url foo --topic t", "the URL: 'foo' is not a broker URL"),
        ("tail foo --topic t", "the URL: 'foo' is not a broker URL"),
        ("bridge --from foo --to memory:// --topic t", "--from: 'foo' is not a broker URL"),
        ("bridge --from memory:// --to foo --topic t", "--to: 'foo' is not a broker URL"),
        ("publish OnUserLoggedIn --data {} --url memory:// --topic t --format nope", "--format: 'nope' is not known"),
    ],
)
def test_an_error_names_the_option_as_the_command_calls_it(cli: Cli, line: str, text: str) -> None:
    done = cli(*line.split())
    assert done.code == 1
    assert done.err.startswith(f"error: {text}")
