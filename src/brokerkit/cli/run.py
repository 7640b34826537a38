"""``brokerkit run``: serve the user's bus."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter, validators

from brokerkit._http import refuse_missing
from brokerkit._logging import get_logger
from brokerkit._signals import loop_factory, run_until_signalled
from brokerkit.cli._output import LogFormat, LogLevel, UsageError, set_up_logging
from brokerkit.cli._pausing import Pauses, toggled
from brokerkit.cli._target import find_bus

if TYPE_CHECKING:
    from brokerkit import Bus
    from brokerkit.cli._port import Port

logger = get_logger(__name__)

_STOP_GRACE: Final = 20.0
"""Seconds beyond ``stop_timeout`` for a worker to stop: `Bus` needs at most 15, the interpreter the rest."""


def run(
    target: Annotated[str, Parameter(name="MODULE:BUS")],
    /,
    *,
    config: Path | None = None,
    workers: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 1,
    http: str | None = None,
    http_token_file: Path | None = None,
    control: Annotated[bool, Parameter(negative="")] = False,
    console: Annotated[bool, Parameter(negative="")] = False,
    mask: Annotated[list[str] | None, Parameter(negative="")] = None,
    uvloop: Annotated[bool, Parameter(negative="")] = False,
    log_level: LogLevel = "info",
    log_format: LogFormat = "text",
) -> int:
    """Run your bus until SIGTERM or SIGINT, then drain: running handlers finish, and other messages are released.

    SIGUSR1 pauses all sources, in all workers, and the next one resumes them.

    Args:
        target: the module that makes the bus and the bus's name in it, such as `wallet.events:bus`; modules of the
            current folder are found. With `--config` it may also be the name of a `Handlers`.
        config: make the bus from this file, and take only the handlers from the module.
        workers: how many processes share the work. A worker that dies is replaced. A second signal kills the workers.
        http: answer on this HOST:PORT, such as `127.0.0.1:9000`: /livez, /readyz, /metrics and /state. One port answers
            for all workers.
        http_token_file: a file with the token that /state needs, 16 characters at least. Without it, /state is for
            programs on the same machine.
        control: let those who may see /state also pause and resume sources over HTTP, such as with `brokerkit ctl`.
        console: add a page for the browser, /console, which also shows dead letters with bodies and headers to those who
            may see /state, and with `--control` replays and purges them.
        mask: hide fields and headers with this name in the console; may be repeated. What looks like a secret always is.
        uvloop: run on uvloop instead of asyncio's own event loop.
        log_level: what is logged to standard error.
        log_format: `json` for one line of JSON for each record, with fields.
    """
    set_up_logging(log_level, log_format)
    bus = find_bus(target, config)
    port = _port(http, http_token_file, control=control, console=console, mask=mask or ())
    if workers == 1:
        logger.info("running %s until SIGTERM or SIGINT", target)
        run_until_signalled(partial(_serve, bus, port), uvloop=uvloop)
        status = 0
    else:
        from brokerkit.cli._asking import Workers
        from brokerkit.cli._supervisor import Supervisor
        from brokerkit.cli._worker import Orders

        bus.runtime.refuse_workers(bus.handlers, workers)
        loop_factory(uvloop=uvloop)  # fails here, and not in each worker
        logger.info("running %s in %d workers until SIGTERM or SIGINT", target, workers)
        orders = Orders(target, config, uvloop, log_level, log_format, bus.runtime.settings.stop_timeout + _STOP_GRACE)
        pauses = Pauses(list(bus.runtime.settings.sources))
        answers = Workers(workers, bus.runtime, pauses) if port is not None else None
        supervisor = Supervisor(workers, orders, pauses, answers)
        with port.answering(answers, bus) if port is not None and answers is not None else nullcontext():
            status = supervisor.run()
    logger.info("%s has stopped", target)
    return status


async def _serve(bus: Bus, port: Port | None) -> None:
    with toggled(bus):
        await (bus.serve() if port is None else port.serve(bus))


def _port(
    address: str | None, token_file: Path | None, *, control: bool, console: bool, mask: Sequence[str]
) -> Port | None:
    if address is None:
        if token_file is not None:
            raise UsageError("--http-token-file goes with --http")
        if control or console:
            raise UsageError(f"--{'control' if control else 'console'} goes with --http")
    if mask and not console:
        raise UsageError("--mask goes with --console")
    if address is None:
        return None
    refuse_missing("starlette", "uvicorn")
    from brokerkit.cli._port import Port

    return Port(address, token_file, control=control, console=console, mask=mask)
