"""``brokerkit seek`` on real brokers: a group goes back or forward, and nothing moves that should not."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.cli.program import PROGRAM, Cli
from tests.every_broker import Broker, Recorder, until

from brokerkit import Message

ON_SEEKABLE = pytest.mark.parametrize("broker", ["kafka", "redis-streams"], indirect=True)
MODULE = """
    import json
    from brokerkit import Bus
    settings = json.loads('''{settings}''')
    bus = Bus(settings.pop("url"), **settings)
"""


class Service:
    """A bus of its own, whose group the command moves."""

    def __init__(self, broker: Broker, write_module: Callable[[str], str], cli: Cli) -> None:
        settings: dict[str, Any] = {
            "topic": broker.topic(),
            "format": "json",
            "provision": "all",
            **({} if broker.one_group else {"group": "wallet"}),
            **broker.settings,
        }
        self.target = f"{write_module(MODULE.format(settings=json.dumps(settings)))}:bus"
        self.broker = broker
        self._cli = cli

    def publish(self, *names: str) -> list[str | None]:
        async def send() -> list[str | None]:
            async with self.broker.bus(format="json") as bus:
                receipts = [await bus.publish(Message(name, b"{}", key="one")) for name in names]
            return [receipt.position for receipt in receipts]

        return asyncio.run(send())

    def handle(self, count: int) -> list[str]:
        """Handle so many messages; their names."""

        async def read() -> list[str]:
            recorder = Recorder().record("*")
            async with recorder.serving(self.broker.bus(format="json")) as bus:
                got = [message.name for *_, message in await recorder.wait_for(count)]
                await until(lambda: bus.runtime.consumers["bus"].state.in_flight == 0)
                assert bus.stats["bus"].received == count
            return got

        return asyncio.run(read())

    def seek(self, *arguments: str, code: int = 0) -> tuple[list[dict[str, Any]], str]:
        done = self._cli("seek", self.target, "--json", *arguments)
        assert done.code == code, done.out + done.err
        return [json.loads(line) for line in done.out.splitlines()], done.err

    def lag(self) -> int:
        done = self._cli("lag", self.target, "--json")
        assert done.code == 0, done.out
        waiting: int = json.loads(done.out)["waiting"]
        return waiting


@pytest.fixture
def service(broker: Broker, write_module: Callable[[str], str], cli: Cli) -> Service:
    return Service(broker, write_module, cli)


@ON_SEEKABLE
def test_a_group_goes_to_the_beginning_and_to_the_end_and_a_dry_run_moves_nothing(service: Service) -> None:
    service.publish("a", "b", "c")
    assert service.handle(3) == ["a", "b", "c"]
    dry, said = service.seek("--to", "beginning")
    assert "nothing was moved; --yes moves it" in said
    knows = service.broker.name == "kafka"
    assert sum(move["change"] or 0 for move in dry) == (-3 if knows else 0)
    assert service.lag() == 0
    moved, said = service.seek("--to", "beginning", "--yes")
    assert (moved, "moved the group wallet" in said) == (dry, True)
    assert service.lag() == 3
    assert service.handle(3) == ["a", "b", "c"]
    service.publish("d", "e")
    skipped, _ = service.seek("--to", "end", "--yes")
    assert sum(move["change"] or 0 for move in skipped) == (2 if knows else 0)
    assert service.lag() == 0
    service.publish("f")
    assert service.handle(1) == ["f"]


def next_millisecond() -> float:
    """Unix time in seconds, when the clock shows another millisecond than before and after: brokers count them."""
    for _ in range(2):
        now = time.time_ns() // 1_000_000
        while time.time_ns() // 1_000_000 <= now:
            pass
    found = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 <= found:
        pass
    return found / 1000


@ON_SEEKABLE
def test_a_group_goes_to_a_time_and_to_a_message(service: Service) -> None:
    service.publish("a", "b")
    between = datetime.fromtimestamp(next_millisecond(), UTC)
    [position] = service.publish("c")
    assert service.handle(3) == ["a", "b", "c"]
    service.seek("--time", between.isoformat(), "--yes")
    assert service.handle(1) == ["c"]
    assert position is not None
    service.seek("--offset", position, "--yes")
    assert service.handle(1) == ["c"]
    service.seek("--time", "2200-01-01T00:00+00:00", "--yes")
    assert service.lag() == 0
    # A millisecond before the zero of Unix time: Kafka's -1 would stand for the end.
    service.seek("--time", "1969-12-31T23:59:59.999+00:00", "--yes")
    assert service.lag() == 3


@ON_SEEKABLE
def test_a_group_with_active_members_is_not_moved_unless_told(service: Service, tmp_path: Path) -> None:
    async def ask(*arguments: str) -> tuple[int, str]:
        words = [sys.executable, PROGRAM, "seek", service.target, "--to", "beginning", *arguments]
        done = await asyncio.to_thread(
            lambda: subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False)
        )
        return done.returncode, done.stderr

    async def try_it() -> None:
        recorder = Recorder().record("*")
        async with recorder.serving(service.broker.bus(format="json")) as bus:
            await bus.publish(Message("a", b"{}"))
            await recorder.wait_for(1)
            code, said = await ask()
            assert (code, bool(re.search("warning: the group wallet has [12] active members?; stop", said))) == (
                0,
                True,
            )
            code, said = await ask("--yes")
            assert (code, "Nothing was moved" in said) == (1, True)
            code, said = await ask("--yes", "--while-active")
            if service.broker.name == "kafka":
                assert (code, "this broker moves no group that has members" in said) == (1, True)
            else:
                assert code == 0, said
                await recorder.wait_for(2)

    asyncio.run(try_it())


@pytest.mark.parametrize("broker", ["rabbitmq", "sqs", "sns", "redis-list", "redis-pubsub"], indirect=True)
def test_a_broker_that_keeps_no_positions_says_so_and_what_to_do(service: Service) -> None:
    _, said = service.seek("--to", "beginning", code=1)
    assert "does not support moving a group; " in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say where to: give one of --to, --time and --offset"),
        (("--to", "end", "--offset", "1"), "say where to"),
        (("--to", "middle"), "middle"),
        (("--time", "yesterday"), "yesterday"),
    ],
)
def test_a_call_that_says_no_position_is_wrong(cli: Cli, arguments: Sequence[str], message: str) -> None:
    done = cli("seek", "redis://127.0.0.1:1", "--topic", "t", "--group", "g", *arguments)
    assert (done.code, message in done.err) == (2, True), done.err


@ON_SEEKABLE
def test_a_position_that_the_topic_does_not_have_is_refused(service: Service) -> None:
    service.publish("a")
    service.handle(1)
    refused = {"--offset=one": "not 'one'", "--offset=-1": "not '-1'"}
    if service.broker.name == "kafka":
        refused |= {"--offset=1000": "has the offsets 0 to", "--partition=99 --to=end": "has no partition 99"}
        refused |= {"--offset=1@0 --partition=2": "not '1@0'"}
    else:
        refused |= {"--partition=0 --to=end": "has no partitions", f"--offset={2**64}-0": "is above it"}
    for arguments, message in refused.items():
        assert message in service.seek(*arguments.split(), code=1)[1]
    assert service.lag() == 0


@pytest.mark.parametrize("broker", ["redis-streams"], indirect=True)
def test_a_missing_group_is_named_with_those_that_there_are(service: Service) -> None:
    service.publish("a")
    _, said = service.seek("--to", "end", code=1)
    assert "has no group 'wallet'; its groups: none" in said
