"""The documentation is in step with the code, and leads nowhere that is not there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from brokerkit._config import BusSettings
from brokerkit._settings import SourceSettings, TargetSettings
from brokerkit.adapters import schemes

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.joinpath("docs").rglob("*.md")])

_LINK = re.compile(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "scripts" / "generate_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_follows_from_the_code_is_what_the_generator_makes_now(generator: Any) -> None:
    stale = [path.name for path, text in generator.pages() if not path.exists() or path.read_text("utf-8") != text]
    assert not stale, "run make docs"


def test_every_setting_is_documented(generator: Any) -> None:
    keys = {*SourceSettings.model_fields, *TargetSettings.model_fields, *BusSettings.__slots__} - {"sources", "targets"}
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert [key for key in sorted(keys) if f"| `{key}` |" not in page] == []


def test_every_url_scheme_is_documented() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert [scheme for scheme in schemes() if f"`{scheme}://" not in page] == []


def test_every_adapter_has_a_page_with_the_same_headings() -> None:
    headings = {
        page.name: re.findall(r"^## (.+)$", page.read_text("utf-8"), re.MULTILINE)
        for page in (ROOT / "docs" / "adapters").glob("*.md")
    }
    first, *others = headings.values()
    assert all(other == first for other in others), headings


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in _LINK.findall(_CODE.sub("", page.read_text("utf-8"))):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        if anchor:
            assert anchor in _anchors(path), f"{target}#{anchor}"


def _anchors(page: Path) -> set[str]:
    headings = _HEADING.findall(_CODE.sub("", page.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
