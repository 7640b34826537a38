"""A consuming process for the endurance tests: `python -m tests.endurance.worker SETTINGS`.

Its figures are its own, without the producer's and the test's. It answers each line on its standard input with one line
of JSON on its standard output, and ends after ``stop``.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import os
import pickle
import resource
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from pydantic import SecretStr

from brokerkit import Bus, Handlers, Message
from brokerkit._config._settings import ConnectionSettings
from brokerkit.adapters.memory import MemoryAdapter
from brokerkit.logs import JsonFormatter
from brokerkit.tracing import instrument
from tests.endurance.hostile import ALWAYS_FAILS, BROKEN, HANDLERS, NAME, believed, fingerprint_of
from tests.endurance.plain import memory


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Worker:
    """Some buses of one process.

    Args:
        settings: ``buses`` (a list of what `Bus` takes), ``log`` (file for one line for each handled message),
            ``seconds`` (how long the handler takes), ``more`` (see `tests.endurance.process`).
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._buses = [Bus(bus.pop("url"), **bus) for bus in settings["buses"]]
        self._log = Path(settings["log"]).open("a", buffering=1)  # noqa: SIM115 (for as long as the process lives)
        self._seconds: float = settings["seconds"]
        self._running = 0
        topics = {bus["topic"] for bus in settings["buses"]}
        handlers = Handlers()

        @handlers.on(NAME)
        async def audit(event: Any, message: Message) -> None:
            self._note("audited", fingerprint_of(message))

        @handlers.on(NAME)
        async def handle(event: Any, message: Message) -> None:
            self._running += 1
            await asyncio.sleep(self._seconds)
            self._running -= 1
            if what := believed(message, topics):
                self._note("believed", what)
            if event.table_id == ALWAYS_FAILS:
                self._note("refused", fingerprint_of(message))
                raise RuntimeError(f"table 6 always fails: {BROKEN}")
            self._note("handled", fingerprint_of(message))

        if settings["more"]:

            @handlers.on_batch(NAME, size=20, within=0.02)
            async def collect(events: list[Any], messages: list[Message]) -> None:
                for message in messages:
                    self._note("collected", fingerprint_of(message))

        assert tuple(handler.name for handler in handlers) == HANDLERS[: 3 if settings["more"] else 2]
        for bus in self._buses:
            bus.include(handlers)
            if settings["more"]:
                instrument(bus, tracer_provider=TracerProvider())

    def _note(self, what: str, of: str) -> None:
        print(what, of, file=self._log)

    async def run(self) -> None:
        """Consume until told to stop."""
        async with AsyncExitStack() as stack:
            for bus in self._buses:
                await stack.enter_async_context(bus)
                await stack.enter_async_context(bus.serving())
            reader = asyncio.StreamReader()
            await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
            self._say()
            while (line := (await reader.readline()).decode().strip()) not in ("", "stop"):
                if line.startswith("seconds "):
                    self._seconds = float(line.split()[1])
                if line.startswith("publish "):
                    await self._publish(*line.split()[1:])
                else:
                    self._say()

    async def _publish(self, url: str, topic: str, path: str) -> None:
        """Publish to the embedded broker, which nobody reaches from outside."""
        adapter = MemoryAdapter(ConnectionSettings(url=SecretStr(url)).connection())
        await adapter.open()
        print(json.dumps(await memory(adapter, topic, pickle.loads(Path(path).read_bytes()))), flush=True)
        await adapter.close()

    def _say(self) -> None:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what the C library keeps for later says nothing about us
        counted = [{**_stats(bus), "lost": bus.stats["bus"].lost} for bus in self._buses]
        print(json.dumps({"resident": resident(), "running": self._running, "buses": counted}), flush=True)


def _stats(bus: Bus) -> dict[str, int]:
    stats = bus.stats["bus"]
    names = ("received", "handled", "failed", "retried", "dead_lettered", "skipped", "tombstones", "released")
    return {name: getattr(stats, name) for name in names}


if __name__ == "__main__":
    logging.basicConfig(filename=os.environ["ENDURANCE_LOG"], level=logging.ERROR, encoding="utf-8")
    logging.getLogger("brokerkit").setLevel(logging.WARNING)
    settings = json.loads(sys.argv[1])
    if settings["more"]:
        lines = logging.FileHandler(f"{os.environ['ENDURANCE_LOG']}.json", encoding="utf-8")
        lines.setFormatter(JsonFormatter())
        logging.getLogger().addHandler(lines)
    asyncio.run(Worker(settings).run())
