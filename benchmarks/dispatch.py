"""What the core itself costs, on the embedded broker: `python -m benchmarks.dispatch [--rounds N]`.

Each round reads a topic that was filled before; the bodies are empty objects, so that nothing is measured but the way of
a message from the source to its handler and back.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import time
import uuid
from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel

from brokerkit import Bus, Handlers, Message
from brokerkit.events import Family, register

COUNT: Final = 10_000
"""Messages of one round: what a topic of the embedded broker keeps for a group that comes later."""


class Empty(BaseModel):
    """An event without a field."""


NAMES: Final = [f"Event{number}" for number in range(500)]
register(Family("dispatch", dict.fromkeys(NAMES, Empty)))


async def once(sent: Sequence[str], handled: Sequence[str]) -> float:
    """Microseconds of CPU for each message of a topic with these names, of which some are handled and others skipped."""
    handlers, bus = Handlers(), Bus(f"memory://{uuid.uuid4().hex}", topic="bench", group="bench")
    for name in handled:
        handlers.on(name)(_nothing)
    bus.include(handlers)
    async with bus:
        await bus.publish_many(
            Message(
                sent[number % len(sent)], b"{}", key=str(number % 1000), headers={"event": sent[number % len(sent)]}
            )
            for number in range(COUNT)
        )
        async with bus.serving():
            [seen] = bus.stats.values()
            # Routes are made when their name comes for the first time, which costs once.
            while (before := seen.handled + seen.skipped) < COUNT // 10:
                await asyncio.sleep(0)
            begun = time.process_time()
            while seen.handled + seen.skipped < COUNT:
                await asyncio.sleep(0)
            return (time.process_time() - begun) / (COUNT - before) * 1e6


async def _nothing(_event: object) -> None: ...


def main() -> None:
    """Print the median, smallest and largest figure of each case."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dispatch", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    gc.collect()
    gc.freeze()
    cases = {
        "one name, handled": (NAMES[:1], NAMES[:1]),
        "500 names, all handled": (NAMES, NAMES),
        "one name, not wanted": (NAMES[:1], NAMES[1:2]),
    }
    figures: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case, (sent, handled) in cases.items():
            figures[case].append(asyncio.run(once(sent, handled)))
    for case, found in figures.items():
        middle = statistics.median(found)
        print(f"{case}: {middle:.1f} µs ({min(found):.1f} to {max(found):.1f}), {1e6 / middle:,.0f}/s")


if __name__ == "__main__":
    main()
