"""How long dead letters take to be listed, filtered, replayed and purged.

    python -m benchmarks.dead_letters [N [BROKER ...]]

For each broker, with a quarter of N (100,000) and with N letters of 200 bytes: the whole queue is listed, a tenth of it is
replayed and another tenth purged, both by event name. Then the rest is replayed. The figures are seconds, and the peak
memory of the process in MB.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from benchmarks.servers import started
from brokerkit import Bus, Message
from brokerkit._messages._outgoing import Outgoing

BROKERS: Final = ("kafka", "rabbitmq", "sqs", "sqs-fifo", "redis", "redis-list", "file")
_TOPIC: Final = "spins"
_BATCH: Final = 1_000
_EVENTS: Final = ("First", "Second", *("Other",) * 8)
_COLUMNS: Final = ("list", "replay a tenth", "purge a tenth", "replay the rest", "MB")


def main() -> int:
    """Measure and print; the exit status is 1 where something failed."""
    words = sys.argv[1:]
    if words[:1] == ["--one"]:
        print(json.dumps(asyncio.run(_measure(words[1], int(words[2])))))
        return 0
    number = int(words[0]) if words else 100_000
    failed = False
    print("| broker | letters |", " | ".join(_COLUMNS), "|\n| --- |", " | ".join(["---:"] * (len(_COLUMNS) + 1)), "|")
    for broker in words[1:] or BROKERS:
        with started("memory" if broker == "file" else broker.removesuffix("-fifo")) as environment:
            for count in (number // 4, number):
                command = [sys.executable, "-m", "benchmarks.dead_letters", "--one", broker, str(count)]
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
                failed |= done.returncode != 0
                found: dict[str, float] = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
                cells = [f"{found[name]:,.1f}" if name in found else "failed" for name in _COLUMNS]
                print(f"| {broker} | {count:,} |", " | ".join(cells), "|", flush=True)
    return failed


async def _measure(broker: str, count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        suffix = ".fifo" if broker == "sqs-fifo" else ""
        settings: dict[str, Any] = {
            **json.loads(os.environ.get("BENCHMARK_SETTINGS", '{"url": "memory://"}')),
            "topic": f"{_TOPIC}-{uuid.uuid4().hex[:8]}{suffix}",
            "group": "wallet",
            "provision": "all",
            "format": "json",
            "overflow": f"{folder}/overflow",
        }
        if broker == "file":
            settings["dead_letter"] = f"file://{folder}/dead.jsonl"
        if not broker.startswith(("sqs", "redis-list", "file")):
            async with _receiving(settings):
                pass  # An exchange without a queue would refuse what is replayed.
        await _put(settings, count)
        figures: dict[str, float] = {}
        async with Bus(**settings) as bus:
            letters = bus.dead_letters()
            begun = time.monotonic()
            found = 0
            async for _ in letters:
                found += 1
            figures["list"] = time.monotonic() - begun
            counts = [found]
            for name, work in (
                ("replay a tenth", letters.replay(events="First")),
                ("purge a tenth", letters.purge(events="Second")),
                ("replay the rest", letters.replay()),
            ):
                begun = time.monotonic()
                counts.append(await work)
                figures[name] = time.monotonic() - begun
        assert counts == [count, count // 10, count // 10, count - 2 * (count // 10)], counts
        figures["MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return figures


@asynccontextmanager
async def _receiving(settings: dict[str, Any]) -> AsyncGenerator[None]:
    bus = Bus(**settings)

    @bus.on("*")
    async def _(event: Any, message: Message) -> None: ...

    async with bus, bus.serving():
        yield


async def _put(settings: dict[str, Any], count: int) -> None:
    async with Bus(**settings) as bus:
        store = bus.runtime.dead_letters["bus"]
        await store.open()
        for first in range(0, count, _BATCH):
            batch = [_letter(settings["topic"], number) for number in range(first, min(first + _BATCH, count))]
            failures = [failure for failure in await store.put(batch) if failure is not None]
            assert not failures, failures[0]


def _letter(topic: str, number: int) -> Outgoing:
    event = _EVENTS[number % len(_EVENTS)]
    return Outgoing(
        topic=topic,
        body=b'{"spin": %d, "more": "%s"}' % (number, b"x" * 160),
        name=event,
        id=f"id-{number}~1",
        key=f"player-{number % 1_000}",
        headers={
            "event": event,
            "bk-event": event,
            "bk-origin": f"id-{number}",
            "bk-copy": "1",
            "bk-topic": topic,
            "bk-group": "wallet",
            "bk-handler": "settle",
            "bk-error-type": "RuntimeError",
            "bk-error": "no",
            "bk-failures": "3",
            "bk-done": "[]",
            "bk-last-failure": str(int(time.time())),
        },
    )


if __name__ == "__main__":
    sys.exit(main())
