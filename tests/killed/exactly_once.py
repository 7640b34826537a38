"""A wallet with transactions that is killed at one step: `python -m tests.killed.exactly_once CONFIG`.

`KILL_AT` names the step at which the process ends itself with SIGKILL, or stops itself with SIGSTOP where `STOP` is set; it
does so in its second transaction. The steps are wrapped here: the product knows nothing of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from brokerkit import Bus, Message
from brokerkit.adapters.kafka._transaction_thread import TransactionThread
from brokerkit.events.evenbet import OnPlayerSeatedDown

STEPS = ("produced", "before commit", "after commit")

_seen: Counter[str] = Counter()


def step(name: str) -> None:
    """End or stop here, if here is where."""
    _seen[name] += 1
    if name == os.environ.get("KILL_AT") and _seen[name] == 2:
        os.kill(os.getpid(), signal.SIGSTOP if os.environ.get("STOP") else signal.SIGKILL)


def wrap() -> None:
    """Make the steps of a transaction places to end at."""
    produce: Callable[..., None] = TransactionThread._produce
    again: Callable[..., None] = TransactionThread._again

    def produce_and_step(self: TransactionThread, *arguments: Any) -> None:
        produce(self, *arguments)
        step("produced")

    def again_and_step(self: TransactionThread, *arguments: Any) -> None:
        is_commit = getattr(arguments[-1], "__name__", "") == "commit_transaction"
        if is_commit:
            step("before commit")
        again(self, *arguments)
        if is_commit:
            step("after commit")

    TransactionThread._produce = produce_and_step  # type: ignore[method-assign]
    TransactionThread._again = again_and_step  # type: ignore[method-assign]


async def main(config: str) -> None:
    """Serve."""
    wrap()
    bus = Bus.from_config(config)

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        paid = {"playerId": event.player_id}
        await bus.publish("OnUserLoggedIn", paid, key=message.key, id=f"{message.id}-paid")
        if message.attempt == 1 and int(event.player_id or 0) % 7 == 0:
            raise RuntimeError("this attempt fails, the next does not")

    await bus.serve()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
