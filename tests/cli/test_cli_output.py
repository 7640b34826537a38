"""What commands write: lines that are never folded, that steer no terminal, and that survive a closed pipe."""

import io
import json
import subprocess
import sys

import pytest
from tests.cli.program import PROGRAM

from brokerkit._messages._json import to_json
from brokerkit.cli._output import Table, say, say_json

HOSTILE = "a\nforged\x1b[2J\u202eb\udc80"


def test_a_line_is_never_folded_and_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("x" * 5_000 + HOSTILE)
    assert capsys.readouterr().out == "x" * 5_000 + "a\\nforged\\x1b[2J\\u202eb\\udc80\n"


def test_json_is_one_line_that_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"body": to_json(HOSTILE), "key": to_json(b"\xff"), "name": to_json("Олег".encode()), "none": None})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.rstrip("\n").isprintable()
    assert json.loads(out) == {"body": HOSTILE, "key": {"base64": "/w=="}, "name": "Олег", "none": None}


def test_text_is_left_readable_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"name": "Олег"})
    assert capsys.readouterr().out == '{"name": "Олег"}\n'


def test_lines_are_written_in_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    say("Олег")
    say_json({"name": "Олег"})
    sys.stdout.flush()
    plain, as_json = raw.getvalue().decode("ascii").splitlines()
    assert plain == "\\u041e\\u043b\\u0435\\u0433"
    assert json.loads(as_json) == {"name": "Олег"}


def test_a_table_has_a_line_for_each_row_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    with Table("id", "attempts", "error", right=["attempts"]) as table:
        table.row("1", "3", HOSTILE)
        table.row("two", "12", "e" * 500)
    head, first, second = capsys.readouterr().out.splitlines()
    assert head == "id   attempts  error"
    assert first == "1           3  a\\nforged\\x1b[2J\\u202eb\\udc80"
    assert second == "two        12  " + "e" * 500


def test_a_table_is_written_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    with Table("id", "text") as table:
        for number in range(100):
            table.row(str(number), "x")
        assert len(capsys.readouterr().out.splitlines()) == 101
        table.row("longer than any", "y")
        assert capsys.readouterr().out == "longer than any  y\n"


def test_a_table_without_rows_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Table("id"):
        pass
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("command", ["catalog list", "catalog show OnGameDone", "--help"])
def test_a_closed_pipe_ends_a_command_in_silence(command: str) -> None:
    line = f"'{sys.executable}' '{PROGRAM}' {command} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1 if command == "--help" else 141, "")
