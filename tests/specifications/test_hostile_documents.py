"""A specification is data: it takes no memory, names no other file, and chooses nothing that Python runs."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from pydantic import create_model

from brokerkit import ConfigError
from brokerkit._specifications import module_text, read
from brokerkit._specifications._documents import Bundler, Documents
from brokerkit.cli._export import _files
from brokerkit.events import Event, Family


def opened(folder: Path, text: str) -> object:
    file = folder / "document.yaml"
    file.write_text(text)
    return Documents(folder).open(file)


def test_aliases_that_multiply_are_refused_and_others_are_read(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ConfigError, match=r"document.yaml: with its aliases written out it has more than 1,000,000"):
        opened(tmp_path, "\n".join(lines))
    opened(tmp_path, "\n".join(["asyncapi: 3.0.0", *lines[:3]]))


def test_a_document_that_contains_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="with its aliases written out"):
        opened(tmp_path, "a: &a\n  b: *a\n")


def test_a_document_above_the_limit_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    with file.open("wb") as sparse:
        sparse.truncate(17 * 2**20)
    with pytest.raises(ConfigError, match=r"large.json has 17,825,792 bytes; a document may have 16,777,216"):
        Documents(tmp_path).open(file)


def test_an_enum_of_very_many_values_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    values = {"$defs": {"Game": {"enum": [f"game-{number}" for number in range(20_000)]}}}
    file.write_text(json.dumps({"$ref": "#/$defs/Game", **values}))
    documents = Documents(tmp_path)
    with pytest.raises(
        ConfigError, match=r"large.json#/\$defs/Game/enum: there are 20,000 values; an enum may have 10,000"
    ):
        Bundler(documents).schema(*documents.open(file))


@pytest.mark.parametrize(
    "text", [f"a: {'9' * 5_000}", "a: !!bool x", "a: !!timestamp x", "a: !!int ''", "a: !!float x"]
)
def test_a_value_that_cannot_be_read_is_an_error_with_the_name_of_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"document.yaml: a value cannot be read"):
        opened(tmp_path, text)


def test_a_number_without_end_is_an_error_in_json_too(tmp_path: Path) -> None:
    file = tmp_path / "number.json"
    file.write_text(f'{{"a": {"9" * 5_000}}}')
    with pytest.raises(ConfigError, match=r"number.json: a value cannot be read"):
        Documents(tmp_path).open(file)


GENERATORS = {
    "customTypePath": "os.system",
    "customBasePath": "subprocess.Popen",
    "x-python-import": {"module": "subprocess", "name": "Popen"},
    "x-python-type": "subprocess.Popen",
    "x-is-base-class": True,
    "x-enum-varnames": ["__import__"],
    "$dynamicRef": "file:///etc/passwd",
    "dependencies": {"a": {"x-python-import": {"module": "subprocess", "name": "Popen"}}},
}
"""Keywords that a generator knows and JSON Schema does not, or whose schemas are not looked through."""


def test_keywords_of_generators_choose_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fields = {"a": {"type": "string"}, "b": {"type": "array", "items": {"type": "integer"}}}
    plain = {"type": "object", "properties": fields}
    hostile = {
        **GENERATORS,
        "type": "object",
        "properties": {
            "a": {"type": "string", **GENERATORS},
            "b": {"type": "array", **GENERATORS, "items": {"type": "integer", **GENERATORS}},
        },
    }
    texts = []
    for schema in (plain, hostile):
        (tmp_path / "seated.json").write_text(json.dumps(schema))
        texts.append(module_text(read(tmp_path / "seated.json")))
    assert texts[0] == texts[1]
    [line] = [record.getMessage() for record in caplog.records]
    assert all(keyword in line for keyword in GENERATORS)


def test_a_description_cannot_steer_the_terminal_that_shows_the_module(tmp_path: Path) -> None:
    said = 'first\nsecond\x1b[2J\x9b1A\u202e """ + __import__("os").system("true") + """'
    schema = {"type": "object", "description": said, "properties": {"a": {"type": "string", "description": said}}}
    (tmp_path / "seated.json").write_text(json.dumps(schema))
    text = module_text(read(tmp_path / "seated.json"))
    assert all(line.isprintable() for line in text.split("\n"))
    called = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    assert not any(isinstance(call.func, ast.Name) and call.func.id == "__import__" for call in called)


WAYS = ["../secret.json", "sub/../../secret.json", "{folder}/secret.json", "link.json", "..%2Fsecret.json"]


@pytest.mark.parametrize("way", WAYS)
def test_no_reference_leads_out_of_the_folder(way: str, tmp_path: Path) -> None:
    inside = tmp_path / "in"
    (inside / "sub").mkdir(parents=True)
    (tmp_path / "secret.json").write_text('{"type": "string", "const": "opensesame"}')
    (inside / "link.json").symlink_to(tmp_path / "secret.json")
    way = way.format(folder=tmp_path)
    (inside / "seated.json").write_text(json.dumps({"type": "object", "properties": {"a": {"$ref": way}}}))
    with pytest.raises(ConfigError, match="leads out of the folder 'in'") as caught:
        read(inside / "seated.json")
    assert "opensesame" not in str(caught.value)


def test_a_reference_within_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "other.json").write_text('{"type": "string"}')
    (tmp_path / "sub" / "b.json").write_text('{"type": "object", "properties": {"c": {"$ref": "../other.json"}}}')
    (tmp_path / "seated.json").write_text('{"type": "object", "properties": {"a": {"$ref": "sub/b.json"}}}')
    assert read(tmp_path / "seated.json").events


NAMES = ["../../x", "/etc/passwd", "..", "a/b", "a\\b", "CON", "nul.txt", "x" * 500, "é" * 200, ".", "a:b", "A/B"]


def test_names_of_events_name_no_place_outside_the_folder(tmp_path: Path) -> None:
    model = create_model("Seated", __base__=Event, player=(int | None, None))
    family = Family("hostile-names", dict.fromkeys(NAMES, model))
    folder = tmp_path / "out"
    for path, text in _files(family, "1.0.0", frozenset()):
        assert not path.is_absolute()
        assert ".." not in path.parts
        made = folder / path
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(text)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(list((folder / "schemas" / "hostile-names").iterdir())) == len(NAMES)
