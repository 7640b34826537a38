"""A worker process as a test holds it."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.endurance.hostile import Hostile


class Process:
    """Runs `tests.endurance.worker` for as long as the block lasts.

    Args:
        buses: settings of the buses that it serves.
        folder: for what it writes.
        seconds: how long its handler takes.
        more: whether it also has a handler of batches, makes spans, and writes its log as JSON too.

    Attributes:
        errors: the log; beside it, with the ending ``.json``, the same as JSON.
    """

    def __init__(
        self, buses: Sequence[dict[str, Any]], *, folder: Path, seconds: float = 0.0, more: bool = False
    ) -> None:
        self.log = folder / "handled"
        self.errors = folder / "errors"
        self._settings = {"buses": list(buses), "log": str(self.log), "seconds": seconds, "more": more}
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.endurance.worker", json.dumps(self._settings)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**24,
            env={**os.environ, "ENDURANCE_LOG": str(self.errors)},
        )
        await self._answer()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        assert self._process is not None
        if kind is not None:
            self._process.kill()
            await self._process.wait()
            return
        await self._say("stop")
        async with asyncio.timeout(180):
            code = await self._process.wait()
        assert code == 0

    async def status(self, command: str = "status") -> dict[str, Any]:
        """What it counts now: resident bytes, running handlers, and the statistics of each bus."""
        await self._say(command)
        answer: dict[str, Any] = await self._answer()
        return answer

    async def publish(self, topic: str, batch: Sequence[Hostile]) -> list[str | None]:
        """Have it publish to its own embedded broker; what must come out of each message."""
        path = self.log.with_name("batch")
        path.write_bytes(pickle.dumps(list(batch)))
        await self._say(f"publish {self._settings['buses'][0]['url']} {topic} {path}")
        expected: list[str | None] = await self._answer()
        return expected

    async def _say(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()

    async def _answer(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(180):
            line = await self._process.stdout.readline()
        if not line:
            await self._process.wait()
            raise AssertionError(f"the worker ended: see {self.errors}: {self.errors.read_text()[-3000:]}")
        return json.loads(line)
