"""A worker: a process that serves a bus until its supervisor sends stop, or has died.

A connection, the line, joins the two. The worker sends `Serving` and `Failure`; the supervisor sends `Order` and `STOP`. If
the line is closed, the worker stops too, so no worker outlives a supervisor that was killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, TypeAlias

from brokerkit import AccessDenied, BrokerkitError, Bus, ConfigError, NotFound, WrongNameRule
from brokerkit._http._answers import Process
from brokerkit._signals import run_until_signalled
from brokerkit.cli._asking import Line as Questions
from brokerkit.cli._asking import answer
from brokerkit.cli._output import LogFormat, LogLevel, set_up_logging
from brokerkit.cli._pausing import TOGGLE, Order, Pausing
from brokerkit.cli._target import find_bus

STOP: Final = "stop"
_FAILED: Final = 1
_LASTING: Final = (ConfigError, AccessDenied, NotFound, WrongNameRule)
"""Errors that a retry cannot fix."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker does.

    Attributes:
        target: MODULE:BUS, as for `find_bus`.
        config: the configuration file of the bus, if there is one.
        uvloop: run on uvloop instead of asyncio's own event loop.
        log_level: what is logged to standard error.
        log_format: how.
        kill_after: seconds from `STOP` until a worker that still runs ends itself.
    """

    target: str
    config: Path | None
    uvloop: bool
    log_level: LogLevel
    log_format: LogFormat
    kill_after: float


@dataclass(frozen=True, slots=True)
class Serving:
    """The worker has connected and consumes."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The worker ends with an error.

    Attributes:
        text: the text of the error.
        lasting: whether another worker would end with the same error.
    """

    text: str
    lasting: bool


# A line carries what multiprocessing can pickle; these types are all that is sent.
Line: TypeAlias = "Connection[Any, Any]"


def work(number: int, line: Line, orders: Orders, questions: Questions | None, standing: Order) -> None:
    """Serve in this process, and end it: with 0 after a stop, else with 1. Meanwhile, answer questions on that line.

    What stands when it is started begins paused.
    """
    # A terminal's Ctrl-C reaches all processes at once; the supervisor says when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if TOGGLE is not None:
        signal.signal(TOGGLE, signal.SIG_IGN)
    set_up_logging(orders.log_level, orders.log_format, process=f"worker {number}")
    try:
        bus = find_bus(orders.target, orders.config)
        bus.runtime.begins_paused = {change.source: change.why for change in standing.changes if change.source}
        pausing = Pausing(bus)
        answering = partial(answer, questions, Process(bus), pausing) if questions is not None else None
        run_until_signalled(partial(_serve, bus, line, orders.kill_after, pausing, answering), uvloop=orders.uvloop)
    except BrokerkitError as error:
        with suppress(OSError):  # the supervisor has died
            line.send(Failure(" ".join(str(error).split()), isinstance(error, _LASTING)))
        sys.exit(_FAILED)


async def _serve(
    bus: Bus,
    line: Line,
    kill_after: float,
    pausing: Pausing,
    answering: Callable[[asyncio.AbstractEventLoop], None] | None,
) -> None:
    """Serve until the supervisor sends stop, or the line is closed.

    Raises:
        BrokerkitError: as `Bus.serve` does.
    """
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()

    def listen() -> None:
        with suppress(EOFError, OSError, RuntimeError):
            while (order := line.recv()) != STOP:
                loop.call_soon_threadsafe(partial(pausing.order, order))
        with suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(task.cancel)
        # A handler may block the loop, or a thread may block the end of the interpreter.
        time.sleep(kill_after)
        os._exit(_FAILED)

    threading.Thread(target=listen, name="brokerkit-line", daemon=True).start()
    if answering is not None:
        threading.Thread(target=answering, args=(loop,), name="brokerkit-questions", daemon=True).start()
    async with bus.serving():
        with suppress(OSError):  # the supervisor has died, which `listen` notices
            line.send(Serving())
        await asyncio.Event().wait()
