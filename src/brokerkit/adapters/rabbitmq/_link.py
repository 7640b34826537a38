"""RabbitMQ connections: options, errors in brokerkit's words, and calls that may be refused.

A refused call closes the channel it came on, with everything under way there, so each declaration gets a channel of
its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import aio_pika
from aio_pika.abc import AbstractConnection
from aiormq.auth import AuthMechanism
from aiormq.channel import Channel
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ConnectionNotAllowed,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from yarl import URL

from brokerkit._errors import AccessDenied, BrokerkitError, ConfigError, ConnectionLost, NotFound
from brokerkit._transport import Connection

T = TypeVar("T")

CLIENT_ERRORS: Final = (AMQPError, ChannelInvalidStateError, OSError)
"""What a call to the client library may raise when the broker refuses it or is gone; timeouts are OSErrors."""

HEARTBEAT: Final = 10
"""Seconds. A peer that died without a word is noticed after about three of them; the client's default is 60."""

CLOSE_TIMEOUT: Final = 4.0
"""Seconds that a broker gets for what is still under way at the end of a connection."""

GOODBYE: Final = 1.5
"""Seconds that a broker gets to agree to the end itself."""

FRAMES: Final = 300
"""Frames that a channel takes in one go, three for each small message. The client's default of 10 hands messages over
by threes; 100 at once settle in fewer calls, which is worth half the time of a message (measured)."""

_PORTS: Final = {"amqp": 5672, "amqps": 5671}
_FILES: Final = ("cafile", "capath", "certfile", "keyfile")
_TLS: Final = frozenset({*_FILES, "cadata", "no_verify_ssl", "ssl_context"})
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is not text")
    return value


def _whole(value: object) -> int:
    number = int(str(value))
    if not 0 <= number < 65535:
        raise ValueError("is not between 0 and 65534")
    return number


def _flag(value: object) -> int:
    word = str(value).lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("is neither true nor false")
    return int(word in _TRUE)


def _mechanism(value: object) -> str:
    if str(value).upper() not in AuthMechanism.__members__:
        raise ValueError(f"is none of {', '.join(name.lower() for name in AuthMechanism.__members__)}")
    return str(value)


def _file(value: object) -> str:
    if not Path(str(value)).exists():
        raise ValueError("does not exist")
    return str(value)


# The parameters of a connection URL as aiormq reads them, and the keyword arguments of aio_pika.connect.
_PARAMETERS: Final[Mapping[str, Callable[[object], str | int | float]]] = {
    "auth": _mechanism,
    "cadata": _text,
    "happy_eyeballs_delay": lambda value: float(str(value)),
    "heartbeat": _whole,
    "interleave": _whole,
    "name": _text,
    "no_verify_ssl": _flag,
    **dict.fromkeys(_FILES, _file),
}
_KEYWORDS: Final = frozenset({"client_properties", "ssl_context"})


class Link:
    """How to reach one broker: makes connections, and knows how its errors read in brokerkit's words.

    Raises:
        ConfigError: the URL or an option is wrong.
    """

    def __init__(self, connection: Connection) -> None:
        url = connection.url
        host, port = url.host(_PORTS[url.scheme])
        self.url = url
        self.timeout = connection.connect_timeout
        self._keywords: dict[str, Any] = {
            name: value for name, value in connection.options.items() if name in _KEYWORDS
        }
        parameters: dict[str, str | int | float] = {"heartbeat": HEARTBEAT, "name": "brokerkit"}
        for name, value in connection.options.items():
            if name in _TLS and url.scheme == "amqp":
                raise ConfigError(f"{url}: option {name!r} needs TLS; write amqps://")
            if name in _PARAMETERS:
                try:
                    parameters[name] = _PARAMETERS[name](value)
                except ValueError as error:
                    shown = "" if name == "cadata" else f" {value!r}"
                    raise ConfigError(f"{url}: option {name!r}:{shown} {error}") from None
            elif name not in _KEYWORDS:
                known = ", ".join(sorted({*_PARAMETERS, *_KEYWORDS}))
                raise ConfigError(f"{url}: aio-pika has no connection option {name!r}; it has {known}")
        self._address = URL.build(
            scheme=url.scheme,
            host=host,
            port=port,
            user=url.user or "guest",
            password=url.password or "guest",
            path=f"/{url.path or '/'}",
            query=parameters,
        )

    async def connect(self) -> AbstractConnection:
        """Connect and log in.

        Raises:
            ConnectionLost: nobody answered within the connect timeout.
            AccessDenied: the broker refused the credentials.
            NotFound: there is no such virtual host, or it is closed to this user; the client does not tell which.
        """
        with self.translated("connect"):
            async with asyncio.timeout(self.timeout):
                connection: AbstractConnection = await aio_pika.connect(self._address, **self._keywords)
                return connection

    async def channel(self, connection: AbstractConnection) -> Channel:
        """Open a channel below aio-pika's wrappers, with confirms; returned messages raise."""
        transport = connection.transport
        if transport is None or transport.connection.is_closed:
            raise ConnectionLost(f"{self.url}: the connection is closed")
        channel = await transport.connection.channel(
            publisher_confirms=True, on_return_raises=True, frame_buffer_size=FRAMES, timeout=self.timeout
        )
        return cast("Channel", channel)  # the abstract one does not know all arguments

    async def once(self, connection: AbstractConnection, doing: str, call: Callable[[Channel], Awaitable[T]]) -> T:
        """Make one call on a channel of its own.

        Raises:
            BrokerkitError: the broker refused it, or did not answer within the connect timeout.
        """
        with self.translated(doing):
            async with asyncio.timeout(self.timeout):
                channel = await self.channel(connection)
                try:
                    return await call(channel)
                finally:
                    if not channel.is_closed:
                        await channel.close()

    @contextmanager
    def translated(self, doing: str) -> Generator[None]:
        """Raise what the client library raises as an error of brokerkit."""
        try:
            yield
        except CLIENT_ERRORS as error:
            raise self.error(error, doing) from error

    def error(self, error: BaseException | None, doing: str) -> BrokerkitError:
        """Say what an error of the client library means."""
        # The broker's own text names exchange, queue and virtual host; neither it nor the client's holds a password.
        text = str(error) or type(error).__name__
        place = f"{self.url}: cannot {doing}"
        match error:
            case ProbableAuthenticationError() | AuthenticationError():
                return AccessDenied(f"{place}: {text}; check user and password")
            case ChannelAccessRefused() | ChannelLockedResource() | ConnectionNotAllowed():
                return AccessDenied(f"{place}: {text}")
            case ChannelNotFoundEntity():
                return NotFound(f"{place}: {text}")
            case InvalidFrameError() if "Connection.OpenOk" in text:
                vhost = self.url.path or "/"
                return NotFound(f"{place}: virtual host {vhost!r} does not exist, or its user may not enter it")
            case TimeoutError():
                return ConnectionLost(f"{place}: no answer within {self.timeout:g} s")
            case _:
                return ConnectionLost(f"{place}: {text}")

    def __repr__(self) -> str:
        return f"<Link {self.url}>"


async def discard(connection: AbstractConnection) -> None:
    """Close a connection, in whatever state it is. Does not raise."""
    with suppress(*CLIENT_ERRORS):
        async with asyncio.timeout(GOODBYE):
            await connection.close()
