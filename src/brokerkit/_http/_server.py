"""Listens on a port of its own, with uvicorn."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

import uvicorn
from starlette.applications import Starlette

from brokerkit._errors import ConfigError
from brokerkit._guard import guarded, start
from brokerkit._http._access import is_loopback
from brokerkit._logging import get_logger

logger = get_logger(__name__)

_LAST_ANSWERS: Final = 2
"""Seconds for requests that run when the server stops."""


def listener(address: str, *, token: bool, control: bool = False, console: bool = False) -> socket.socket:
    """Listen on an address, and warn if others can reach it.

    Args:
        address: ``HOST:PORT``, or a port of the loopback address; port 0 takes a free one.
        token: whether there is a token.
        control: whether sources can be paused over it.
        console: whether it shows dead letters.

    Raises:
        ConfigError: it is no address, or it cannot be listened on.
    """
    host, port = _parts(address)
    try:
        [(family, _, _, _, where), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        made = socket.create_server((where[0], where[1]), family=family, backlog=128)
    except OSError as error:
        raise ConfigError(f"--http {address}: cannot listen there: {error.strerror}") from error
    where = made.getsockname()
    host, port = where[0], where[1]
    logger.info("answering on http://%s:%d", f"[{host}]" if ":" in host else host, port)
    warn_of_others(host, port, token=token, control=control, console=console)
    return made


def warn_of_others(host: str, port: int, *, token: bool, control: bool = False, console: bool = False) -> None:
    """Say what other machines can see, if they reach this address."""
    if not is_loopback(host):
        parts = ["/state", *(["dead letters"] if console else []), *(["control"] if control else [])]
        asked = " and ".join([*([", ".join(parts[:-1])] if parts[1:] else []), parts[-1]])
        rule = "only with the token" if token else "only to this machine, because there is no token"
        logger.warning(
            "other machines reach port %d of %s, without TLS: /livez, /readyz and /metrics answer to anybody, %s %s",
            *(port, host, asked, rule),
        )


def _parts(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon:
        host = "127.0.0.1"
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(f"--http {address!r} is no HOST:PORT, such as 127.0.0.1:9000")
    return host, int(port)


@asynccontextmanager
async def answering(app: Starlette, listener: socket.socket) -> AsyncGenerator[None]:
    """Answer on this event loop while the block runs."""
    server = _server(app)
    serving = start(server.serve([listener]), _failed, name="brokerkit-http")
    try:
        yield
    finally:
        server.should_exit = True
        with suppress(Exception):  # it was logged when it happened
            await serving


@contextmanager
def answering_in_a_thread(app: Starlette, listener: socket.socket) -> Generator[None]:
    """Answer on an event loop in a thread of its own while the block runs."""
    server = _server(app)

    def serve() -> None:
        asyncio.run(server.serve([listener]))

    thread = threading.Thread(target=guarded(serve, _failed), name="brokerkit-http", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def _failed(error: BaseException) -> None:
    logger.error("the HTTP port answers no longer: %r", error)


def _server(app: Starlette) -> uvicorn.Server:
    return _Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,  # who is on this machine is decided by the connection
            server_header=False,
            timeout_graceful_shutdown=_LAST_ANSWERS,
        )
    )


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals to `brokerkit._signals`: the port answers until the bus has drained."""
        yield
