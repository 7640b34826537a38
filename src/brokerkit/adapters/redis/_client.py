"""What the three Redis adapters share: options, connections, batches of commands, errors.

Commands and answers are the bare RESP2 ones (``protocol=2``, bytes in and out, no reshaping by the client), so that one
shape of answer holds for every version of redis-py. A `Client` has a small pool for commands; what blocks (a blocking
read, a subscription) gets a `Line`, a connection of its own. Nothing retries behind our back: redis-py repeats a command
whose answer was late, which makes two stream entries out of one and parks what a blocking read fetched.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any, Final, cast, get_args

import hiredis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from brokerkit._errors import (
    AccessDenied,
    BrokerkitError,
    Closed,
    ConfigError,
    ConnectionLost,
    NotFound,
    PublishError,
    UnsupportedFeature,
)
from brokerkit._message import Outgoing, Receipt
from brokerkit._transport import Connection
from brokerkit._url import Url

log = logging.getLogger("brokerkit.redis")

Command = Sequence[Any]

# The asyncio connection packs in Python (redis-py 8.1), which takes seven times as long.
_pack: Final = cast("Callable[[tuple[Any, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType]

BULK_LIMIT: Final = 512 * 1024 * 1024
"""Bytes of one value, where the server does not say otherwise (``proto-max-bulk-len``, default 512mb)."""

POOL_SIZE: Final = 16
"""Connections for commands; with all of them busy the next command waits, where redis-py's own pool would raise."""

SLACK: Final = 10.0
"""Seconds that a blocking read may be late: below this redis-py would give up on an answer that is on its way."""

_PART: Final = 50
"""Commands that are written at once."""

_CHUNK: Final = 500
_CHUNK_BYTES: Final = 8 * 1024 * 1024
_SHARED: Final = 0.1
"""Part of the socket timeout after which the next answer gets a whole one again: what comes sooner shares one."""

_TAKEN: Final = {
    "host": "it stands in the URL",
    "port": "it stands in the URL",
    "db": "it is the path of the URL",
    "ssl": "it follows from the scheme (rediss://)",
    "connection_pool": "brokerkit keeps its own connections",
    "auto_close_connection_pool": "brokerkit keeps its own connections",
    "single_connection_client": "brokerkit keeps its own connections",
    "max_connections": "brokerkit keeps its own connections",
    "decode_responses": "bodies are bytes",
    "encoding": "brokerkit encodes by itself",
    "encoding_errors": "brokerkit encodes by itself",
    "protocol": "brokerkit reads RESP2 answers",
    "legacy_responses": "brokerkit reads RESP2 answers",
    "maint_notifications_config": "it needs RESP3, and brokerkit reads RESP2 answers",
    "retry": "a hidden retry duplicates messages; brokerkit retries where it is safe",
    "retry_on_timeout": "a hidden retry duplicates messages; brokerkit retries where it is safe",
    "retry_on_error": "a hidden retry duplicates messages; brokerkit retries where it is safe",
}


def client_options(connection: Connection) -> dict[str, Any]:
    """Keyword arguments for redis-py out of a URL and its options; nothing connects.

    Raises:
        ConfigError: an option that redis-py does not know or brokerkit sets itself, a value of the wrong kind, or a URL
            that names no database number or not exactly one host.
    """
    url = connection.url
    secure = url.scheme.startswith("rediss")
    known = inspect.signature(Redis).parameters
    settings: dict[str, Any] = {"socket_connect_timeout": connection.connect_timeout}
    for name, value in connection.options.items():
        if name in _TAKEN:
            raise ConfigError(f"{url}: the option {name!r} cannot be set: {_TAKEN[name]}")
        if name not in known:
            raise ConfigError(f"{url}: redis-py has no option {name!r}; see the arguments of redis.asyncio.Redis")
        if name.startswith("ssl_") and not secure:
            raise ConfigError(f"{url}: the option {name!r} needs TLS; write {url.scheme.replace('redis', 'rediss')}://")
        settings[name] = _converted(url, name, known[name].annotation, value)
    for name, given in (("username", url.user), ("password", url.password)):
        if given is not None:
            if name in settings:
                raise ConfigError(f"{url}: {name} is given twice, in the URL and as an option")
            settings[name] = given
    if url.hosts or "unix_socket_path" not in settings:
        settings["host"], settings["port"] = url.host(6379)
    if url.path and not url.path.isdecimal():
        raise ConfigError(f"{url}: the path is the database number, such as /0; got {url.path!r}")
    return settings | {
        "db": int(url.path or 0),
        "ssl": secure,
        "protocol": 2,
        "decode_responses": False,
        "retry": Retry(NoBackoff(), 0),
    }


def _converted(url: Url, name: str, annotation: Any, value: object) -> object:
    """Text from a URL or the environment as the number or boolean that the argument asks for."""
    kinds = get_args(annotation) or (annotation,)
    if not isinstance(value, str) or str in kinds:
        return value
    try:
        if bool in kinds:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[value.lower()]
        for kind in (int, float):
            if kind in kinds:
                return kind(value)
    except (KeyError, ValueError):
        wanted = "a boolean" if bool in kinds else "a number"
        raise ConfigError(f"{url}: the option {name!r} must be {wanted}") from None
    return value


def translate(error: BaseException, where: str, action: str) -> BrokerkitError:
    """The brokerkit error for one of redis-py or the socket; ``action`` says what was tried."""
    reason = str(error) or type(error).__name__
    code = reason.partition(" ")[0]
    text = f"{where}: {action}: {reason}"
    if isinstance(error, (AuthenticationError, AuthorizationError, NoPermissionError)) or "AUTH" in code:
        return AccessDenied(f"{text}; check user, password and the user's ACL rules")
    if isinstance(error, (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OSError)):
        return ConnectionLost(text)
    if code in {"MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "NOREPLICAS", "MISCONF"}:
        return ConnectionLost(text)
    if isinstance(error, OutOfMemoryError):
        return PublishError(f"{text}; the server is full: raise maxmemory or trim")
    if code == "NOGROUP":
        return NotFound(text)
    if code == "WRONGTYPE":
        return UnsupportedFeature(
            broker="Redis", feature=f"this ({text})", alternative="use another name, the key holds something else"
        )
    return BrokerkitError(text)


@contextmanager
def translated(where: str, action: str) -> Generator[None, None, None]:
    """Turn errors of redis-py and the socket into brokerkit's, with their cause kept."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise translate(error, where, action) from error


async def _converse(connection: Any, packed: Iterable[bytes]) -> list[Any]:
    """Write commands and collect the answers; what failed is answered by its exception.

    When the connection breaks, the answers that were read are kept, the error stands for each of the others, and the
    connection is dropped; so it is when this is cancelled.

    A part is written as soon as it is packed, so that Redis works on it while the next one is. Each part and each answer
    may take the socket timeout of the connection. redis-py (8.1) would arm a timer for each answer, which takes most of a
    pipeline's time, and make a task of each write, which waits for the handlers that are ready: Redis would have nothing
    to do while they run.
    """
    answers: list[Any] = []
    error: Exception
    commands, number = iter(packed), 0
    patience, connection.socket_timeout = connection.socket_timeout, None
    time, read = asyncio.get_running_loop().time, connection.read_response
    written = False
    try:
        async with asyncio.timeout(None) as silence:
            while part := list(islice(commands, _PART)):
                number += len(part)
                if patience is not None:
                    silence.reschedule(time() + patience)
                # A health check reads an answer: behind the first part it would read one of that part's.
                await connection.send_packed_command(b"".join(part), check_health=number == len(part))
            written, late = True, 0.0
            for _ in range(number):
                if patience is not None and time() >= late:
                    silence.reschedule(time() + patience)
                    late = time() + patience * _SHARED
                try:
                    answers.append(await read())
                except ResponseError as refused:
                    answers.append(refused)
        return answers
    except TimeoutError:
        server = getattr(connection, "path", None) or f"{connection.host}:{connection.port}"
        error = RedisTimeoutError(f"Timeout reading from {server}" if written else "Timeout writing to socket")
    except (RedisError, OSError) as broken:
        error = broken
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        connection.socket_timeout = patience
    await connection.disconnect(nowait=True)
    number += sum(1 for _ in commands)
    return answers + [error] * (number - len(answers))


class Line:
    """One connection for what blocks, apart from the pool: a blocking command or a subscription."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.id = 0

    async def connect(self) -> None:
        """Connect anew, and learn the id by which `Client.unblock` can end a blocking read."""
        await self.close()
        await self._connection.connect()
        # A user without the right to ask can read all the same.
        with suppress(ResponseError):
            self.id = await self.call("CLIENT", "ID")

    @property
    def connected(self) -> bool:
        return bool(self._connection.is_connected)

    async def write(self, *command: Any) -> None:
        await self._connection.send_command(*command)

    async def read(self) -> Any:
        return await self._connection.read_response()

    async def call(self, *command: Any) -> Any:
        """Send one command and read its answer. Cancelled or failed, the connection is dropped: an answer that is
        still to come must not be taken for the next one's.
        """
        (answer,) = await _converse(self._connection, [_pack(command)])
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def close(self) -> None:
        with suppress(RedisError, OSError):
            await self._connection.disconnect(nowait=True)


class Client:
    """The connections to one server.

    Args:
        connection: what the adapter was given.

    Raises:
        ConfigError: see `client_options`.
    """

    def __init__(self, connection: Connection) -> None:
        self.where = str(connection.url)
        self.connect_timeout = connection.connect_timeout
        self.bulk_limit = BULK_LIMIT
        self._closed = False
        try:
            # redis-py sorts its arguments into those of the client and those of a connection; the client is not used.
            made = Redis(**client_options(connection)).connection_pool
        except (TypeError, ValueError, AttributeError, RedisError) as error:
            raise ConfigError(f"{self.where}: redis-py refuses the options: {error}") from error
        self._kind: Any = made.connection_class
        self._settings: Mapping[str, Any] = made.connection_kwargs
        self._pool: Any = BlockingConnectionPool(
            max_connections=POOL_SIZE, timeout=None, connection_class=self._kind, **self._settings
        )

    async def open(self) -> None:
        """See that the server answers, and ask how large a value may be.

        Raises:
            ConnectionLost: no answer within the connect timeout.
            AccessDenied: the credentials were refused.
        """
        with translated(self.where, f"connecting within {self.connect_timeout:g} s"):
            async with asyncio.timeout(self.connect_timeout):
                await self.call("PING")
                # Managed servers often forbid CONFIG; the documented default is right there.
                with suppress(ResponseError):
                    self.bulk_limit = int((await self.call("CONFIG", "GET", "proto-max-bulk-len"))[1])

    async def call(self, *command: Any) -> Any:
        """One command; raises what the client library raises."""
        answer = (await self.pipeline([command]))[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands together and collect the answers; what failed is answered by its exception.

        When the connection breaks, the answers that came are kept, and the error stands for each of the others.
        """
        return await self._exchange([_pack(tuple(command)) for command in commands])

    async def _exchange(self, packed: Iterable[bytes]) -> list[Any]:
        """`pipeline` for commands that are packed already, or will be while Redis works on those before them."""
        if self._closed:
            return [Closed(f"{self.where}: the connection was closed") for _ in packed]
        try:
            connection = await self._pool.get_connection()
        except (RedisError, OSError) as error:
            return [error for _ in packed]
        try:
            return await _converse(connection, packed)
        finally:
            await self._pool.release(connection)

    async def send(
        self,
        batch: Sequence[Outgoing],
        command: Callable[[Outgoing], Command],
        result: Callable[[Outgoing, Any], Receipt | BrokerkitError],
    ) -> list[Receipt | BrokerkitError]:
        """Publish messages; one result for each, in order.

        Args:
            batch: the messages.
            command: makes the command of a message; may raise a BrokerkitError.
            result: makes the result of a message from Redis's answer or from the error that took its place.
        """
        refused: dict[int, BrokerkitError] = {}

        def pack() -> Iterator[bytes]:
            for place, outgoing in enumerate(batch):
                try:
                    made = command(outgoing)
                except BrokerkitError as error:
                    refused[place] = error
                else:
                    yield _pack(tuple(made))

        answers: list[Any] = []
        packed = pack()
        for first in packed:
            answers += await self._exchange(_chunk(first, packed))
            if isinstance(answers[-1], (RedisConnectionError, RedisTimeoutError, OSError)):
                # Later messages must not overtake lost ones.
                answers += [answers[-1] for _ in packed]
        answered = iter(answers)
        return [
            refused[place] if place in refused else result(outgoing, next(answered))
            for place, outgoing in enumerate(batch)
        ]

    def line(self, block: float | None) -> Line:
        """A connection of its own. Reads wait for ``block`` seconds and `SLACK`, or for ever."""
        timeout = None if block is None else block + SLACK
        return Line(self._kind(**{**self._settings, "socket_timeout": timeout}))

    async def unblock(self, line: Line) -> None:
        """End a blocking read on ``line`` at once. Best effort: without the right to do so it ends by itself."""
        if line.connected:
            await self.pipeline([("CLIENT", "UNBLOCK", line.id)])

    async def close(self) -> None:
        self._closed = True
        with suppress(RedisError, OSError):
            await self._pool.aclose()

    def __repr__(self) -> str:
        return f"<Redis connections to {self.where}: {'closed' if self._closed else 'open'}>"


def _chunk(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    """What goes out before its answers are read: so much at most is sent twice when its connection breaks."""
    size = 0
    for command in chain([first], islice(others, _CHUNK - 1)):
        yield command
        size += len(command)
        if size > _CHUNK_BYTES:
            return


def publish_error(error: BaseException, where: str, topic: str) -> BrokerkitError:
    """The result of a send that failed."""
    if isinstance(error, BrokerkitError):
        return error
    found = translate(error, where, f"publishing to {topic!r}")
    if not isinstance(found, (ConnectionLost, AccessDenied, PublishError)):
        found = PublishError(str(found))
    found.__cause__ = error
    return found
