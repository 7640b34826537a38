"""What the core itself costs, on the embedded broker: `python -m benchmarks.dispatch [--rounds N]`.

Each round reads a topic that was filled before. With empty objects as bodies, it measures only the way of a message from the
source to its handler and back. With the events of the other benchmarks, it also measures the reading of an event.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final

from pydantic import BaseModel

from benchmarks.work import work
from brokerkit import Bus, Handlers, Message
from brokerkit._messages._delivery import ACK
from brokerkit.adapters.api import Subscription
from brokerkit.events import Family, register

COUNT: Final = 10_000
"""Messages of one round: what a topic of the embedded broker keeps for a group that comes later."""


class Empty(BaseModel):
    """An event without a field."""


NAMES: Final = [f"Event{number}" for number in range(500)]
register(Family("dispatch", dict.fromkeys(NAMES, Empty)))
EMPTY: Final = b"{}"


async def idempotent(sent: Sequence[str], handled: Sequence[str], body: bytes) -> float:
    """Microseconds of CPU for each message of a topic with these names, of which some are handled and others skipped."""
    handlers, bus = Handlers(), Bus(f"memory://{uuid.uuid4().hex}", topic="bench", group="bench", format="json")
    for name in handled:
        handlers.on(name)(_nothing)
    bus.include(handlers)
    async with bus:
        await bus.publish_many(_messages(sent, body))
        async with bus.serving():
            [seen] = bus.stats.values()
            # A route is made when its name comes for the first time.
            while (before := seen.handled + seen.skipped) < COUNT // 10:
                await asyncio.sleep(0)
            begun = time.process_time()
            while seen.handled + seen.skipped < COUNT:
                await asyncio.sleep(0)
            return (time.process_time() - begun) / (COUNT - before) * 1e6


async def alone(body: bytes) -> float:
    """Microseconds of CPU that the embedded broker takes itself, to hand a message out and to have it acknowledged."""
    url = f"memory://{uuid.uuid4().hex}"
    async with Bus(url, topic="bench", format="json") as bus:
        await bus.publish_many(_messages(NAMES[:1], body))
        adapter = bus.adapter()
        source = adapter.subscribe(Subscription(topics=("bench",), group="bench", provision="all"), _ignore)
        await source.open()
        begun, left = time.process_time(), COUNT
        while left:
            batch = await source.receive(500)
            left -= len(batch)
            await source.settle([(delivery, ACK) for delivery in batch])
        taken = time.process_time() - begun
        await source.close()
        return taken / COUNT * 1e6


def _messages(names: Sequence[str], body: bytes) -> Iterator[Message]:
    for number in range(COUNT):
        name = names[number % len(names)]
        yield Message(name, body, key=str(number % 1000), headers={"event": name})


async def _nothing(_event: object) -> None: ...


async def _ignore(_: object, *, gone: bool = True) -> None: ...


def main() -> None:
    """Print the median, smallest and largest figure of each case."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dispatch", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    gc.collect()
    gc.freeze()
    small, large = work("small"), work("large")
    cases: dict[str, Callable[[], Coroutine[Any, Any, float]]] = {
        "empty, one name, handled": lambda: idempotent(NAMES[:1], NAMES[:1], EMPTY),
        "empty, 500 names, all handled": lambda: idempotent(NAMES, NAMES, EMPTY),
        "empty, not wanted": lambda: idempotent(NAMES[:1], NAMES[1:2], EMPTY),
        "270 bytes, handled": lambda: idempotent([small.name], [small.name], small.body),
        "270 bytes, not wanted": lambda: idempotent([small.name], [large.name], small.body),
        "4.3 kB, handled": lambda: idempotent([large.name], [large.name], large.body),
        "4.3 kB, not wanted": lambda: idempotent([large.name], [small.name], large.body),
        "the embedded broker alone": lambda: alone(EMPTY),
    }
    figures: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case, run in cases.items():
            figures[case].append(asyncio.run(run()))
    for case, found in figures.items():
        middle = statistics.median(found)
        print(f"{case}: {middle:.1f} µs ({min(found):.1f} to {max(found):.1f}), {1e6 / middle:,.0f}/s")


if __name__ == "__main__":
    main()
