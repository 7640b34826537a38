"""``brokerkit dlq``: dead letters on the command line."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
import redis.asyncio
from tests import every_broker, every_redis
from tests.brokers.redis import RedisBroker
from tests.cli.program import Cli
from tests.dead_letters.test_replay import NAME, ONCE, dead_letter, seated
from tests.dead_letters.test_walks import letter, put
from tests.every_broker import Broker


def where(broker: Broker) -> list[str]:
    return [broker.settings["url"], "--topic", broker.topic(), "--group", "wallet"]


def test_letters_are_listed_shown_replayed_and_purged(memory: Broker, cli: Cli) -> None:
    messages = [seated(number, id=f"id-{number}", headers={"trace": "\x1b[31m", "raw": b"\xff"}) for number in range(3)]
    asyncio.run(dead_letter(memory.bus(**ONCE), *messages, error=ValueError("no\nseat")))
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
    left = cli("dlq", "list", *where(memory))
    assert (left.out, left.err[:10]) == ("0 dead letters\n", "looked in ")


def test_a_bus_of_a_module_and_a_configuration_name_the_place_too(
    memory: Broker, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "dead.jsonl"
    asyncio.run(dead_letter(memory.bus(dead_letter=f"file://{file}", **ONCE), seated(1, id="id-1")))
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


def test_ids_choose_and_json_says_everything_in_a_line(memory: Broker, cli: Cli) -> None:
    asyncio.run(dead_letter(memory.bus(**ONCE), *(seated(n, id=f"id-{n}", headers={"raw": b"\xff"}) for n in range(4))))
    listed = [json.loads(line) for line in cli("dlq", "list", *where(memory), "--json").out.splitlines()]
    assert [letter["id"] for letter in listed] == [f"id-{n}" for n in range(4)]
    assert (listed[0]["error_type"], listed[0]["attempts"], listed[0]["group"]) == ("RuntimeError", 1, "wallet")
    [shown] = cli("dlq", "show", *where(memory), "--json", "--id", "id-2").out.splitlines()
    assert json.loads(shown)["body"] == '{"playerId": 2}'
    assert json.loads(shown)["headers"]["raw"] == {"base64": "/w=="}
    purged = json.loads(cli("dlq", "purge", *where(memory), "--yes", "--json", "--id", "id-1", "--id", "id-3").out)
    assert (purged["purged"], purged["kept"], purged["unseen"]) == (2, 2, 0)
    replayed = json.loads(cli("dlq", "replay", *where(memory), "--json", "--id", "id-2").out)
    assert (replayed["replayed"], replayed["kept"]) == (1, 1)
    assert "id-0" in cli("dlq", "list", *where(memory)).out


@pytest.mark.parametrize("command", ["list", "show"])
def test_a_list_that_its_limit_ends_says_so_beside_what_is_read_by_programs(
    memory: Broker, cli: Cli, command: str
) -> None:
    asyncio.run(dead_letter(memory.bus(**ONCE), *(seated(n, id=f"id-{n}") for n in range(3))))
    limited = cli("dlq", command, *where(memory), "--json", "--limit", "2")
    assert (len(limited.out.splitlines()), limited.err) == (2, "stopped at --limit 2: there may be more\n")
    assert cli("dlq", command, *where(memory), "--json", "--limit", "4").err == ""


def test_where_no_letter_is_found_it_is_said_where_and_whose_are_there(
    memory: Broker, cli: Cli, tmp_path: Path
) -> None:
    letters = f"file://{tmp_path}/dead.jsonl"
    asyncio.run(dead_letter(memory.bus(dead_letter=letters, **ONCE), seated(1)))
    other = [memory.settings["url"], "--topic", memory.topic(), "--group", "bonus", "--dead-letter", letters]
    result = cli("dlq", "replay", *other)
    assert (result.code, result.out.splitlines()[0][:17]) == (0, "replayed 0 messag")
    assert (
        f"looked in {tmp_path}/dead.jsonl: 1 dead letter of other topics or groups; choose the dead letters with --topic"
        in result.err
    )
    without = cli("dlq", "list", "redis://127.0.0.1:1", "--topic", "t")
    assert (without.code, without.out) == (1, "")


async def test_sigterm_ends_a_replay_in_order_and_the_next_one_goes_on(redis_broker: RedisBroker) -> None:
    broker, count = every_redis.redis_streams(redis_broker), 20_000
    async with asyncio.timeout(100), broker.bus(**ONCE) as bus:
        await put(bus, [letter(broker, number) for number in range(count)])
        command = [str(Path(sys.executable).with_name("brokerkit")), "dlq", "replay", *where(broker)]
        program = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        own = bus.adapter().derived(broker.topic(), "wallet", "retry")
        async with redis.asyncio.from_url(broker.settings["url"]) as client:
            while not await client.xlen(own):
                await asyncio.sleep(0.01)
        program.send_signal(signal.SIGTERM)
        out, err = await program.communicate()
        assert program.returncode == 143, err
        first, *more = out.decode().splitlines()
        done = int(first.split()[1].replace(",", ""))
        assert 0 < done < count
        assert more == [f"{count - done:,} dead letters not looked at"]
        assert await bus.dead_letters().replay() == count - done
        # Nothing twice: the batch at hand was taken out before the end.
        assert len([one async for one in bus.adapter().browse([own], is_queue=True)]) == count
