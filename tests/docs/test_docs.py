"""The documentation is in step with the code, and leads nowhere that is not there."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.conformance.harnesses import NAMES

from brokerkit import Bus
from brokerkit._config._loading import BusSettings
from brokerkit._config._settings import SourceSettings, TargetSettings
from brokerkit.adapters import schemes
from brokerkit.testing.conformance._cases import in_order

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.joinpath("docs").rglob("*.md"), *ROOT.joinpath("examples").rglob("*.md")])

_LINK = re.compile(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def test_what_follows_from_the_code_is_what_the_generator_makes_now() -> None:
    generator = [sys.executable, str(ROOT / "scripts" / "generate_docs.py"), "--check"]
    result = subprocess.run(generator, capture_output=True, text=True, timeout=110, check=False)
    assert result.returncode == 0, result.stderr


def test_every_setting_is_documented() -> None:
    keys = {*SourceSettings.model_fields, *TargetSettings.model_fields, *BusSettings.__slots__}
    keys -= {"sources", "targets", "origins"}
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


def _blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_first_program_of_getting_started_prints_what_it_says(tmp_path: Path) -> None:
    program = tmp_path / "wallet.py"
    program.write_text(_blocks("docs/getting-started.md", "python")[0])
    result = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=30, check=True)
    assert result.stdout == "player 1 is ann\n"


def test_the_durable_program_of_getting_started_handles_what_was_published_while_nothing_ran(tmp_path: Path) -> None:
    program = tmp_path / "service.py"
    program.write_text(_blocks("docs/getting-started.md", "python")[1])
    for nick in ("ann", "bob"):
        subprocess.run([sys.executable, program, nick], cwd=tmp_path, timeout=30, check=True)
    service = subprocess.Popen([sys.executable, program], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    assert [service.stdout.readline() for _ in range(2)] == ["player 1 is ann\n", "player 1 is bob\n"]
    service.terminate()
    service.communicate(timeout=30)
    assert service.returncode == 0


def test_the_readme_example_makes_a_bus(tmp_path: Path) -> None:
    [shown] = _blocks("README.md", "python")
    assert shown.count("bus.run()") == 1
    program = tmp_path / "readme.py"
    program.write_text(shown.replace("bus.run()", ""))
    assert len(runpy.run_path(str(program))["bus"].handlers) == 2


@pytest.mark.parametrize("page", ["docs/getting-started.md", "docs/configuration.md"])
def test_the_files_that_are_shown_make_a_bus(page: str, tmp_path: Path) -> None:
    shown = _blocks(page, "toml")
    assert shown
    for text in shown:
        file = tmp_path / "brokerkit.toml"
        file.write_text(text)
        Bus.from_config(file)


def test_the_page_of_conformance_has_every_adapter_and_nothing_that_failed() -> None:
    lines = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    assert {tuple(row[2:]) for row in rows if row[0] == "case"} == {tuple(NAMES.values())}
    results = {row[0]: row[2:] for row in rows if row[0][:1].isdigit()}
    assert results.keys() <= {case.number for case in in_order()}
    assert {result for row in results.values() for result in row} == {"passed", "not promised", "–"}


def _anchors(page: Path) -> set[str]:
    """The anchors of a page as GitHub makes them: equal ones are numbered."""
    seen: Counter[str] = Counter()
    anchors: set[str] = set()
    for heading in _HEADING.findall(_CODE.sub("", page.read_text("utf-8"))):
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        anchors.add(f"{plain}-{seen[plain]}" if seen[plain] else plain)
        seen[plain] += 1
    return anchors
