"""``brokerkit catalog export`` and ``on-types``: the catalogue as files of other tools."""

import json
from pathlib import Path

import pytest
import yaml
from tests.cli.program import Cli

from brokerkit import events

PACKAGES = Path(__file__).parent.parent / "packages"


def test_every_event_has_a_schema_and_a_page(cli: Cli, tmp_path: Path) -> None:
    assert cli("catalog", "export", str(tmp_path)).code == 0
    ids: set[str] = set()
    for family in events.families().values():
        schemas = [json.loads(file.read_text("utf-8")) for file in (tmp_path / "schemas" / family.name).iterdir()]
        assert sorted(schema["x-event-name"] for schema in schemas) == sorted(family.models)
        service = tmp_path / "domains" / family.name / "services" / family.name
        pages = {file: _front_matter(file) for file in service.glob("events/*/index.mdx")}
        assert sorted(page["name"] for page in pages.values()) == sorted(family.models)
        for file, page in pages.items():
            assert file.parent.name == page["id"]
            schema = json.loads((file.parent / page["schemaPath"]).read_text("utf-8"))
            assert schema["x-event-name"] == page["name"]
        assert {one["id"] for one in _front_matter(service / "index.mdx")["sends"]} == {
            page["id"] for page in pages.values()
        }
        assert _front_matter(service.parent.parent / "index.mdx")["services"][0]["id"] == f"{family.name}-events"
        ids |= {page["id"].lower() for page in pages.values()}
    assert len(ids) == sum(len(family.models) for family in events.families().values())


def test_one_family_can_be_chosen_with_its_version(cli: Cli, tmp_path: Path) -> None:
    assert cli("catalog", "export", str(tmp_path), "--family", "thrillpots", "--release", "3.2.1").code == 0
    assert [one.name for one in (tmp_path / "domains").iterdir()] == ["thrillpots"]
    page = tmp_path / "domains" / "thrillpots" / "services" / "thrillpots" / "events" / "OptInEvent" / "index.mdx"
    assert _front_matter(page)["version"] == "3.2.1"
    assert "## Example\n\n```json\n{" in page.read_text("utf-8")


def test_on_types_writes_the_typed_on_of_a_module(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PACKAGES))
    made = cli("catalog", "on-types", "acme_bonus")
    assert made.out == (PACKAGES / "acme_bonus" / "_on.py").read_text("utf-8")
    wrong = cli("catalog", "on-types", "acme_bonus", "--family", "NOTHING")
    assert (wrong.code, wrong.err) == (1, "error: acme_bonus:NOTHING is not a brokerkit.events.Family\n")


def _front_matter(page: Path) -> dict[str, object] | dict[str, list[dict[str, str]]]:
    _, head, _ = page.read_text("utf-8").split("---\n", 2)
    loaded: dict[str, object] = yaml.safe_load(head)
    return loaded
