"""What all commands have in common: exit codes, errors of one line, a quick start."""

import subprocess
import sys

import pytest
from tests.cli.program import Cli, Result

import brokerkit
from brokerkit import cli as cli_package


def run_python(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_version(cli: Cli) -> None:
    assert cli("--version") == Result(0, f"{brokerkit.__version__}\n", "")


def test_help_names_every_command_and_imports_nothing_of_what_commands_need(cli: Cli) -> None:
    code = (
        "import sys; from brokerkit.cli._app import run; run(['--help']);"
        "print(*sorted(name for name in sys.modules if name.startswith(('brokerkit.', 'pydantic', 'asyncio'))),"
        "file=sys.stderr)"
    )
    done = run_python(code)
    for command in ("demo", "run", "publish", "inspect", "tail", "catalog"):
        assert command in done.stdout
    loaded = ["_errors", "_logging", "_version", "cli", "cli._app", "cli._output"]
    assert done.stderr.split() == [f"brokerkit.{name}" for name in loaded]


@pytest.mark.parametrize(
    "command", [["demo"], ["run"], ["publish"], ["inspect"], ["tail"], ["catalog"], ["catalog", "show"]]
)
def test_every_command_has_help(cli: Cli, command: list[str]) -> None:
    result = cli(*command, "--help")
    assert result.code == 0
    assert "Usage: brokerkit " + " ".join(command) in result.out


@pytest.mark.parametrize("library", ["cyclopts", "rich"])
def test_a_missing_extra_is_one_line_with_the_pip_command(library: str) -> None:
    done = run_python(f"import sys; sys.modules['{library}'] = None; from brokerkit.cli import main; main()")
    assert done.returncode == 1
    assert done.stderr == (
        f"error: the command line needs {library}, which is not installed: pip install 'brokerkit-sdk[cli]'\n"
    )


def test_a_defect_of_our_own_is_not_taken_for_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brokerkit.cli._app", None)
    with pytest.raises(ModuleNotFoundError, match="_app"):
        cli_package.main()


@pytest.mark.parametrize("arguments", [["nothing"], ["publish", "OnUserLoggedIn", "--dat", "{}"], ["catalog", "shw"]])
def test_wrong_use_is_one_line_and_exit_code_2(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1


def test_an_error_of_brokerkit_is_one_line_and_exit_code_1(cli: Cli) -> None:
    result = cli("demo", "--fast", "--url", "carrier-pigeon://user:geheim@loft")
    assert result.code == 1
    assert result.err.startswith("error: carrier-pigeon://user:***@loft: no adapter for 'carrier-pigeon'")
    assert result.err.count("\n") == 1
    assert "geheim" not in result.err


def test_traceback_shows_where_an_error_comes_from(cli: Cli) -> None:
    result = cli("catalog", "show", "OnGameDoen", "--traceback")
    assert result.code == 1
    assert "Traceback (most recent call last)" in result.err
    assert "ConfigError" in result.err
