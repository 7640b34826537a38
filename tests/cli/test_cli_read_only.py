"""What the program says where it can write neither in the current folder nor in the user's home."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.program import PROGRAM, Program

from brokerkit.adapters.sqlite._wake import Bell

SPECIFICATION = """
asyncapi: 3.0.0
info: {title: shop, version: 1.0.0}
channels:
  orders:
    address: orders
    messages:
      Placed: {payload: {type: object, properties: {id: {type: integer}}}}
"""
SERVICE = """
from brokerkit import Bus, Handlers
from brokerkit.events.evenbet import OnUserLoggedIn

handlers = Handlers()


@handlers.on("OnUserLoggedIn")
async def greet(event: OnUserLoggedIn) -> None:
    print("handled", event.player_id, flush=True)


bus = Bus(topic="poker", group="wallet", format="evenbet")
bus.include(handlers)


async def check(token: str) -> None:
    return None
"""
GATEWAY = """
[bus]
topic = "poker"
format = "evenbet"
broadcast = true

[gateway]
check = "service:check"
port = 0
"""
FILES = ["gateway.toml", "service.py", "shop.yaml"]
# Each test starts a program or two.
pytestmark = pytest.mark.timeout(300)
LOGIN = ("OnUserLoggedIn", "--data", '{"playerId": 1}', "--topic", "poker", "--format", "evenbet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose files can be read."""
    (tmp_path / "shop.yaml").write_text(SPECIFICATION)
    (tmp_path / "service.py").write_text(SERVICE)
    (tmp_path / "gateway.toml").write_text(GATEWAY)
    tmp_path.chmod(0o555)
    return tmp_path


def command(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start a command in a folder that cannot be written."""
    words = [sys.executable, str(PROGRAM), *arguments]
    if os.geteuid() == 0:  # without its capabilities, root is held to the rights of files too
        setpriv = shutil.which("setpriv")
        assert setpriv is not None, "install util-linux"
        words = [setpriv, "--inh-caps=-all", "--bounding-set=-all", *words]
    kept = {name: value for name, value in os.environ.items() if name not in ("TMP", "TEMP", "TMPDIR")}
    return subprocess.Popen(
        words,
        cwd=folder,
        env={**kept, "HOME": str(folder / "home"), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def brokerkit(folder: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run a command in a folder that cannot be written."""
    with command(folder, *arguments, **variables) as process:
        out, err = process.communicate()
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("arguments", "file", "advice"),
    [
        (["demo", "--fast"], "brokerkit-demo.db", "--url chooses another place"),
        (["publish", *LOGIN, "--url", "sqlite:///broker.db"], "broker.db", "names another"),
        (["catalog", "export", "catalog"], "catalog/domains", "FOLDER chooses another place"),
        (["catalog", "import", "shop.yaml", "--output", "shop.py"], "shop.py", "--output chooses another place"),
        (
            ["catalog", "on-types", "brokerkit.events.evenbet", "--output", "on.py"],
            "on.py",
            "--output chooses another place",
        ),
        (["record", "memory://", "--topic", "poker", "--out", "poker.jsonl"], "poker.jsonl", "cannot be written"),
        (["--install-completion", "--shell", "bash"], "home", "HOME chooses another place"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_names_what_it_cannot_write_and_what_chooses_another_place(
    folder: Path, arguments: list[str], file: str, advice: str
) -> None:
    code, _, err = brokerkit(folder, *arguments)

    assert code == 1, err
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    assert file in err
    assert advice in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["catalog", "list"],
        ["catalog", "import", "shop.yaml"],
        ["publish", *LOGIN, "--url", "memory://"],
    ],
    ids=" ".join,
)
def test_commands_need_no_folder_to_write_to(folder: Path, arguments: list[str]) -> None:
    code, _, err = brokerkit(folder, *arguments)
    assert (code, err) == (0, "")


def test_a_broker_in_a_file_elsewhere_needs_no_current_folder_and_no_home(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    url = f"sqlite:///{elsewhere}/broker.db"
    code, out, err = brokerkit(folder, "demo", "--fast", "--url", url, TMPDIR=str(elsewhere))
    assert code == 0, err
    assert "Every message is accounted for" in out
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_a_broker_in_a_file_can_be_published_to_where_nothing_else_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    Bell(tmp_path / "broker.db").ring()


@pytest.fixture
def url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A broker in another folder, with one event."""
    place = f"sqlite:///{tmp_path_factory.mktemp('elsewhere')}/broker.db?provision=all"
    assert brokerkit(folder, "publish", *LOGIN, "--url", place)[::2] == (0, "")
    return place


def test_what_looks_records_and_forwards_needs_no_current_folder_and_no_home(folder: Path, url: str) -> None:
    source = f"{url}&start=earliest"
    recording = f"{url.removeprefix('sqlite:///').partition('?')[0]}.jsonl"
    place, read = ("--topic", "poker"), ("--topic", "poker", "--format", "evenbet")
    for arguments in (
        ("tail", url, *place, "--from-start", "--limit", "1"),
        ("inspect", url, *place, "--yes"),
        ("lag", url, *place, "--group", "wallet"),
        ("record", source, *read, "--group", "recorder", "--count", "1", "--out", recording),
        ("replay", recording, *read, "--to", url, "--speed", "max"),
        ("bridge", "--from", source, "--to", url, *read, "--group", "bridge", "--to-topic", "copy", "--until-empty"),
        ("dlq", "list", url, *place, "--group", "bridge"),
    ):
        code, _, err = brokerkit(folder, *arguments)
        assert code == 0, f"{arguments}: {err}"
    assert sorted(path.name for path in folder.iterdir()) == FILES


@pytest.mark.parametrize(
    ("arguments", "sign"),
    [(["run", "service:bus"], r"handled 1"), (["gateway", "--config", "gateway.toml"], r"listening on 127\.0\.0\.1")],
    ids=["run", "gateway"],
)
def test_a_service_needs_no_current_folder_and_no_home(folder: Path, url: str, arguments: list[str], sign: str) -> None:
    with command(folder, *arguments, BROKERKIT_URL=f"{url}&start=earliest") as process:
        program = Program(process)
        try:
            program.wait_for(sign)
        finally:
            process.send_signal(signal.SIGTERM)
        assert program.end() == 0, program.said
    assert sorted(path.name for path in folder.iterdir()) == FILES
