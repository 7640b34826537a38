"""``brokerkit run``: serve a bus of the user's own."""

# The processes of a bus are a part of it.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter, validators

from brokerkit._signals import loop_factory
from brokerkit.cli._output import LogLevel, set_up_logging
from brokerkit.cli._target import find_bus

logger = logging.getLogger("brokerkit")

_STOP_GRACE: Final = 20.0
"""Seconds beyond ``stop_timeout`` for a worker to stop: `Bus` needs 15 at most, the rest is the interpreter's."""


def run(
    target: Annotated[str, Parameter(name="MODULE:BUS")],
    /,
    *,
    config: Path | None = None,
    workers: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 1,
    uvloop: Annotated[bool, Parameter(negative="")] = False,
    log_level: LogLevel = "info",
) -> int:
    """Run a bus of your own until SIGTERM or SIGINT, then drain: running handlers finish, the rest is given back.

    Args:
        target: the module that makes the bus and the bus's name in it, such as `wallet.events:bus`; modules of the
            current folder are found. With `--config` it may be the name of a `Handlers`, too.
        config: make the bus from this file, and take only the handlers from the module.
        workers: how many processes share the work. One that dies is replaced; a second signal kills them.
        uvloop: run on uvloop instead of asyncio's own event loop.
        log_level: what is logged to standard error.
    """
    set_up_logging(log_level)
    bus = find_bus(target, config)
    if workers == 1:
        logger.info("running %s until SIGTERM or SIGINT", target)
        bus.run(uvloop=uvloop)
        status = 0
    else:
        from brokerkit.cli._supervisor import Supervisor
        from brokerkit.cli._worker import Orders

        bus._check_workers(workers)
        loop_factory(uvloop=uvloop)  # refused here, not in each of them
        logger.info("running %s in %d workers until SIGTERM or SIGINT", target, workers)
        patience = bus._settings.stop_timeout + _STOP_GRACE
        status = Supervisor(workers, Orders(target, config, uvloop, log_level, patience)).run()
    logger.info("%s has stopped", target)
    return status
