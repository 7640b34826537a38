"""One worker: a process that serves a bus until its supervisor says stop, or is no more.

The two have a line between them. The worker says `Serving` and `Failure`; what the supervisor says is `STOP`. A line whose
other end is gone means the same, so that no worker outlives a supervisor that was killed.
"""

# A worker serves as `Bus.serve` does, and says in between that it serves: it needs the half that waits for the end.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, TypeAlias

from brokerkit import AccessDenied, BrokerkitError, Bus, ConfigError, NotFound, WrongNameRule
from brokerkit._signals import run_until_signalled
from brokerkit.cli._output import LogLevel, set_up_logging
from brokerkit.cli._target import find_bus

STOP: Final = "stop"
_FAILED: Final = 1
_LASTING: Final = (ConfigError, AccessDenied, NotFound, WrongNameRule)
"""Errors that trying again does not help."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker does.

    Attributes:
        target: MODULE:BUS, as for `find_bus`.
        config: file with the bus's configuration, if there is one.
        uvloop: run on uvloop instead of asyncio's own event loop.
        log_level: what is logged to standard error.
        patience: seconds from `STOP` until a worker that still runs ends itself.
    """

    target: str
    config: Path | None
    uvloop: bool
    log_level: LogLevel
    patience: float


@dataclass(frozen=True, slots=True)
class Serving:
    """The worker has connected and consumes."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The worker ends with an error.

    Attributes:
        text: what it says.
        lasting: another worker would end with the same.
    """

    text: str
    lasting: bool


# A line carries what multiprocessing can pickle; these types are all that is sent.
Line: TypeAlias = "Connection[Any, Any]"


def work(number: int, line: Line, orders: Orders) -> None:
    """Serve in this process, which is the worker's own, and end it with 0 after a stop, else with 1."""
    # A terminal's Ctrl-C reaches all processes at once; the supervisor says when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_up_logging(orders.log_level, process=f"worker {number}")
    try:
        bus = find_bus(orders.target, orders.config)
        run_until_signalled(partial(_serve, bus, line, orders.patience), uvloop=orders.uvloop)
    except BrokerkitError as error:
        with suppress(OSError):  # the supervisor is no more
            line.send(Failure(" ".join(str(error).split()), isinstance(error, _LASTING)))
        sys.exit(_FAILED)


async def _serve(bus: Bus, line: Line, patience: float) -> None:
    """Serve until the line says stop.

    Raises:
        BrokerkitError: as `Bus.serve` does.
    """
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()

    def listen() -> None:
        with suppress(EOFError, OSError):
            line.recv()
        with suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(task.cancel)
        # A handler may hold up the loop, or a thread the end of the interpreter.
        time.sleep(patience)
        os._exit(_FAILED)

    threading.Thread(target=listen, name="brokerkit-line", daemon=True).start()
    async with bus.serving():
        with suppress(OSError):  # the supervisor is no more, which `listen` notices
            line.send(Serving())
        raise await bus._ended()
