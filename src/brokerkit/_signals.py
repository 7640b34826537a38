"""Runs a program until SIGTERM or SIGINT, and then stops it in an orderly way."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, cast

from brokerkit._errors import BrokerkitError, ConfigError, MissingExtra
from brokerkit._logging import escape, get_logger

logger = get_logger(__name__)

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory(*, uvloop: bool) -> LoopFactory | None:
    """Return the factory of the event loop, or None for asyncio's own.

    Raises:
        MissingExtra: uvloop was asked for and is not installed.
    """
    if not uvloop:
        return None
    try:
        # By name, because it does not exist on Windows, where types are checked too.
        factory: LoopFactory = importlib.import_module("uvloop").new_event_loop
    except ModuleNotFoundError as error:
        how = "pip install 'brokerkit-sdk[uvloop]'"
        if sys.platform == "win32":
            how = "it does not exist on Windows; use asyncio's own loop there"
        raise MissingExtra(f"uvloop was requested as the event loop, but is not installed: {how}") from error
    return factory


def run_until_signalled(serve: Callable[[], Coroutine[Any, Any, None]], *, uvloop: bool) -> None:
    """Run it on a new event loop until it ends, or a signal cancels it, which is not an error.

    Raises:
        ConfigError: an event loop is already running in this thread.
        MissingExtra: uvloop was asked for and is not installed.
        BrokerkitError: raised by ``serve``, changed by `_for_a_program`.
        Exception: anything else that ``serve`` raises.
    """
    if _runs_in_a_loop():
        raise ConfigError(
            "run() makes an event loop, but one is already running here, as in a notebook: write 'await bus.serve()', "
            "or 'async with bus.serving():' to do other work too"
        )
    try:
        _run(serve, loop_factory(uvloop=uvloop))
    except BrokerkitError as error:
        logger.debug("the program ends with an error", exc_info=error)
        if hasattr(sys, "ps1"):
            raise  # an interactive session, which a `SystemExit` would end
        raise _for_a_program(error) from error


def _runs_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run(serve: Callable[[], Coroutine[Any, Any, None]], factory: LoopFactory | None) -> None:
    # Otherwise each full collection would visit all modules and models, which costs several microseconds a message.
    gc.collect()
    gc.freeze()
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_until_signalled(serve))
    finally:
        gc.unfreeze()


def _for_a_program(error: BrokerkitError) -> BrokerkitError:
    """Return the same error as a `SystemExit` too. A program that does not catch it ends with its text and status 1.

    It prints no traceback: if a broker is away, the lines of the program do not matter, and a traceback through a client
    library would hide the one line that helps.
    """
    kind = type(error)
    ending = type(kind.__name__, (kind, SystemExit), {"__module__": kind.__module__, "__qualname__": kind.__qualname__})
    made: Any = ending.__new__(ending, *error.args)
    made.__dict__.update(vars(error))
    made.code = f"{kind.__name__}: {escape(str(error))}"
    return cast("BrokerkitError", made)


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
