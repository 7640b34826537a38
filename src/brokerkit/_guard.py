"""Callbacks and tasks that nobody awaits: their errors reach the object that is responsible for them.

asyncio only logs an error of a callback, a thread ends silently, and an error of a task that nobody awaits is reported when
the task is collected, if ever. Whatever depends on it then waits for ever and looks healthy. So every callback that can
fail, every thread and every such task must use this module (``tests/test_house.py`` checks it).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")

Failed = Callable[[BaseException], object]
"""Called with the error. It ends a source or fails a publish. It must not raise."""


def guarded(function: Callable[P, object], failed: Failed) -> Callable[P, None]:
    """Return the function as a callback that does not raise: ``failed`` gets the error."""

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 (that is the point)
            failed(error)

    return call


def watch(task: asyncio.Future[Any], failed: Failed) -> None:
    """Call ``failed`` when a task or future ends with an error. Cancellation is not an error."""

    def ended(task: asyncio.Future[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            failed(error)

    task.add_done_callback(ended)


def start(work: Coroutine[Any, Any, Any], failed: Failed, *, name: str | None = None) -> asyncio.Task[Any]:
    """Start a task that nobody awaits. The caller must keep a reference to it, because asyncio does not.

    The loop's task factory is not asked: the one of Python 3.12 for eager tasks would run the work, and what it does at its
    end, before the caller has that reference.
    """
    task = asyncio.Task(work, loop=asyncio.get_running_loop(), name=name)
    watch(task, failed)
    return task
