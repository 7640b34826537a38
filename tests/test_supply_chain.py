"""What the tests install is what the locks name. test_house.py compares the locks with pyproject.toml."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.brokers import sums, versions
from tests.brokers.matrix import KAFKAS

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ROOT / "requirements"

_ENTRY = re.compile(r"^([\w.-]+==\S+.*?) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)


@pytest.mark.parametrize(
    "lock", sorted([*REQUIREMENTS.glob("*.txt"), *versions.LOCKS.glob("*.txt")]), ids=lambda path: path.name
)
def test_a_lock_has_hashes_for_everything_and_names_no_host(lock: Path) -> None:
    text = lock.read_text("utf-8")
    rest = _ENTRY.sub("", text)
    assert [line for line in rest.splitlines() if not line.startswith("#")] == []
    assert "://" not in text
    assert "index-url" not in text


def test_the_locks_of_npm_have_hashes_for_everything_and_name_no_registry() -> None:
    for lock in (ROOT / "tests/asyncapi/package-lock.json", versions.LOCKS / "fauxqs/package-lock.json"):
        packages = json.loads(lock.read_text("utf-8"))["packages"]
        assert [name for name, each in packages.items() if name and "integrity" not in each] == []
        assert [name for name, each in packages.items() if "resolved" in each] == []


def test_every_broker_that_is_downloaded_has_hashes() -> None:
    for name, origin in versions.VERSIONS.items():
        match origin:
            case versions.Wheel(requirement=text):
                assert versions.lock(name).read_text("utf-8").count(f"\n{text}") == 1
            case versions.Environment(requirements=[first, *_]):
                wanted = Requirement(first)
                assert f"\n{wanted.name}{wanted.specifier} " in versions.lock(name).read_text("utf-8")
            case versions.Node(package=text):
                asked = json.loads((versions.LOCKS / versions.folder(name).name / "package.json").read_text("utf-8"))
                package, _, version = text.partition("@")
                assert asked["dependencies"] == {package: version}
            case _:
                pass  # apt compares the hashes of its packages; those of what Maven brings are below
    assert [
        name for name in (*KAFKAS, "elasticmq", "registry") if not (versions.LOCKS / f"{name}.sha256").exists()
    ] == []


def test_jars_that_differ_from_their_list_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sums, "LOCKS", tmp_path)
    (tmp_path / "kafka-1.0.0.sha256").write_text(
        f"{'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'}  empty.jar\n{'0' * 64}  missing.jar\n"
    )
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    for name in ("empty.jar", "added.jar"):
        (downloads / name).touch()

    assert sums.main("kafka-1.0.0", downloads) == 1

    said = capsys.readouterr().err
    assert "added.jar" in said
    assert "missing.jar" in said
    assert "empty.jar" not in said
