"""Three pods are replaced one after another while messages come: each is handled. With `-s` it shows figures."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.brokers._ports import free_port
from tests.brokers.aws import REGION
from tests.cli.program import PROGRAM
from tests.every_broker import until, until_async

from brokerkit import Bus
from brokerkit.events.evenbet import OnUserLoggedIn

HERE = Path(__file__).parent / "rolling"
WITHIN = 240.0
"""Seconds for each step on a machine that has other work."""
PODS = 3
BROKERS = ["kafka", "redis", *(["rabbit", "sqs"] if os.environ.get("BROKERKIT_ENDURANCE") == "full" else [])]

pytestmark = pytest.mark.timeout(600)


class Pod:
    """A running ``brokerkit run``, with the probe that Kubernetes would ask.

    Attributes:
        peak: MiB of memory that it had at most, when it was stopped. 0 where the system does not tell.
    """

    def __init__(self, environment: dict[str, str], handled: Counter[int]) -> None:
        self._environment = environment
        self._handled = handled
        self._port = free_port()
        self.peak = 0

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        words = [str(PROGRAM), "run", "service:bus", "--http", f"127.0.0.1:{self._port}", "--log-level", "warning"]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *words, cwd=HERE, env=self._environment, stdout=asyncio.subprocess.PIPE
        )
        self._reading = asyncio.create_task(self._read())
        await until_async(self._is_ready, seconds=WITHIN)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._handled[int(line)] += 1

    async def _is_ready(self) -> bool:
        assert self._process.returncode is None
        try:
            async with httpx.AsyncClient() as kubelet:
                return (await kubelet.get(f"http://127.0.0.1:{self._port}/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def stop(self) -> float:
        """Stop it as Kubernetes does; the seconds that it took."""
        status = Path(f"/proc/{self._process.pid}/status")
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text() if status.exists() else "", re.MULTILINE)
        self.peak = int(found[1]) // 1024 if found else 0
        begun = time.monotonic()
        self._process.terminate()
        assert await self._process.wait() == 0
        await self._reading
        return time.monotonic() - begun

    def kill(self) -> None:
        """End it, if the test has failed."""
        if self._process.returncode is None:
            self._process.kill()


@pytest.fixture
def environment(request: pytest.FixtureRequest, broker: str) -> dict[str, str]:
    """Where the service finds the broker."""
    found: dict[str, str] = {"ROLLING_TOPIC": f"rolling-{uuid.uuid4().hex[:12]}"}
    fixture: Any = request.getfixturevalue(f"{broker}_broker")
    if broker == "sqs":
        return {**found, "ROLLING_URL": f"sqs://{REGION}/", "ROLLING_ENDPOINT": fixture.url}
    return {**found, "ROLLING_URL": fixture.url}


@pytest.mark.parametrize("broker", BROKERS)
async def test_a_rolling_update_under_load_loses_nothing(broker: str, environment: dict[str, str]) -> None:
    handled: Counter[int] = Counter()
    published = 0
    enough = asyncio.Event()
    pods = [Pod({**os.environ, **environment}, handled) for _ in range(2 * PODS)]
    url, topic, endpoint = (environment.get(f"ROLLING_{name}") for name in ("URL", "TOPIC", "ENDPOINT"))
    publisher = Bus(url, topic=topic, endpoint=endpoint, format="evenbet", provision="all")

    async def publish() -> None:
        nonlocal published
        for first in itertools.count(0, 20):
            batch = [OnUserLoggedIn(player_id=number) for number in range(first, first + 20)]
            for result in await publisher.publish_many(batch):
                assert not isinstance(result, BaseException), result
            published += len(batch)
            if enough.is_set():
                return
            await asyncio.sleep(0.02)

    try:
        async with publisher, asyncio.TaskGroup() as tasks:
            await asyncio.gather(*(pod.start() for pod in pods[:PODS]))
            tasks.create_task(publish())
            await until(lambda: len(handled) >= 200, seconds=WITHIN)
            begun, stops = time.monotonic(), []
            for old, new in zip(pods[:PODS], pods[PODS:], strict=True):
                await new.start()
                stops.append(await old.stop())
            lasted, before = time.monotonic() - begun, len(handled)
            await until(lambda: len(handled) >= before + 200, seconds=WITHIN)
            enough.set()
        await until(lambda: len(handled) == published, seconds=WITHIN)
        stops += await asyncio.gather(*(pod.stop() for pod in pods[PODS:]))
    finally:
        for pod in pods:
            pod.kill()

    assert handled.keys() == set(range(published))
    print(
        f"\n{broker}: {published:,} messages, lost 0, twice {handled.total() - published}; "
        f"the update took {lasted:.1f} s, a stop at most {max(stops):.1f} s; "
        f"a pod had at most {max(pod.peak for pod in pods)} MiB"
    )
