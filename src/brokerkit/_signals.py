"""Programs that run until SIGTERM or SIGINT, and then stop in their own order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Coroutine
from typing import Any


def run_until_signalled(serve: Coroutine[Any, Any, None]) -> None:
    """Run it on an event loop of its own until it ends or a signal cancels it, which is no error.

    Raises:
        Exception: what it raises.
    """
    # Each full collection would go through all modules and models again, for several microseconds a message.
    gc.collect()
    gc.freeze()
    try:
        asyncio.run(_until_signalled(serve))
    finally:
        gc.unfreeze()


async def _until_signalled(serve: Coroutine[Any, Any, None]) -> None:
    serving = asyncio.ensure_future(serve)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C cancels by itself
            loop.add_signal_handler(number, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        pass
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
