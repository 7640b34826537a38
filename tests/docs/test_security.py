"""Each threat in docs/security.md names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = ROOT / "src" / "brokerkit" / "testing" / "conformance"


def threats() -> list[tuple[str, str, str]]:
    """The cells of each row: threat, what stands against it, tests."""
    page = (ROOT / "docs" / "security.md").read_text("utf-8").partition("## Threats")[2].partition("\n## ")[0]
    return re.findall(r"^\| (?!threat |---)(.+?) \| (.+?) \| (.+?) \|$", page, re.MULTILINE)


@pytest.mark.parametrize(("threat", "against", "tests"), threats(), ids=lambda text: text[:40])
def test_each_threat_has_something_against_it_and_a_test_that_exists(threat: str, against: str, tests: str) -> None:
    named = re.findall(r"`([^`]+)`", tests)
    numbers = re.findall(r"case (\w+)", tests)
    assert against
    assert named or numbers, threat
    file = Path()
    for name in named:
        # A function without a file is in the file before it.
        path, _, function = name.rpartition("::") if name.startswith("test_") or "::" in name else (name, "", "")
        file = ROOT / path if path else file
        assert file.is_file(), name
        assert not function or re.search(rf"^(async )?def {function}\(", file.read_text("utf-8"), re.MULTILINE), name
    cases = "".join(path.read_text("utf-8") for path in CASES.glob("_*.py"))
    for number in numbers:
        assert re.search(rf'^@case\("?{number}"?\)', cases, re.MULTILINE), number


def test_there_are_threats() -> None:
    assert len(threats()) > 20
