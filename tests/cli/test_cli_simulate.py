"""``brokerkit simulate``: what it publishes, at which rate, and how it stops."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
import time
import uuid
from itertools import islice

import pytest
import redis
from tests.brokers.redis import RedisBroker
from tests.cli.program import PROGRAM, Cli, Start
from tests.every_broker import Recorder
from tests.every_redis import redis_streams

from brokerkit._vendors.simulate import evenbet


@pytest.fixture
def topic() -> str:
    return f"simulated-{uuid.uuid4().hex[:8]}"


def test_it_publishes_the_events_of_its_seed_in_order(cli: Cli, redis_broker: RedisBroker, topic: str) -> None:
    url = f"{redis_broker.url}?provision=all"
    arguments = ("--to", url, "--topic", topic, "--rate", "100000", "--seed", "7", "--count", "700")
    result = cli("simulate", "evenbet", *arguments)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("published 700 messages in ")

    async def read() -> list[tuple[str, object, str | bytes | None]]:
        recorder = Recorder().record()
        async with recorder.serving(redis_streams(redis_broker).bus(topic=topic, order="none", concurrency=1)):
            got = await recorder.wait_for(700)
        return [(name, event, message.key) for name, event, message in got]

    assert asyncio.run(read()) == [tuple(one) for one in islice(evenbet.events(7), 700)]


def test_a_duration_is_so_many_seconds_at_the_rate(cli: Cli, topic: str) -> None:
    result = cli("simulate", "evenbet", "--to", "memory://", "--topic", topic, "--rate", "400", "--duration", "0.25")
    assert result.out.startswith("published 100 messages in ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_endless_stream_with_a_count(
    start: Start, redis_broker: RedisBroker, topic: str, number: signal.Signals
) -> None:
    url = f"{redis_broker.url}?provision=all"
    process = start(["simulate", "evenbet", "--to", url, "--topic", topic, "--rate", "200"])
    with redis.Redis.from_url(redis_broker.url) as client:
        while not client.xlen(topic):
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")
        assert out.startswith(f"published {client.xlen(topic):,} messages in ")
    assert out.count("\n") == 1


def test_on_a_terminal_a_line_shows_how_far_it_is(topic: str) -> None:
    arguments = ["simulate", "evenbet", "--to", "memory://", "--topic", topic, "--rate", "100", "--duration", "1"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, str(PROGRAM), *arguments])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 110, 0, 0))
    shown = b""
    try:
        while chunk := os.read(terminal, 65_536):
            shown += chunk
    except OSError:  # Linux: the program has closed its end
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert re.search(rb"published \d+ of 100, \d+ a second", shown)
    assert b"published 100 messages in " in shown


@pytest.mark.parametrize("option", ["--rate", "--count", "--duration"])
def test_nothing_and_less_is_refused(cli: Cli, topic: str, option: str) -> None:
    assert cli("simulate", "evenbet", "--to", "memory://", "--topic", topic, option, "0").code == 2


def test_a_topic_is_needed(cli: Cli) -> None:
    result = cli("simulate", "evenbet", "--to", "memory://")
    assert result.code == 1
    assert result.err.count("\n") == 1
