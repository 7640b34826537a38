"""The module that is made of a specification: its models, its family, its typed ``on``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.specifications.conftest import Imported, Written

from brokerkit import Bus, ConfigError, DecodeError, Handlers, MissingExtra
from brokerkit._specifications import Specification, module_text, read
from brokerkit.cli._export import export
from brokerkit.events import Family, families
from brokerkit.events._registry import BUILT_IN

SAMPLES = Path(__file__).parent.parent / "events"
ORDER = """
asyncapi: 3.0.0
channels:
  shop:
    messages:
      order.placed:
        payload:
          type: object
          additionalProperties: false
          description: An order was placed.
          required: [id, kind, lines]
          properties:
            id: {type: string, format: uuid}
            kind: {const: order}
            lines: {type: array, minItems: 1, items: {$ref: '#/components/schemas/Line'}}
            player_id: {type: string, description: who}
            playerId: {type: integer}
            class: {enum: [a, b], type: string}
            at: {type: string, format: date-time}
            site: {type: string, format: uri}
            mail: {type: string, format: email}
            secret: {type: string, format: password}
            amount: {type: number, format: decimal, unit: cents}
            labels: {type: object, additionalProperties: {type: string}}
      Event: {payload: {type: object, properties: {json: {type: string}, copy: {type: boolean}}}}
      event: {}
      2nd-thing: {payload: {oneOf: [{type: string}, {type: array, items: {type: integer}}]}}
components:
  schemas:
    Line: {type: object, properties: {sku: {type: string, pattern: '^[A-Z]'}, parts: {$ref: '#/components/schemas/Lines'}}}
    Lines: {type: array, items: {$ref: '#/components/schemas/Line'}}
"""
PLACED = {
    "id": "7f9f1c46-1234-4abc-8def-000000000001",
    "kind": "order",
    "lines": [{"sku": "A1", "parts": [{"sku": "B"}]}],
}


def comparable(schema: Any, specification: Specification, *, null_is_unset: bool = False) -> Any:
    """A schema with its references filled in, without titles and descriptions."""
    if isinstance(schema, list):
        return [comparable(each, specification, null_is_unset=null_is_unset) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = specification.resolved(schema)
    made = {
        key: {name: comparable(each, specification, null_is_unset=null_is_unset) for name, each in value.items()}
        if key == "properties"
        else comparable(value, specification, null_is_unset=null_is_unset)
        for key, value in schema.items()
        if key not in ("title", "description", "x-event-name")
    }
    if null_is_unset and made.get("default", 0) is None and len(made.get("anyOf", ())) == 2:
        made |= next(choice for choice in made.pop("anyOf") if choice != {"type": "null"})
    return {key: value for key, value in made.items() if (key, value) != ("additionalProperties", True)}


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_importing_exported_schemas_gives_equal_models(name: str, tmp_path: Path, imported: Imported) -> None:
    export(tmp_path, family=name)
    module = imported(tmp_path / "schemas" / name)
    theirs, ours = read(name), read(str(module.__file__))
    assert set(ours.events) == set(theirs.events)
    # EvenBet, AccelByte and the session messages say null wherever it is; ThrillConnect's times leave it out.
    as_unset = name.startswith("thrill")
    for event in theirs.events:
        wanted = comparable(theirs.events[event], theirs, null_is_unset=as_unset)
        assert comparable(ours.events[event], ours, null_is_unset=as_unset) == wanted, event


@pytest.mark.parametrize("name", ["evenbet", "accelbyte", "session", "thrillconnect"])
def test_an_imported_family_writes_the_samples_as_the_family_itself(name: str, imported: Imported) -> None:
    family = families()[name]
    models = imported(name).FAMILY.models
    # The wrapper is no part of a schema; a schema has the form that is written, so the looser forms are not read.
    twin = Family(name, models, wrapper=family.wrapper, wrapped=family.wrapped)
    refused: list[str] = []
    compared = 0
    for line in (SAMPLES / f"{name}_samples.jsonl").read_text(encoding="utf-8").splitlines():
        sample = json.loads(line)
        event = next((one for one in family.models if one.lower() == sample["event"].lower()), None)
        event = sample["event"] if sample["event"] in family.models else event
        if event is None or (name == "thrillconnect" and "msg_type" not in sample["wire"]):
            continue
        wire = json.dumps(sample["wire"]).encode()
        wanted = family.write(family.read(event, wire), name=event)
        try:
            written = twin.write(twin.read(event, wire), name=event)
        except DecodeError as error:
            refused.append(f"{event}.{error.field}")
            continue
        assert json.loads(written) == json.loads(wanted)
        compared += 1
    assert compared >= 9
    # "True" and "False" are text in the schema; the family reads true and false too.
    assert refused == (["OnGameDone.participations.0.isOut"] if name == "evenbet" else [])


def test_importing_the_asyncapi_document_of_a_bus_gives_equal_models(written: Written, imported: Imported) -> None:
    bus = Bus("memory://", topic="poker", group="wallet", format="evenbet")
    path = written("poker.json", json.dumps(bus.asyncapi()))
    document, ours = read(path), read(str(imported(path).__file__))
    assert len(ours.events) == 40
    for event, schema in document.events.items():
        assert comparable(ours.events[event], ours) == comparable(schema, document), event


def test_a_made_module_reads_and_writes_what_the_document_says(written: Written, imported: Imported) -> None:
    module = imported(written("shop.yaml", ORDER))
    family: Family = module.FAMILY
    assert family.name == "shop"
    names = {name: model.__name__ for name, model in family.models.items()}
    assert names == {
        "order.placed": "OrderPlaced",
        "Event": "EventEvent",
        "event": "EventEvent2",
        "2nd-thing": "Event2ndThing",
    }
    more = {
        "player_id": "p", "playerId": 7, "class": "a", "at": "2026-01-31T12:00:00Z", "site": "https://a.b",
        "mail": "x", "secret": "s", "amount": 2.5, "labels": {"a": "b"},
    }  # fmt: skip
    event = family.read("order.placed", PLACED | more)
    assert event.player_id == "p"
    assert event.lines[0].sku == "A1"
    assert json.loads(family.write(event)) == PLACED | more
    assert json.loads(family.write(family.read("event", {"any": [1]}))) == {"any": [1]}
    assert family.write(family.read("2nd-thing", b"[1,2]")) == b"[1,2]"
    assert family.write(module.EventEvent(json_="x", copy_=True)) == b'{"json":"x","copy":true}'
    with pytest.raises(DecodeError, match=r"shop:order.placed.kind: Input should be 'order'"):
        family.read("order.placed", PLACED | {"kind": "other"})
    with pytest.raises(DecodeError, match=r"shop:order.placed.lines.0.sku"):
        family.read("order.placed", PLACED | {"lines": [{"sku": "a"}]})
    with pytest.raises(DecodeError, match=r"shop:order.placed.unknown: Extra inputs are not permitted"):
        family.read("order.placed", PLACED | {"unknown": 1})


def test_units_formats_and_meanings_are_kept(written: Written, imported: Imported) -> None:
    specification = read(str(imported(written("shop.yaml", ORDER)).__file__))
    placed = specification.events["order.placed"]
    fields = placed["properties"]
    assert placed["description"] == "An order was placed."
    assert fields["player_id"]["description"] == "who"
    assert (fields["amount"]["unit"], fields["amount"]["format"], fields["site"]["format"]) == (
        "cents",
        "decimal",
        "uri",
    )


async def test_the_typed_on_of_a_made_module_registers_handlers(written: Written, imported: Imported) -> None:
    module = imported(written("shop.yaml", ORDER))
    handlers = Handlers()

    @module.on(handlers)("order.placed")
    async def place(event: Any) -> None: ...

    assert [each.events for each in handlers] == [("order.placed",)]


def test_made_modules_are_clean_for_ruff_mypy_and_pyright(written: Written, tmp_path: Path) -> None:
    for name in ("evenbet", "thrillpots"):
        written(f"{name}_made.py", module_text(read(name)))
    made = written("shop_made.py", module_text(read(written("shop.yaml", ORDER))))
    written(
        "use.py",
        "from brokerkit import Handlers\nfrom shop_made import OrderPlaced, on\n"
        "handlers = Handlers()\n\n\n@on(handlers)('order.placed')\ndef good(event: OrderPlaced) -> None: ...\n",
    )
    wrong = written(
        "wrong.py",
        "from brokerkit import Handlers\nfrom shop_made import Event2ndThing, on\nhandlers = Handlers()\n\n\n"
        "@on(handlers)('order.placed')\ndef bad(event: Event2ndThing) -> None: ...\n\n\n"
        "on(handlers)('order.plcaed')\n",
    )
    written("pyrightconfig.json", json.dumps({"typeCheckingMode": "strict", "pythonVersion": "3.11"}))
    clean = [str(path) for path in sorted(tmp_path.glob("*.py")) if path != wrong]

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "MYPYPATH": str(tmp_path)}
        arguments = [sys.executable, "-m", *command]
        return subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)

    assert run("ruff", "format", "--isolated", "--line-length=120", "--check", str(made)).returncode == 0
    types = run("mypy", "--strict", *clean)
    assert types.returncode == 0, types.stdout
    types = run("pyright", "--pythonpath", sys.executable, *clean)
    assert types.returncode == 0, types.stdout
    for checker in (["mypy", "--strict"], ["pyright", "--pythonpath", sys.executable]):
        found = run(*checker, str(wrong)).stdout
        assert "wrong.py:6" in found or "wrong.py:7" in found, found
        assert "wrong.py:10" in found, found


def test_the_same_input_makes_the_same_module(written: Written) -> None:
    path = written("shop.yaml", ORDER)
    first = module_text(read(path))
    again = "import sys; from brokerkit._specifications import *; sys.stdout.write(module_text(read(sys.argv[1])))"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", again, str(path)], capture_output=True, text=True, env=environment, check=True
        )
        assert done.stdout == first


def test_a_family_needs_a_name(written: Written) -> None:
    specification = read(written("---.yaml", ORDER))
    with pytest.raises(ConfigError, match="a family cannot be called ''"):
        module_text(specification)
    assert "FAMILY: Final = Family(" in module_text(specification, family="shop")
    with pytest.raises(ConfigError, match="a family cannot be called 'a:b'"):
        module_text(specification, family="a:b")


def test_text_of_a_document_is_never_code(written: Written, imported: Imported) -> None:
    evil = '"""\nraise SystemExit(1)\n"""\\'
    schema = {
        "title": evil,
        "description": evil,
        "x-event-name": "quote\"'\\",
        "type": "object",
        "properties": {evil: {"description": evil, "const": evil, "default": evil}, "__class__": {"enum": [evil, "x"]}},
    }
    path = written('e"""vil.json', json.dumps(schema))
    family = imported(path).FAMILY
    assert list(family.models) == ["quote\"'\\"]
    assert json.loads(family.write(family.read("quote\"'\\", {evil: evil}))) == {evil: evil}


@pytest.mark.parametrize(("library", "extra"), [("datamodel_code_generator", "import"), ("yaml", "cli")])
def test_a_missing_library_is_named_with_the_pip_command(
    library: str, extra: str, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written("shop.yaml", ORDER)
    specification = read(path)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=rf"not installed: pip install 'brokerkit-sdk\[{extra}\]'"):
        module_text(specification if library != "yaml" else read(path))
