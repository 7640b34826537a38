"""``brokerkit run``: serve the user's bus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter, validators

from brokerkit._logging import get_logger
from brokerkit._signals import loop_factory
from brokerkit.cli._output import LogLevel, set_up_logging
from brokerkit.cli._target import find_bus

logger = get_logger(__name__)

_STOP_GRACE: Final = 20.0
"""Seconds beyond ``stop_timeout`` for a worker to stop: `Bus` needs at most 15, the interpreter the rest."""


def run(
    target: Annotated[str, Parameter(name="MODULE:BUS")],
    /,
    *,
    config: Path | None = None,
    workers: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 1,
    uvloop: Annotated[bool, Parameter(negative="")] = False,
    log_level: LogLevel = "info",
) -> int:
    """Run your bus until SIGTERM or SIGINT, then drain: running handlers finish, and other messages are released.

    Args:
        target: the module that makes the bus and the bus's name in it, such as `wallet.events:bus`; modules of the
            current folder are found. With `--config` it may also be the name of a `Handlers`.
        config: make the bus from this file, and take only the handlers from the module.
        workers: how many processes share the work. A worker that dies is replaced. A second signal kills the workers.
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

        bus.runtime.refuse_workers(bus.handlers, workers)
        loop_factory(uvloop=uvloop)  # fails here, and not in each worker
        logger.info("running %s in %d workers until SIGTERM or SIGINT", target, workers)
        kill_after = bus.runtime.settings.stop_timeout + _STOP_GRACE
        status = Supervisor(workers, Orders(target, config, uvloop, log_level, kill_after)).run()
    logger.info("%s has stopped", target)
    return status
