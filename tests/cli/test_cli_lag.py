"""`brokerkit lag` on each broker: what waits for a group, without reading anything."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.program import PROGRAM
from tests.every_broker import Broker, Recorder, complaints

from brokerkit import Message

OWN = """
import json
from brokerkit import Bus
settings = json.loads('''{settings}''')
bus = Bus(settings.pop("url"), **settings)
"""


async def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, timeout=90, check=False
        )

    return await asyncio.to_thread(run)


@pytest.mark.parametrize("broker", ["kafka", "rabbitmq", "sqs", "sns", "redis-streams", "redis-list"], indirect=True)
async def test_what_waits_for_a_group_is_told_and_stays(broker: Broker, tmp_path: Path) -> None:
    group = {} if broker.one_group else {"group": "wallet"}
    settings: dict[str, Any] = {
        "topic": broker.topic(),
        "format": "json",
        "provision": "all",
        **group,
        **broker.settings,
    }
    (tmp_path / "acme.py").write_text(OWN.format(settings=json.dumps(settings)))
    first = Recorder().record("*")
    async with first.serving(broker.bus(format="json")) as bus:
        await bus.publish(Message("a", b"{}"))
        await first.wait_for(1)
    async with broker.bus(format="json") as bus:
        await bus.publish_many([Message("a", b"{}") for _ in range(3)])
    for _ in range(2):
        told = await call(tmp_path, "lag", "acme:bus", "--json")
        assert (told.returncode, complaints(told.stderr)) == (0, ""), told.stdout
        found = json.loads(told.stdout)
        assert (found["source"], found["topics"], found["waiting"]) == ("bus", [broker.topic()], 3)
    assert (await call(tmp_path, "lag", "acme:bus", "--above", "3")).returncode == 0
    above = await call(tmp_path, "lag", "acme:bus", "--above", "2")
    assert above.returncode == 1
    assert above.stdout.splitlines()[1].endswith("  3")
    second = Recorder().record("*")
    async with second.serving(broker.bus(format="json")):
        assert [message.attempt for *_, message in await second.wait_for(3)] == [1, 1, 1]


@pytest.mark.parametrize("broker", ["kafka", "rabbitmq", "sqs", "redis-streams"], indirect=True)
async def test_a_broker_that_is_away_is_told(broker: Broker, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "topic": broker.topic(),
        "group": "wallet",
        "connect_timeout": 2.0,
        **broker.unreachable,
    }
    (tmp_path / "acme.py").write_text(OWN.format(settings=json.dumps(settings)))
    told = await call(tmp_path, "lag", "acme:bus", "--json")
    assert told.returncode == 1
    assert json.loads(told.stdout)["error"].startswith("ConnectionLost: ")


@pytest.mark.parametrize("broker", ["kafka", "rabbitmq", "redis-streams"], indirect=True)
async def test_a_group_that_is_missing_is_told_with_what_to_set(broker: Broker, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"topic": broker.topic(), "format": "json", **broker.settings}
    (tmp_path / "acme.py").write_text(OWN.format(settings=json.dumps(settings)))
    told = await call(tmp_path, "lag", "acme:bus", "--json")
    assert told.returncode == 1
    assert "needs a group: set group, or BROKERKIT_GROUP" in json.loads(told.stdout)["error"]
