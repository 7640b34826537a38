"""``brokerkit dlq``: dead letters on the command line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests import every_broker
from tests.cli.program import Cli
from tests.every_broker import Broker
from tests.test_replay import NAME, ONCE, bury, seated


@pytest.fixture
def memory() -> Broker:
    return every_broker.memory()


def where(broker: Broker) -> list[str]:
    return [broker.settings["url"], "--topic", broker.topic(), "--group", "wallet"]


def test_letters_are_listed_shown_replayed_and_purged(memory: Broker, cli: Cli) -> None:
    messages = [seated(number, id=f"id-{number}", headers={"trace": "\x1b[31m", "raw": b"\xff"}) for number in range(3)]
    asyncio.run(bury(memory.bus(**ONCE), *messages, error=ValueError("no\nseat")))
    result = cli("dlq", "list", *where(memory), "--since", "1h", "--event", NAME, "--error", "ValueError")
    assert result.code == 0, result.err
    assert result.out.splitlines()[0].split() == ["id", "event", "handler", "error", "attempts", "last", "failure"]
    assert "id-2" in result.out
    assert r"no\nseat" in result.out
    assert result.out.endswith("\n3 dead letters\n")
    assert "0 dead letters" in cli("dlq", "list", *where(memory), "--until", "2026-01-01T00:00").out
    shown = cli("dlq", "show", *where(memory), "--id", "id-1")
    assert '\n{"playerId": 1}\n' in shown.out
    assert "header trace: \\x1b[31m\nheader raw: \\xff\n" in shown.out
    assert cli("dlq", "show", *where(memory), "--id", "id-9").code == 2
    assert cli("dlq", "purge", *where(memory)).code == 2  # nobody to ask
    purged = cli("dlq", "purge", *where(memory), "--limit", "1", "--yes")
    assert purged.out.startswith("purged 1 messages")
    recorder = every_broker.Recorder().record(NAME)
    assert cli("dlq", "replay", *where(memory)).out.startswith("replayed 2 messages")

    async def receive() -> None:
        async with recorder.serving(memory.bus()):
            await recorder.wait_for(2)

    asyncio.run(receive())
    assert cli("dlq", "list", *where(memory)).out == "0 dead letters\n"


def test_a_bus_of_a_module_and_a_configuration_name_the_place_too(
    memory: Broker, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "dead.jsonl"
    asyncio.run(bury(memory.bus(dead_letter=f"file://{file}", **ONCE), seated(1, id="id-1")))
    config = tmp_path / "service.toml"
    settings = {
        "url": memory.settings["url"],
        "topic": memory.topic(),
        "group": "wallet",
        "dead_letter": f"file://{file}",
    }
    config.write_text("[bus]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    (tmp_path / "a_service_with_letters.py").write_text(
        f"from brokerkit import Bus\nbus = Bus.from_config({str(config)!r})\n"
    )
    monkeypatch.chdir(tmp_path)
    assert "id-1" in cli("dlq", "list", "--config", str(config)).out
    assert "id-1" in cli("dlq", "list", "a_service_with_letters:bus").out
    assert cli("dlq", "list", "a_service_with_letters:bus", "--topic", "x").code == 2
    assert cli("dlq", "list", "--config", str(config), "--since", "yesterday").code == 2
    assert cli("dlq", "purge", "--config", str(config), "--yes").out.startswith("purged 1 messages")
    assert file.read_bytes() == b""
