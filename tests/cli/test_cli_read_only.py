"""What the program says where it can write neither in the current folder nor in the user's home."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.program import PROGRAM

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
# Each test starts a program or two.
pytestmark = pytest.mark.timeout(300)
LOGIN = ("OnUserLoggedIn", "--data", '{"playerId": 1}', "--topic", "poker", "--format", "evenbet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose files can be read."""
    (tmp_path / "shop.yaml").write_text(SPECIFICATION)
    tmp_path.chmod(0o555)
    return tmp_path


def brokerkit(folder: Path, *arguments: str, temporary: Path | None = None) -> tuple[int, str, str]:
    """Run a command in a folder that cannot be written."""
    command = [sys.executable, str(PROGRAM), *arguments]
    if os.geteuid() == 0:  # without its capabilities, root is held to the rights of files too
        setpriv = shutil.which("setpriv")
        assert setpriv is not None, "install util-linux"
        command = [setpriv, "--inh-caps=-all", "--bounding-set=-all", *command]
    kept = {name: value for name, value in os.environ.items() if name not in ("TMP", "TEMP", "TMPDIR")}
    environment = {**kept, "HOME": str(folder / "home")}
    if temporary is not None:
        environment["TMPDIR"] = str(temporary)
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


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
    code, out, err = brokerkit(folder, "demo", "--fast", "--url", url, temporary=elsewhere)
    assert code == 0, err
    assert "Every message is accounted for" in out
    assert list(folder.iterdir()) == [folder / "shop.yaml"]


def test_a_broker_in_a_file_can_be_published_to_where_nothing_else_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    Bell(tmp_path / "broker.db").ring()
