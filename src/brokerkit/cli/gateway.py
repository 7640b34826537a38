"""``brokerkit gateway``: push events from any broker to browsers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from brokerkit import ConfigError, MissingExtra
from brokerkit._logging import get_logger
from brokerkit.cli._output import LogFormat, LogLevel, set_up_logging

logger = get_logger(__name__)


def gateway(
    *,
    config: Path = Path("brokerkit.toml"),
    host: str | None = None,
    port: int | None = None,
    uvloop: Annotated[bool, Parameter(negative="")] = False,
    log_level: LogLevel = "info",
    log_format: LogFormat = "text",
) -> None:
    """Push events from any broker to browsers, over ThrillConnect's WebSocket API, until SIGTERM or SIGINT.

    Args:
        config: the file with a bus and the table `[gateway]`. Its functions are also looked for in the current folder.
        host: the address to listen on; overrides the file.
        port: the port to listen on; overrides the file.
        uvloop: run on uvloop instead of asyncio's own event loop.
        log_level: what is logged to standard error.
        log_format: `json` for one line of JSON for each record, with fields.
    """
    try:
        from brokerkit._vendors.gateway import Gateway
        from brokerkit._vendors.gateway._settings import Keywords
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"the gateway needs {error.name}, which is not installed: pip install 'brokerkit-sdk[gateway]'"
        ) from error
    set_up_logging(log_level, log_format)
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    words: Keywords = {}
    if host is not None:
        words["host"] = host
    if port is not None:
        words["port"] = port
    made = Gateway.from_config(config, **words)
    try:
        made.run(uvloop=uvloop)
    except OSError as error:
        raise ConfigError(f"cannot listen: {error}") from error
    logger.info("the gateway has stopped")
