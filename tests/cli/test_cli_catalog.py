"""``brokerkit catalog``: every event can be listed, shown and written as JSON Schema."""

import json
from collections.abc import Iterator

import pytest
from pydantic import BaseModel
from tests.cli.program import Cli, Result

from brokerkit import events
from brokerkit.events import Family
from brokerkit.events._registry import _Families


def qualified_names() -> Iterator[str]:
    for family in events.families().values():
        yield from (f"{family.name}:{name}" for name in family.models)


def test_list_has_one_line_for_each_event(cli: Cli) -> None:
    lines = cli("catalog", "list").out.splitlines()
    assert sorted(":".join(line.split()[:2]) for line in lines) == sorted(qualified_names())


def test_list_of_one_family(cli: Cli) -> None:
    lines = cli("catalog", "list", "--family", "evenbet").out.splitlines()
    assert {line.split()[0] for line in lines} == {"evenbet"}
    assert any(line.split()[1] == "OnGameDone" and "A hand ended" in line for line in lines)


def test_list_of_an_unknown_family_suggests_one(cli: Cli) -> None:
    result = cli("catalog", "list", "--family", "evenbte")
    assert result.code == 1
    assert "did you mean 'evenbet'?" in result.err


def test_show_tells_types_units_meaning_codes_and_sources(cli: Cli) -> None:
    out = cli("catalog", "show", "OnGameDone").out
    lines = [line.split() for line in out.splitlines()]
    assert ["total_rake", "totalRake", "int", "cents", "rake", "taken", "from", "the", "hand"] in lines
    assert ["table_cards", "tableCards", "list[int]", "community", "cards"] in lines
    assert ["Participation"] in lines
    assert ["72", "HOLDEM"] in lines
    assert 'Source: brokers page and "game-table-events".' in out
    example = out.partition("For example:\n")[2]
    assert events.parse("OnGameDone", example)


@pytest.mark.parametrize("name", list(qualified_names()))
def test_every_event_can_be_shown_and_has_a_schema(cli: Cli, name: str) -> None:
    assert cli("catalog", "show", name).out.startswith(f"{name}\n")
    result = cli("catalog", "schema", name)
    assert result.err == ""
    schema = json.loads(result.out)
    model = events.find(name)[0].model
    assert schema["title"] == (model.model_config.get("title") or model.__name__)


def test_schema_has_wire_names_and_units(cli: Cli) -> None:
    properties = json.loads(cli("catalog", "schema", "evenbet:OnPlayerBalanceChanged").out)["properties"]
    assert properties["newAmount"]["unit"] == "cents"
    assert properties["newAmount"]["description"] == "real balance after"


@pytest.mark.parametrize("command", ["show", "schema"])
def test_an_unknown_name_gets_a_suggestion(cli: Cli, command: str) -> None:
    assert cli("catalog", command, "OnGameDoen") == Result(
        1, "", "error: no event is called 'OnGameDoen'; did you mean 'OnGameDone'?\n"
    )


def test_a_name_of_several_families_lists_them(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    class Twin(BaseModel):
        table: int

    known = _Families()
    known.add(Family("twin", {"OnGameDone": Twin}))
    monkeypatch.setattr("brokerkit.events._registry._FAMILIES", known)
    result = cli("catalog", "show", "OnGameDone")
    assert result.code == 1
    assert "choose one of evenbet:OnGameDone, twin:OnGameDone" in result.err
