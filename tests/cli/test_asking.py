"""How a supervisor asks its workers: what a worker that is gone means for the others."""

from __future__ import annotations

import asyncio
from multiprocessing import Pipe
from typing import Any, cast

from brokerkit.cli._asking import Asked, Workers


async def test_a_worker_that_has_just_ended_is_no_reason_to_restart_the_others() -> None:
    ours, its = Pipe()
    nobody = cast("Any", None)
    workers = Workers(1, nobody, nobody)
    workers.asked[1] = worker = Asked(ours)
    worker.serving = True
    asking = asyncio.create_task(workers.live())
    await asyncio.to_thread(its.recv)  # it ends before it answers, and its supervisor has not noticed
    its.close()
    assert await asking == []
    assert await workers.live() == []
    assert await workers.ready() == ["worker 1: it has ended"]
