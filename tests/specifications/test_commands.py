"""``brokerkit catalog import`` and ``catalog diff``, as a shell and CI see them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.specifications.conftest import Written

from brokerkit.cli._app import run

Cli = Callable[..., tuple[int, str, str]]

OLD = """
asyncapi: 3.0.0
channels:
  orders:
    messages:
      Placed: {payload: {type: object, required: [id], properties: {id: {type: string}, state: {enum: [new, paid]}}}}
"""
READERS = OLD.replace("[new, paid]", "[new, paid, sent]")
WRITERS = OLD.replace("required: [id]", "required: [id, state]")
SAFE = OLD.replace("id: {type: string}", "id: {type: string}, note: {type: string}")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = run([str(each) for each in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_import_writes_a_module_to_standard_output_or_a_file(cli: Cli, written: Written, tmp_path: Path) -> None:
    path = written("shop.yaml", OLD)
    code, out, err = cli("catalog", "import", path)
    assert (code, err) == (0, "")
    assert 'FAMILY: Final = Family("shop", {"Placed": Placed})' in out
    assert cli("catalog", "import", path, "--output", tmp_path / "shop.py", "--family", "orders") == (0, "", "")
    made = (tmp_path / "shop.py").read_text(encoding="utf-8")
    assert 'FAMILY: Final = Family("orders", {"Placed": Placed})' in made
    assert cli("catalog", "import", path, "--output", tmp_path / "shop.py", "--family", "orders") == (0, "", "")
    assert (tmp_path / "shop.py").read_text(encoding="utf-8") == made


def test_a_bad_document_is_one_line_and_exit_code_1_and_writes_nothing(
    cli: Cli, written: Written, tmp_path: Path
) -> None:
    path = written("shop.yaml", OLD.replace("{type: string}", "{$ref: 'https://example.com/id.json'}"))
    code, out, err = cli("catalog", "import", path, "--output", tmp_path / "shop.py")
    assert (code, out) == (1, "")
    assert err.startswith("error: shop.yaml#/channels/orders/messages/Placed/payload/properties/id: $ref 'https://")
    assert err.count("\n") == 1
    assert not (tmp_path / "shop.py").exists()


def test_an_output_that_cannot_be_written_is_one_line(cli: Cli, written: Written, tmp_path: Path) -> None:
    code, _, err = cli("catalog", "import", written("shop.yaml", OLD), "--output", tmp_path / "none" / "shop.py")
    assert code == 1
    assert err.endswith("shop.py cannot be written: No such file or directory; --output chooses another place\n")


@pytest.mark.parametrize(
    ("new", "fail_on", "code"),
    [
        (OLD, "any", 0),
        (SAFE, "any", 0),
        (READERS, "any", 1),
        (READERS, "readers", 1),
        (READERS, "writers", 0),
        (WRITERS, "any", 1),
        (WRITERS, "readers", 0),
        (WRITERS, "writers", 1),
    ],
)
def test_the_exit_code_of_diff_is_for_ci(cli: Cli, written: Written, new: str, fail_on: str, code: int) -> None:
    old_file, new_file = written("old.yaml", OLD), written("new.yaml", new)
    assert cli("catalog", "diff", old_file, new_file, "--fail-on", fail_on)[0] == code


def test_diff_says_what_changed_and_whom_it_breaks(cli: Cli, written: Written) -> None:
    old, new = written("old.yaml", OLD), written("new.yaml", READERS.replace("required: [id]", "required: [id, state]"))
    _, out, err = cli("catalog", "diff", old, new)
    assert err == ""
    assert out.splitlines() == [
        "Placed",
        '  breaks readers             state: may be "sent" too',
        "  breaks writers             state: is required now; messages without it are refused",
        "break readers: 1, break writers: 1, safe: 0",
    ]
    assert cli("catalog", "diff", old, old)[1] == "no changes\n"


def test_diff_as_json(cli: Cli, written: Written) -> None:
    code, out, _ = cli("catalog", "diff", written("old.yaml", OLD), written("new.yaml", WRITERS), "--json")
    assert code == 1
    assert json.loads(out) == {
        "breaksReaders": False,
        "breaksWriters": True,
        "changes": [
            {
                "event": "Placed",
                "path": "state",
                "kind": "required-added",
                "text": "is required now; messages without it are refused",
                "breaksReaders": False,
                "breaksWriters": True,
            }
        ],
    }


def test_a_family_is_compared_with_its_exported_schemas(cli: Cli, tmp_path: Path) -> None:
    assert cli("catalog", "export", tmp_path, "--family", "evenbet")[0] == 0
    assert cli("catalog", "diff", "evenbet", tmp_path / "schemas" / "evenbet") == (0, "no changes\n", "")


def test_the_documented_example_works_and_changes_as_documented(cli: Cli, written: Written, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "specifications.md").read_text(encoding="utf-8")
    document, program = re.search(r"```yaml\n(.*?)```.*?```python\n(.*?)```", page, re.DOTALL).groups()  # type: ignore[union-attr]
    old = written("shop.yaml", document)
    assert cli("catalog", "import", old, "--output", tmp_path / "shop.py") == (0, "", "")
    subprocess.run([sys.executable, written("program.py", program)], check=True, cwd=tmp_path)
    changed = document.replace("[open, paid]", "[open, paid, sent]").replace(
        "[orderId, total]", "[orderId, total, note]"
    )
    new = written("new.yaml", f"{changed}        note: {{type: string}}\n        currency: {{type: string}}\n")
    code, out, _ = cli("catalog", "diff", old, new)
    assert code == 1
    shown = re.search(r"```\n(order\.placed\n.*?)```", page, re.DOTALL)
    assert shown is not None
    assert out == shown[1]


@pytest.mark.parametrize("arguments", [["nowhere", "evenbet"], ["evenbet", "no/file.json"], ["evenbet"]])
def test_what_cannot_be_compared_is_one_line_and_exit_code_2(cli: Cli, arguments: list[str]) -> None:
    code, out, err = cli("catalog", "diff", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_the_generator_is_imported_by_import_alone(written: Written) -> None:
    code = (
        "import sys; from brokerkit.cli._app import run; run(['catalog', 'diff', *sys.argv[1:]]);"
        "assert not {'datamodel_code_generator', 'jinja2', 'black'} & sys.modules.keys()"
    )
    path = str(written("old.yaml", OLD))
    subprocess.run([sys.executable, "-c", code, path, path], check=True, capture_output=True)
