"""The progress of a command that moves messages: a line that changes on a terminal, nothing elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_REFRESH: Final = 0.25
"""Seconds between two updates."""
_AGAIN: Final = 2.0
"""Seconds over which the rate is taken."""


@contextlib.asynccontextmanager
async def progress(
    what: str, count: Callable[[], int], *, total: int | None = None, more: Callable[[], str] = str
) -> AsyncGenerator[None]:
    """Show a count and its rate on standard error while the block runs.

    Args:
        what: the word in front of the count: ``"published"``.
        count: returns the count.
        total: the count at the end, if it is known.
        more: returns what else to show after the rate.
    """
    stderr = Console(stderr=True)
    if not stderr.is_terminal:
        yield
        return
    columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False)]
    columns += [BarColumn()] if total is not None else []
    with Progress(*columns, TimeElapsedColumn(), console=stderr, transient=True) as shown:
        task = shown.add_task(what, total=total)

        async def refresh() -> None:
            seen = [(time.monotonic(), count())]
            while True:
                await asyncio.sleep(_REFRESH)
                seen.append((time.monotonic(), count()))
                seen = [one for one in seen if one[0] >= seen[-1][0] - _AGAIN]
                (before, earlier), (now, done) = seen[0], seen[-1]
                of = "" if total is None else f" of {total:,}"
                rate = (done - earlier) / (now - before) if now > before else 0.0
                shown.update(task, completed=done, description=f"{what} {done:,}{of}, {rate:,.0f} a second{more()}")

        refreshing = asyncio.create_task(refresh())
        try:
            yield
        finally:
            refreshing.cancel()


def summary(what: str, count: int, seconds: float) -> str:
    """Return the line at the end: how many messages, in how many seconds, how many a second."""
    return f"{what} {count:,} messages in {seconds:,.1f} s, {count / max(seconds, 1e-9):,.0f} a second"
