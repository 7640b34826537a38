"""``brokerkit gateway`` as a program, with the example's configuration."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.brokers.redis import RedisBroker
from tests.gateway.scene import body, closed, event, receive, subscribe
from websockets.asyncio.client import connect

from brokerkit import Bus

EXAMPLE = Path(__file__).parents[2] / "examples" / "gateway"
PROGRAM = [sys.executable, "-c", "from brokerkit.cli import main; main()", "gateway", "--config", "gateway.toml"]


@pytest.fixture
def environment(redis_broker: RedisBroker) -> dict[str, str]:
    return {
        **os.environ,
        "BROKERKIT_URL": redis_broker.url,
        "BROKERKIT_TOPIC": f"gateway-{uuid.uuid4().hex}",
        "BROKERKIT_GATEWAY__PORT": "0",
        "TOKEN_SECRET": "a secret",
    }


@pytest.fixture
async def program(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, cwd=EXAMPLE, env=environment, stderr=asyncio.subprocess.PIPE
    )
    yield process
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def test_the_example_serves_a_player_and_drains_on_sigterm(
    program: asyncio.subprocess.Process, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program.stderr is not None
    while (listening := re.search(rb"listening on 127.0.0.1:(\d+)", line := await program.stderr.readline())) is None:
        assert line, "the program ended"
    token = subprocess.run(
        [sys.executable, "tokens.py", "pl-7"], cwd=EXAMPLE, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    for name in ("BROKERKIT_URL", "BROKERKIT_TOPIC"):
        monkeypatch.setenv(name, environment[name])
    where = f"ws://127.0.0.1:{int(listening[1])}/v1/events"
    one = await connect(f"{where}/northlight/lumen?token={token}")
    await subscribe(one)
    assert (await closed(await connect(f"{where}/northlight/other?token={token}")))[0] == 4401
    async with Bus.from_config(EXAMPLE / "gateway.toml") as bus:
        await bus.publish(sent := event("pl-7"))
    assert await receive(one) == body(sent)
    program.send_signal(signal.SIGTERM)
    assert (await closed(one))[0] == 1001
    said = await program.stderr.read()
    assert await program.wait() == 0
    assert b"the gateway has stopped" in said
    assert token.encode() not in said


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"BROKERKIT_GATEWAY__CHECK": "tokens:nobody"}, "check = 'tokens:nobody' cannot be imported"),
        ({"BROKERKIT_GATEWAY__PROT": "1"}, "gateway.prot is not a setting; did you mean 'port'?"),
        ({"BROKERKIT_BROADCAST": "false"}, "source 'bus' needs broadcast = true"),
        ({"BROKERKIT_GATEWAY__HOST": "192.0.2.1"}, "cannot listen"),
    ],
)
def test_what_is_wrong_is_one_line(change: dict[str, str], error: str, environment: dict[str, str]) -> None:
    changed = {**environment, **change, "BROKERKIT_GROUP": "g"}
    done = subprocess.run(PROGRAM, cwd=EXAMPLE, env=changed, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert error in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
