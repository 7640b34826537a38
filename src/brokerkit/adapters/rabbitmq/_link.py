"""RabbitMQ connections: options, translated errors, and calls that the broker may refuse.

A refused call closes its channel, with everything under way on it. So each declaration uses a separate channel.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
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
    ChannelPreconditionFailed,
    ConnectionNotAllowed,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from yarl import URL

from brokerkit.adapters.api import (
    AccessDenied,
    BrokerkitError,
    ConfigError,
    Connection,
    ConnectionLost,
    NotFound,
    TlsFiles,
    describe,
)
from brokerkit.adapters.rabbitmq._client_log import logged_as_ours
from brokerkit.adapters.rabbitmq._frames import TolerantConnection
from brokerkit.adapters.rabbitmq._management import Management

T = TypeVar("T")

CLIENT_ERRORS: Final = (AMQPError, ChannelInvalidStateError, OSError)
"""A call to the client library may raise these when the broker refuses it or is gone. A timeout is an OSError."""

HEARTBEAT: Final = 10
"""Seconds. A dead peer is noticed after about three heartbeats. The client's default is 60."""

CLOSE_TIMEOUT: Final = 4.0
"""Seconds that the broker gets, at the end of a connection, for what is still under way."""

DISCONNECT_TIMEOUT: Final = 1.5
"""Seconds that the broker gets to answer the close itself."""

CONSUMER_TIMEOUT: Final = 1800.0
"""The broker's default. It closes a channel that did not settle a delivery for this many seconds. It tells its own
value only then."""

GIVES_BACK_FREELY: Final = (4, 3)
"""The version from which on a quorum queue does not count a message as delivered that was given back."""

_TIMED_OUT: Final = re.compile(r"timed out\. Timeout value used: (\d+) ms")

FRAME_BUFFER: Final = 300
"""Frames that a channel takes at once where streams and cursors are read; a small message has three. With the client's
default of 10, messages come three at a time. A hundred at once settle in fewer calls."""

_PORTS: Final = {"amqp": 5672, "amqps": 5671}
_FILES: Final = ("cafile", "capath", "certfile", "keyfile")
_OWN_CONTEXT: Final = frozenset({*_FILES, "cadata", "key_password", "no_verify_ssl"})
_TLS: Final = _OWN_CONTEXT | {"ssl_context"}
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


def _parse_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is not text")
    return value


def _parse_whole(value: object) -> int:
    number = int(str(value))
    if not 0 <= number < 65535:
        raise ValueError("is not between 0 and 65534")
    return number


def _parse_flag(value: object) -> int:
    word = str(value).lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("is neither true nor false")
    return int(word in _TRUE)


def _parse_mechanism(value: object) -> str:
    if str(value).upper() not in AuthMechanism.__members__:
        raise ValueError(f"is not one of {', '.join(name.lower() for name in AuthMechanism.__members__)}")
    return str(value)


def _parse_file(value: object) -> str:
    if not Path(str(value)).exists():
        raise ValueError("does not exist")
    return str(value)


# Parameters of a connection URL for aiormq, and what a TLS context is made of. Below: keyword arguments of aio_pika.connect.
_PARAMETERS: Final[Mapping[str, Callable[[object], str | int | float]]] = {
    "auth": _parse_mechanism,
    "cadata": _parse_text,
    "happy_eyeballs_delay": lambda value: float(str(value)),
    "heartbeat": _parse_whole,
    "interleave": _parse_whole,
    "key_password": _parse_text,
    "name": _parse_text,
    "no_verify_ssl": _parse_flag,
    **dict.fromkeys(_FILES, _parse_file),
}
_KEYWORDS: Final = frozenset({"client_properties", "ssl_context"})


class Link:
    """Makes connections to one broker, and translates its errors.

    Raises:
        ConfigError: the URL or an option is wrong.
    """

    def __init__(self, connection: Connection) -> None:
        url = connection.url
        addresses = url.addresses(_PORTS[url.scheme])
        self.url = url
        self.timeout = connection.connect_timeout
        self.consumer_timeout = CONSUMER_TIMEOUT
        self._keywords: dict[str, Any] = {
            name: value for name, value in connection.options.items() if name in _KEYWORDS
        }
        parameters: dict[str, str | int | float] = {"heartbeat": HEARTBEAT, "name": "brokerkit"}
        for name, value in connection.options.items():
            if name == "consumer_timeout":
                self.consumer_timeout = self._positive(name, value)
                continue
            if name == "management":
                continue
            if name in _TLS and url.scheme == "amqp":
                raise ConfigError(f"{url}: option {name!r} needs TLS; write amqps://")
            if name in _PARAMETERS:
                try:
                    parameters[name] = _PARAMETERS[name](value)
                except ValueError as error:
                    shown = "" if name in ("cadata", "key_password") else f" {value!r}"
                    raise ConfigError(f"{url}: option {name!r}:{shown} {error}") from None
            elif name not in _KEYWORDS:
                known = ", ".join(sorted({*_PARAMETERS, *_KEYWORDS, "consumer_timeout", "management"}))
                raise ConfigError(f"{url}: aio-pika has no connection option {name!r}; it has {known}")
        cafile = str(parameters.get("cafile", ""))
        tls = {name: parameters.pop(name) for name in _OWN_CONTEXT & parameters.keys()}
        self._verify = not tls.pop("no_verify_ssl", 0)
        self._files = None
        if url.scheme == "amqps" and "ssl_context" not in self._keywords:
            names = {"certfile": "certificate", "keyfile": "key", "key_password": "password"}
            self._files = TlsFiles(**{names.get(name, name): str(value) for name, value in tls.items()})
            self._files.check(str(url))
        self._password = connection.password
        self._addresses = [
            URL.build(
                scheme=url.scheme,
                host=host,
                port=port,
                user=url.user or "guest",
                password=url.password or "guest",
                path=f"/{url.path or '/'}",
                query=parameters,
            )
            for host, port in addresses
        ]
        self._first = 0
        self.management: Management | None = None
        if management := connection.options.get("management"):
            self.management = Management(
                str(management),
                user=url.user or "guest",
                password=self._password or (lambda: url.password or "guest"),
                vhost=url.path or "/",
                cafile=cafile,
                timeout=self.timeout,
            )

    def _positive(self, name: str, value: object) -> float:
        try:
            seconds = float(str(value))
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < math.inf:
            raise ConfigError(f"{self.url}: option {name!r}: {value!r} is not a number of seconds above 0")
        return seconds

    async def connect(self) -> AbstractConnection:
        """Connect and log in to the first host that answers. The search begins at the host that answered last.

        Each host gets an equal share of the time that is left, so a silent host leaves time for the others. After a
        cancellation, the next call begins with the next host.

        Raises:
            ConnectionLost: no host answered within the connect timeout.
            AccessDenied: the broker refused the credentials.
            NotFound: the virtual host does not exist, or this user may not enter it. The client does not tell which.
        """
        loop = asyncio.get_running_loop()
        give_up, lost = loop.time() + self.timeout, list[str]()
        hosts = len(self._addresses)
        password, keywords = await self._credentials()
        for number in range(hosts):
            index = self._first
            address, self._first = self._addresses[index], (index + 1) % hosts
            left = give_up - loop.time()
            try:
                with self.translated("connect"), logged_as_ours():
                    async with asyncio.timeout(left / (hosts - number)):
                        connection: AbstractConnection = await aio_pika.connect(
                            address if password is None else address.with_password(password),
                            connection_class=TolerantConnection,
                            **keywords,
                        )
                        self._first = index
                        return connection
            except ConnectionLost as error:
                if hosts == 1:
                    raise
                lost.append(f"{address.host}:{address.port}: {error.__cause__ or error}")
        raise ConnectionLost(f"{self.url}: cannot connect to any of {len(lost)} hosts: {'; '.join(lost)}")

    async def _credentials(self) -> tuple[str | None, dict[str, Any]]:
        """The password and the keywords of a new connection. Files are read again: they may have been rotated."""
        try:
            async with asyncio.timeout(self.timeout):
                password = None if self._password is None else await asyncio.to_thread(self._password)
        except TimeoutError as error:
            raise ConnectionLost(f"{self.url}: the password did not come within {self.timeout:g} s") from error
        if self._files is None:
            return password, self._keywords
        try:
            context = await asyncio.to_thread(self._files.client, verify=self._verify)
        except OSError as error:
            raise ConnectionLost(f"{self.url}: a certificate cannot be used: {error}") from error
        return password, {**self._keywords, "ssl_context": context}

    async def channel(self, connection: AbstractConnection) -> Channel:
        """Open a channel of aiormq, with publisher confirms. A returned message raises."""
        transport = connection.transport
        if transport is None or transport.connection.is_closed:
            raise ConnectionLost(f"{self.url}: the connection is closed")
        with logged_as_ours():
            channel = await transport.connection.channel(
                publisher_confirms=True, on_return_raises=True, frame_buffer_size=FRAME_BUFFER, timeout=self.timeout
            )
        return cast("Channel", channel)  # the abstract class does not declare all arguments

    async def run_on_channel(
        self, connection: AbstractConnection, doing: str, call: Callable[[Channel], Awaitable[T]]
    ) -> T:
        """Make one call on a channel that is opened for it.

        Raises:
            BrokerkitError: the broker refused the call, or did not answer within the connect timeout.
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
        """Raise errors of the client library as errors of brokerkit."""
        try:
            yield
        except CLIENT_ERRORS as error:
            raise self.error(error, doing) from error

    def defect(self, error: BaseException) -> BrokerkitError:
        """Return the error that ends a source because of a defect in it, or in the core's handling of lost deliveries."""
        failure = BrokerkitError(f"the source on {self.url} failed: {type(error).__name__}: {describe(error)}")
        failure.__cause__ = error
        return failure

    def error(self, error: BaseException | None, doing: str) -> BrokerkitError:
        """Translate an error of the client library."""
        # The broker's text names exchange, queue and virtual host. Neither its text nor the client's holds a password.
        text = str(error) or type(error).__name__
        failed = f"{self.url}: cannot {doing}"
        match error:
            case ProbableAuthenticationError() | AuthenticationError():
                return AccessDenied(f"{failed}: {text}; check user and password")
            case ChannelAccessRefused() | ChannelLockedResource() | ConnectionNotAllowed():
                return AccessDenied(f"{failed}: {text}")
            case ChannelNotFoundEntity():
                return NotFound(f"{failed}: {text}")
            case InvalidFrameError() if "Connection.OpenOk" in text:
                vhost = self.url.path or "/"
                return NotFound(f"{failed}: virtual host {vhost!r} does not exist, or its user may not enter it")
            case ChannelPreconditionFailed() if found := _TIMED_OUT.search(text):
                self.consumer_timeout = int(found[1]) / 1000
                return ConnectionLost(
                    f"{failed}: the broker waited {self.consumer_timeout:g} s (its consumer_timeout) for a settlement and "
                    "redelivers the messages. From now on, waiting messages are given back earlier. Handlers must be faster"
                )
            case TimeoutError():
                return ConnectionLost(f"{failed}: no answer within {self.timeout:g} s")
            case _:
                return ConnectionLost(f"{failed}: {text}")

    def __repr__(self) -> str:
        return f"<Link {self.url}>"


def server_version(channel: Channel) -> tuple[int, ...]:
    """The version of the broker behind a channel: its first two numbers, or (0,) where it tells none."""
    version = channel.connection.server_properties.get("version")
    found = re.match(r"(\d+)\.(\d+)", version if isinstance(version, str) else "")
    return tuple(map(int, found.groups())) if found else (0,)


async def discard(connection: AbstractConnection) -> None:
    """Close a connection in any state. Does not raise."""
    with suppress(*CLIENT_ERRORS):
        async with asyncio.timeout(DISCONNECT_TIMEOUT):
            await connection.close()


async def while_open(channel: Channel, writing: Coroutine[Any, Any, None]) -> None:
    """Write to a channel, and stop when the channel ends.

    The client queues ten frames for each connection. A writer that waits for room there is not told when the connection
    breaks, and would wait for ever (aiormq 7.2.4).

    Raises:
        ChannelInvalidStateError: the channel ended first.
    """
    task: asyncio.Future[Any] = asyncio.ensure_future(writing)
    closing: asyncio.Future[Any] = channel.closing  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    try:
        await asyncio.wait({task, closing}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ChannelInvalidStateError("the channel ended before everything was written")
    finally:
        task.cancel()
    task.result()
