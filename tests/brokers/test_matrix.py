"""`make matrix` tells a stall of the machine from a difference between versions."""

import os
from pathlib import Path

from tests.brokers import matrix

TESTS = """
from pathlib import Path

import pytest

SEEN = Path(__file__).with_name("seen")


def test_good():
    with SEEN.open("a") as seen:
        seen.write("good ")


def test_stalls():
    before = SEEN.read_text()
    SEEN.write_text(before + "stalls ")
    assert "stalls" in before


def test_bad():
    raise AssertionError


@pytest.fixture
def broken():
    yield
    raise AssertionError


def test_bad_and_its_fixture_too(broken):
    raise AssertionError


def test_not_promised():
    pytest.skip()
"""


def test_what_fails_is_tried_once_more_by_itself(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)

    found = matrix._run([str(tmp_path)], os.environ)

    assert found == {
        "passed": 2,
        "passed again": ["test_some::test_stalls"],
        "not promised": 1,
        "failed": ["test_some::test_bad", "test_some::test_bad_and_its_fixture_too"],
    }
    assert (tmp_path / "seen").read_text() == "good stalls stalls "
