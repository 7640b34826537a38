"""The adapter of examples/spool_adapter, installed as somebody else's package: the whole conformance suite on real files."""

from __future__ import annotations

import ast
import asyncio
import base64
import importlib
import json
import os
import shutil
import sys
import tomllib
import uuid
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from brokerkit import Bus, Message, adapters
from brokerkit.testing.conformance import Conformance, Harness

EXAMPLE = Path(__file__).parents[2] / "examples" / "spool_adapter"
MODULE = EXAMPLE / "brokerkit_spool.py"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip would put into site-packages: the file, and a dist-info made from the project's own pyproject.toml."""
    site = tmp_path / "site"
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))["project"]
    information = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    information.mkdir(parents=True)
    shutil.copy(MODULE, site)
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (information / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")])))
    monkeypatch.delitem(sys.modules, MODULE.stem, raising=False)


@pytest.fixture
def root(tmp_path: Path, installed: None) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


class SpoolHarness(Harness):
    name = "Spool"
    lease = 2.0
    connected = False

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root
        self.url = f"spool://{root}"
        self.unreachable = {"url": f"spool://{root}/missing"}
        self.bad_option = {"options": {"no_such_option": "1"}}
        self.largest = importlib.import_module(MODULE.stem).LARGEST

    async def plain_publish(self, topic: str, body: bytes, *, name: str, headers: Mapping[str, str]) -> None:
        folder = self._root / quote(topic, safe="").replace(".", "%2E")
        file = folder / "tmp" / uuid.uuid4().hex
        file.write_text(json.dumps({"body": body.decode(), "headers": {"event": name, **headers}}))
        file.rename(folder / "new" / file.name)

    async def restart_broker(self) -> None:
        """The disk is taken out for a moment."""
        away = self._root.with_name("away")
        self._root.rename(away)
        await asyncio.sleep(0.3)
        away.rename(self._root)


class TestSpool(Conformance):
    @pytest.fixture
    def harness(self, root: Path) -> Harness:
        return SpoolHarness(root)


def test_it_imports_nothing_of_brokerkit_but_the_public_seam() -> None:
    imported = set[str]()
    for node in ast.walk(ast.parse(MODULE.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module))
    ours = {name for name in imported if name.partition(".")[0] == "brokerkit"}
    assert ours == {"brokerkit.adapters.api"}
    assert {name.partition(".")[0] for name in imported - ours} <= set(sys.stdlib_module_names)


@pytest.mark.usefixtures("installed")
def test_it_is_found_by_its_entry_point_alone() -> None:
    assert "spool" in adapters.schemes()
    assert Path(str(importlib.import_module(MODULE.stem).__file__)).parent != EXAMPLE


@pytest.mark.parametrize("broken", [b"{", b"\xff", b"[]", b'{"body": {"base64": "?"}}', b'{"headers": [1]}'])
async def test_a_file_that_is_not_a_message_becomes_a_dead_letter_with_its_bytes(root: Path, broken: bytes) -> None:
    bus = Bus(f"spool://{root}", topic="orders", group="wallet", provision="all", format="json", foreign="handle")
    seen: list[object] = []

    @bus.on("*")
    async def handle(event: object) -> None:
        seen.append(event)

    async with bus, bus.serving():
        file = root / "orders" / "tmp" / "broken"
        file.write_bytes(broken)
        file.rename(root / "orders" / "new" / "broken.json")
        async with asyncio.timeout(20):
            while not bus.stats["bus"].dead_lettered:
                await asyncio.sleep(0.01)
    async with bus:
        letters = [letter async for letter in bus.dead_letters()]
    assert [letter.message.body for letter in letters] == [broken]
    assert seen == []
    assert list((root / "orders" / "taken").iterdir()) == []


async def test_bytes_that_are_not_text_are_base64_in_the_file(root: Path) -> None:
    async with Bus(f"spool://{root}", topic="orders", provision="all") as bus:
        await bus.publish(Message("Raw", b"\xff\x00", headers={"raw": b"\xfe"}))
    [file] = (root / "orders" / "new").iterdir()
    found = json.loads(file.read_text("utf-8"))
    assert base64.b64decode(found["body"]["base64"]) == b"\xff\x00"
    assert base64.b64decode(found["headers"]["raw"]["base64"]) == b"\xfe"
