"""What somebody sees of some workers who only asks them for their metrics, as a Prometheus server does."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import httpx

from tests.chaos.chaos import Workers
from tests.metrics.text import samples, total

EVERY = 0.25
"""Seconds between two looks at a process."""

FAILED = {"failed for-now", "failed finally"}


def happened(did: Counter[str]) -> dict[str, int]:
    """What the counters must say of a process that has done this."""
    failed = sum(did[word] for word in FAILED)
    return {
        "brokerkit_handled_messages_total": did["handled"],
        "brokerkit_failed_attempts_total": failed,
        "brokerkit_retried_attempts_total": did["failed for-now"],
        "brokerkit_dead_lettered_messages_total": did["letter"],
        "messaging_process_duration_seconds_count": did["handled"] + failed,
    }


class Watch:
    """Asks each worker for its metrics again and again.

    Args:
        workers: whom it asks.

    Attributes:
        seen: what each process said last.
        drained: those that said it when they had stopped.
    """

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.seen: dict[int, dict[str, int]] = {}
        self.drained: set[int] = set()

    async def keep_looking(self) -> None:
        """Look at all of them until cancelled. One that is dead, or too busy to answer, is seen as it was before."""
        while True:
            for pid in list(self.workers.ports):
                with suppress(httpx.TransportError):
                    await self.look(pid)
            await asyncio.sleep(EVERY)

    async def last_look(self, pid: int) -> None:
        """Look at a process that has stopped consuming, and will end."""
        text = await self.look(pid)
        self.drained.add(pid)
        found = samples(text)
        for name in ("in_flight", "held"):
            assert total(found, f"brokerkit_{name}_messages") == 0, text

    async def look(self, pid: int) -> str:
        """Ask one process, and return the text."""
        address = f"http://127.0.0.1:{self.workers.ports[pid]}"
        async with httpx.AsyncClient(base_url=address, timeout=30, trust_env=False) as client:
            answer = await client.get("/metrics")
        assert answer.status_code == 200
        found = samples(answer.text)
        self.seen[pid] = {name: int(total(found, name)) for name in happened(Counter())}
        return answer.text

    def sum_of(self, pids: set[int]) -> Counter[str]:
        """What these processes said last, added up."""
        seen: Counter[str] = Counter()
        for pid in pids:
            seen.update(self.seen.get(pid, {}))
        return seen
