"""Programs that run until SIGTERM or SIGINT, and then stop in their own order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from brokerkit._errors import MissingExtra

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory(*, uvloop: bool) -> LoopFactory | None:
    """What makes the event loop, or None for asyncio's own.

    Raises:
        MissingExtra: uvloop is wanted and not installed.
    """
    if not uvloop:
        return None
    try:
        # By name, because it is not there on Windows, where types are checked too.
        factory: LoopFactory = importlib.import_module("uvloop").new_event_loop
    except ModuleNotFoundError as error:
        how = "pip install 'brokerkit-sdk[uvloop]'"
        if sys.platform == "win32":
            how = "it does not exist on Windows, where asyncio's own loop is the only one"
        raise MissingExtra(f"uvloop is wanted as the event loop, and is not installed: {how}") from error
    return factory


def run_until_signalled(serve: Callable[[], Coroutine[Any, Any, None]], *, uvloop: bool) -> None:
    """Run it on an event loop of its own until it ends or a signal cancels it, which is no error.

    Raises:
        MissingExtra: uvloop is wanted and not installed.
        Exception: what it raises.
    """
    factory = loop_factory(uvloop=uvloop)
    # Each full collection would go through all modules and models again, for several microseconds a message.
    gc.collect()
    gc.freeze()
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_until_signalled(serve))
    finally:
        gc.unfreeze()


async def _until_signalled(serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
    serving = asyncio.ensure_future(serve())
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
