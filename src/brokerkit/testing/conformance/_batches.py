"""N: handlers of batches."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass

from brokerkit._handlers._batch import FailedItems
from brokerkit._messages._message import Message
from brokerkit.testing.conformance._cases import section
from brokerkit.testing.conformance._harness import Harness
from brokerkit.testing.conformance._retry import QUICK
from brokerkit.testing.conformance._tools import accepted, until

case = section("Handlers of batches")


@dataclass
class NumberedInBatches:
    """An event with a number."""

    n: int


def _message(number: int, key: str | None = None) -> Message:
    return Message("NumberedInBatches", json.dumps({"n": number}).encode(), key=key)


@case(74)
async def all_in_batches(h: Harness) -> None:
    """A handler of batches gets every message, never more at once than it takes, and those of a key in their order."""
    seen, sizes = defaultdict[str | bytes | None, list[int]](list), list[int]()
    bus = h.bus(lease=30.0)

    @bus.on_batch(NumberedInBatches, size=50, within=0.2)
    async def handle(events: list[NumberedInBatches], messages: list[Message]) -> None:
        sizes.append(len(events))
        for event, message in zip(events, messages, strict=True):
            seen[message.key].append(event.n)

    ordered, each = h.capabilities.order != "none", max(h.many // 8, 1)
    async with bus, bus.serving():
        batch = [_message(number, f"key-{key}") for number in range(each) for key in range(8)]
        accepted(await bus.publish_many(batch))
        await until(lambda: sum(sizes) >= len(batch))
    assert max(sizes) <= 50
    found = seen if ordered else {key: sorted(numbers) for key, numbers in seen.items()}
    assert found == {f"key-{key}": list(range(each)) for key in range(8)}


@case(75)
async def single_ones_fail(h: Harness) -> None:
    """Of a batch, only those messages come again that its handler says have failed."""
    runs, done = defaultdict[int, int](int), set[int]()
    bus = h.bus(retry=QUICK, lease=30.0)

    @bus.on_batch(NumberedInBatches, size=20, within=0.2)
    async def handle(events: list[NumberedInBatches], messages: list[Message]) -> FailedItems:
        errors: dict[int, Exception] = {}
        for position, (event, message) in enumerate(zip(events, messages, strict=True)):
            runs[event.n] += 1
            if event.n % 10 == 3 and message.attempt == 1:
                errors[position] = RuntimeError("the first attempt fails")
            else:
                done.add(event.n)
        return FailedItems(errors)

    async with bus, bus.serving():
        accepted(await bus.publish_many([_message(number) for number in range(60)]))
        await until(lambda: len(done) == 60)
    assert runs == {number: 2 if number % 10 == 3 else 1 for number in range(60)}
