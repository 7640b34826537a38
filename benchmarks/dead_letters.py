"""How long dead letters take to be listed, filtered, replayed and purged, and how much memory.

    python -m benchmarks.dead_letters [N ...] [BROKER ...]

For each broker and each N (10,000 and 100,000) there are N letters of 200 bytes. The whole queue is listed, once all of it
and once by an event name that a tenth has. Then a tenth is replayed and another tenth purged, both by event name; the rest
is replayed. The figures are microseconds for each letter that was in the queue, those of CPU in this process (other work on
the machine disturbs them less), and its peak memory in MiB while it did that. Each is also told on stderr when it is known.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import in_another_process, peak_memory
from benchmarks.servers import started
from brokerkit import Bus, Message
from brokerkit._messages._outgoing import Outgoing

BROKERS: Final = ("kafka", "rabbitmq", "sqs", "sqs-fifo", "redis", "redis-list", "sqlite", "file")
COUNTS: Final = (10_000, 100_000)
_TOPIC: Final = "spins"
_BATCH: Final = 1_000
_EVENTS: Final = ("First", "Second", *("Other",) * 8)
_COLUMNS: Final = ("list", "list a tenth", "replay a tenth", "purge a tenth", "replay the rest")


def main() -> int:
    """Measure and print; the exit status is 1 where something failed."""
    words = sys.argv[1:]
    if words[:1] == ["--one"]:
        print(json.dumps(asyncio.run(_measure(words[1], int(words[2])))))
        return 0
    counts = [int(word) for word in words if word.isdecimal()] or COUNTS
    failed = False
    print("| broker | letters |", " | ".join(_COLUMNS), "|\n| --- |", " | ".join(["---:"] * (len(_COLUMNS) + 1)), "|")
    for broker in [word for word in words if not word.isdecimal()] or BROKERS:
        kind = "memory" if broker in ("file", "sqlite") else broker.removesuffix("-fifo")
        for count in counts:
            with started(kind) as environment:
                command = [sys.executable, "-m", "benchmarks.dead_letters", "--one", broker, str(count)]
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
            failed |= done.returncode != 0
            found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
            cells = [
                "{:,.0f} µs, CPU {:,.0f}, {:,.0f} MiB".format(*found[name]) if name in found else "failed"
                for name in _COLUMNS
            ]
            print(f"| {broker} | {count:,} |", " | ".join(cells), "|", flush=True)
    return failed


async def _measure(broker: str, count: int) -> dict[str, tuple[float, float, float]]:
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
            settings |= {"url": f"sqlite:///{folder}/broker.db", "dead_letter": f"file://{folder}/dead.jsonl"}
        elif broker == "sqlite":
            settings["url"] = f"sqlite:///{folder}/broker.db"
        if not broker.startswith(("sqs", "redis-list")):
            async with _receiving(settings):
                pass  # An exchange without a queue would refuse what is replayed.
        in_another_process(lambda: _put(settings, count))
        return await _walk(settings, count)


async def _walk(settings: dict[str, Any], count: int) -> dict[str, tuple[float, float, float]]:
    figures: dict[str, tuple[float, float, float]] = {}
    tenth = count // 10
    async with Bus(**settings) as bus:
        letters = bus.dead_letters()

        async def listed(**selected: str) -> int:
            found = 0
            async for _ in letters.browse(**selected):
                found += 1
            return found

        left = count
        for name, work, expected, gone in (
            ("list", listed, count, 0),
            ("list a tenth", partial(listed, events="First"), tenth, 0),
            ("replay a tenth", partial(letters.replay, events="First"), tenth, tenth),
            ("purge a tenth", partial(letters.purge, events="Second"), tenth, tenth),
            ("replay the rest", letters.replay, count - 2 * tenth, count - 2 * tenth),
        ):
            _forget_peak()
            begun, cpu = time.monotonic(), time.process_time()
            done = await work()
            seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
            figures[name] = seconds / left * 1e6, cpu / left * 1e6, peak_memory()
            print(
                f"{left:,} letters: {name}", *(round(figure) for figure in figures[name]), file=sys.stderr, flush=True
            )
            assert done == expected, (name, done, expected)
            left -= gone
    return figures


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


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
