"""What many event names cost: `python -m benchmarks.names [N ...]`, on the embedded broker.

A bus has a handler for each of N names (1,000, 10,000 and 100,000), or one handler for every name. Every name comes twice.
The figures are the seconds until it is open, the microseconds of CPU for each message when its name comes for the first time
and for the second time, and the most memory of the process in MiB.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel

from benchmarks.measure import peak_memory
from brokerkit import Bus, Message
from brokerkit.events import Family, register

COUNTS: Final = (1_000, 10_000, 100_000)
_BATCH: Final = 1_000


class Empty(BaseModel):
    """An event without a field."""


async def measure(kind: str, count: int) -> dict[str, float]:
    """The figures of one bus. The publisher is in the same process, and counts."""
    names = [f"Event{number}" for number in range(count)]
    register(Family("names", dict.fromkeys(names, Empty) if kind == "each" else {}))
    bus = Bus("memory://names", topic="names", group="names", format="json")
    begun = time.monotonic()

    async def handle(event: Any) -> None: ...

    if kind == "each":
        for name in names:
            bus.on(name)(handle)
    else:
        bus.on("*")(handle)
    async with bus, bus.serving():
        opened = time.monotonic() - begun
        first = await _once(bus, names)
        return {"opened": opened, "first": first, "second": await _once(bus, names), "memory": peak_memory()}


async def _once(bus: Bus, names: Sequence[str]) -> float:
    [seen] = bus.stats.values()
    begun, wanted = time.process_time(), seen.handled
    for first in range(0, len(names), _BATCH):
        batch = names[first : first + _BATCH]
        await bus.publish_many([Message(name, b"{}") for name in batch])
        wanted += len(batch)
        while seen.handled < wanted:
            await asyncio.sleep(0)
    return (time.process_time() - begun) / len(names) * 1e6


def main() -> None:
    """Measure each in a process of its own, and print a table."""
    words = sys.argv[1:]
    if words[:1] == ["--one"]:
        print(json.dumps(asyncio.run(measure(words[1], int(words[2])))))
        return
    print("| handlers | names | open, s | first time, µs | second time, µs | peak, MiB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for kind, what in (("each", "one for each name"), ("any", "one for every name")):
        for count in [int(word) for word in words] or COUNTS:
            command = [sys.executable, "-m", "benchmarks.names", "--one", kind, str(count)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            cells = found["opened"], found["first"], found["second"], found["memory"]
            print(f"| {what} | {count:,} |", " | ".join(f"{cell:,.1f}" for cell in cells), "|", flush=True)


if __name__ == "__main__":
    main()
