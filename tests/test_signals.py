"""`Bus.run` in a process of its own: signals drain, errors leave; and what a cancelled `serve` does."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any, cast

import pytest

from brokerkit import Bus

PROGRAM = """
import asyncio, sys
from brokerkit import Bus
from brokerkit.events.evenbet import OnUserLoggedIn

bus = Bus("memory://", topic="t", group="g", format="evenbet", concurrency=1)
go_on = asyncio.Event()

@bus.on("OnUserLoggedIn")
async def handle(event: OnUserLoggedIn) -> None:
    print("began", flush=True)
    while (await bus.health(lag=False)).sources["bus"].state == "consuming":
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)  # the second signal comes at once
    print("finished", flush=True)

with Bus("memory://", topic="t", format="evenbet").sync() as publisher:
    for _ in range(3):
        publisher.publish(OnUserLoggedIn())
bus.run()
print("left", flush=True)
"""
LEAVES = PROGRAM.replace("while (await", "sys.exit(3)\n    while (await")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("run", ["run()", "run(uvloop=True)"])
def test_a_signal_lets_the_running_handler_finish_and_begins_no_other(
    number: signal.Signals, times: int, run: str
) -> None:
    text = PROGRAM.replace("run()", run)
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"began\n"
        for _ in range(times):
            program.send_signal(number)
        output, errors = program.communicate(timeout=60)
    assert (output, errors, program.returncode) == (b"finished\nleft\n", b"", 0)


def test_a_handler_that_leaves_the_program_does() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVES], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("began\n", 3)


AWAY = """
import sys
from brokerkit import BrokerkitError, Bus, ConnectionLost

bus = Bus(sys.argv[1], topic="t", group="g", endpoint=sys.argv[2] or None, connect_timeout=2.0)

@bus.on("OnUserLoggedIn")
async def handle(event: object) -> None: ...

if sys.argv[3:]:
    try:
        bus.run()
    except ConnectionLost as error:
        print(type(error).__name__, isinstance(error.__cause__, ConnectionLost), error.__cause__.__traceback__ is not None)
        sys.exit(0)
bus.run()
"""
NOBODY = [
    ("kafka://127.0.0.1:1", ""),
    ("amqp://127.0.0.1:1", ""),
    ("redis://127.0.0.1:1", ""),
    ("sqs://us-east-1/", "http://127.0.0.1:1"),
]


@pytest.mark.parametrize(("url", "endpoint"), NOBODY, ids=[url for url, _ in NOBODY])
def test_a_program_whose_broker_is_away_ends_in_three_lines_at_most(url: str, endpoint: str) -> None:
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    command = [sys.executable, "-c", AWAY, url, endpoint]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert 1 <= len(lines) <= 3
    assert lines[-1].startswith("ConnectionLost: ")
    caught = subprocess.run(
        [*command, "caught"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (caught.returncode, caught.stdout) == (0, "ConnectionLost True True\n")


async def test_a_cancellation_that_a_client_library_swallows_at_the_start_still_ends_serving() -> None:
    bus = Bus("memory://swallowed", topic="t", provision="all", format="json")
    bus.on("*")(_ignore)
    opening, adapter = asyncio.Event(), cast("Any", bus.adapter())
    subscribe = adapter.subscribe

    def subscribing(*arguments: Any) -> Any:
        source = subscribe(*arguments)
        open_source = source.open

        async def swallowing() -> None:
            opening.set()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            await open_source()

        source.open = swallowing
        return source

    adapter.subscribe = subscribing
    serving = asyncio.ensure_future(bus.serve())
    await opening.wait()
    serving.cancel()
    await asyncio.wait([serving], timeout=30)
    assert serving.cancelled()


async def _ignore(event: Any) -> None:
    """What comes does not matter."""
