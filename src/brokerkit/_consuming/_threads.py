"""The threads of one source, in which its plain functions run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from inspect import isawaitable
from typing import Any

from brokerkit._consuming._job import Job


class HandlerThreads:
    """Runs plain functions.

    Args:
        source: the source's name, for the names of the threads.
        count: how many functions run at once.
    """

    def __init__(self, source: str, count: int) -> None:
        self._source = source
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._threads = self._new()
        self._strays: list[Job] = []

    def __repr__(self) -> str:
        return f"<HandlerThreads of {self._source}: {len(self._strays)} strays>"

    @property
    def have_strays(self) -> bool:
        """Whether a thread still runs a handler that timed out: a thread cannot be stopped, so nobody waits for it."""
        return any(job.runs for job in self._strays)

    def _new(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._count, thread_name_prefix=f"brokerkit-{self._source}")

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a plain function in a thread, with the context that a coroutine would have; return what it returns."""
        job = Job(function, arguments)
        try:
            result = await self._loop.run_in_executor(self._threads, copy_context().run, job.run)
        except asyncio.CancelledError:
            self._strays = [*(stray for stray in self._strays if stray.runs), job]
            raise
        # A plain function that wraps a coroutine function: its coroutine must be run.
        return await result if isawaitable(result) else result

    def renew(self) -> None:
        """Take new threads: one that is stuck must not keep others waiting."""
        self._threads.shutdown(wait=False)
        self._threads = self._new()

    def close(self) -> None:
        """Start nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
