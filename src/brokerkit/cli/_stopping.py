"""How commands stop: the first SIGTERM or SIGINT lets a command finish, the second ends it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Generator
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def stopping(stop: Callable[[], None]) -> Generator[None]:
    """Call ``stop`` on the first signal. After that, and after the block, signals have their usual effect."""
    loop = asyncio.get_running_loop()

    def restore() -> None:
        for number in _SIGNALS:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)

    def first() -> None:
        restore()
        stop()

    for number in _SIGNALS:
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C cancels by itself
            loop.add_signal_handler(number, first)
    try:
        yield
    finally:
        restore()
