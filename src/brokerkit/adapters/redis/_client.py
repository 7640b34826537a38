"""What the Redis adapters share: connections, batches of commands, publishing.

Commands and answers are plain RESP2 (``protocol=2``, bytes in and out, not reshaped by the client), so that answers look the
same with every version of redis-py. A `Server` has a small pool for commands. A blocking read or a subscription gets a
`Line`, a separate connection. redis-py's own retries are off: it repeats a command whose answer is late, which writes a
stream entry twice and leaves pending what a blocking read fetched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Any, Final, Protocol, TypeVar, cast
from weakref import WeakKeyDictionary

import hiredis
from redis.asyncio import BlockingConnectionPool
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from brokerkit.adapters.api import BrokerkitError, Closed, NameStyle, Outgoing, Receipt, UnsupportedFeature
from brokerkit.adapters.redis._errors import is_outdated, is_transient, translated, with_command

Command = Sequence[Any]

T = TypeVar("T")

NAME_STYLE: Final = NameStyle(limit=1024, hash_tag=True)
"""Keys hold any bytes up to 512 MB; the limit only keeps them readable."""

# The asyncio connection of redis-py 8.1 packs in Python, which takes seven times as long.
_pack: Final = cast("Callable[[tuple[Any, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType]

BULK_LIMIT: Final = 512 * 1024 * 1024
"""Most bytes of one value, unless the server says otherwise (``proto-max-bulk-len``, default 512mb)."""

POOL_SIZE: Final = 16
"""Connections for commands. If all are busy, the next command waits; redis-py's own pool would raise."""

SLACK: Final = 10.0
"""Seconds that a blocking read may be late. With less, redis-py would give up on an answer that is on its way."""

ASK: Final = 1.0
"""Seconds after which a connection is asked again whether it leads to a primary."""

CONFIRM: Final = 1.0
"""Seconds for which replicas are waited for, where publishing waits for them."""

_AT_ONCE: Final = 250
"""Streams or lists that one script looks at: about half a millisecond."""

_PART: Final = 50
"""Commands that are written at once."""

_CHUNK: Final = 500
_CHUNK_BYTES: Final = 8 * 1024 * 1024
_SHARED: Final = 0.1
"""Part of the socket timeout after which the next answer gets a new one. Answers that come sooner share one."""


def pack(command: Command) -> bytes:
    """A command as it goes over the wire."""
    return _pack(tuple(command))


async def _converse(connection: Any, packed: Iterable[bytes]) -> list[Any]:
    """Write commands and collect the answers. The answer of a command that failed is its exception.

    If the connection breaks, the answers that were read are kept, each other answer is the error, and the connection is
    dropped. It is also dropped if this is cancelled, and after a refusal that another server might not give.

    A part is written as soon as it is packed, so that Redis works on it while the next one is. Each part and each answer
    may take the socket timeout of the connection. redis-py (8.1) would arm a timer for each answer, which takes most of a
    pipeline's time, and make a task of each write, which waits for the handlers that are ready: Redis would have nothing
    to do while they run.
    """
    answers: list[Any] = []
    error: Exception
    commands, sent = iter(packed), list[bytes]()
    timeout, connection.socket_timeout = connection.socket_timeout, None
    time, read = asyncio.get_running_loop().time, connection.read_response
    written = outdated = False
    try:
        async with asyncio.timeout(None) as silence:
            while part := list(islice(commands, _PART)):
                sent += part
                if timeout is not None:
                    silence.reschedule(time() + timeout)
                # A health check reads an answer. After the first part it would read one of that part.
                await connection.send_packed_command(b"".join(part), check_health=len(sent) == len(part))
            written, late = True, 0.0
            for command in sent:
                if timeout is not None and time() >= late:
                    silence.reschedule(time() + timeout)
                    late = time() + timeout * _SHARED
                try:
                    answers.append(await read())
                except ResponseError as refused:
                    answers.append(with_command(refused, command))
                    outdated = outdated or is_outdated(refused)
        if outdated:
            await connection.disconnect(nowait=True)
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
        connection.socket_timeout = timeout
    await connection.disconnect(nowait=True)
    number = len(sent) + sum(1 for _ in commands)
    return answers + [error] * (number - len(answers))


class Line:
    """One connection outside the pool, for a blocking command or a subscription.

    Args:
        make: redis-py's connection, not connected yet, to the server that this is about now.
        again: called before it connects again.
    """

    def __init__(self, make: Callable[[], Awaitable[Any]], again: Callable[[], Awaitable[None]]) -> None:
        self._make = make
        self._connection: Any = None
        self._again = again
        self._was_connected = False
        self.id = 0

    async def connect(self) -> None:
        """Connect again, and learn the id by which `ServerClient.unblock` can end a blocking read."""
        await self.close()
        if self._was_connected:
            await self._again()
        self._was_connected = True
        self._connection = await self._make()
        await self._connection.connect()
        # A user without the right to ask can read all the same.
        with suppress(ResponseError):
            self.id = await self.call("CLIENT", "ID")

    @property
    def connected(self) -> bool:
        return self._connection is not None and bool(self._connection.is_connected)

    async def write(self, *command: Any) -> None:
        await self._connection.send_command(*command)

    async def read(self) -> Any:
        return await self._connection.read_response()

    async def call(self, *command: Any) -> Any:
        """Send one command and read its answer. If it fails or is cancelled, the connection is dropped: a late answer must
        not be taken for the answer of the next command.
        """
        (answer,) = await self.pipeline([command])
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """`call` for several commands; what failed is answered by its exception."""
        return await _converse(self._connection, [pack(command) for command in commands])

    async def close(self) -> None:
        if self._connection is not None:
            with suppress(RedisError, OSError):
                await self._connection.disconnect(nowait=True)


class Server:
    """A pool of connections to one server, or to whichever one its address or Sentinel names.

    Args:
        kind: redis-py's class of the connections.
        settings: what each is made of.
        primary: send commands only to a primary. A replica accepts some of them without effect.
        wait_replicas: how many replicas must have what is to be confirmed.

    Attributes:
        unreachable: whether the last attempt to connect failed.
    """

    def __init__(self, kind: Any, settings: Mapping[str, Any], *, primary: bool, wait_replicas: int) -> None:
        self._kind = kind
        self._settings = settings
        self._primary = primary
        self._replicas = wait_replicas
        self._short = False
        self._known: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        self._pool: Any = self._new_pool()
        self._closed = False
        self.unreachable = False

    def _new_pool(self) -> BlockingConnectionPool:
        return BlockingConnectionPool(
            max_connections=POOL_SIZE, timeout=None, connection_class=self._kind, **self._settings
        )

    async def exchange(self, packed: Iterable[bytes], *, confirm: bool = False) -> list[Any]:
        """Have packed commands answered, which may be packed while Redis works on those before them.

        What failed is answered by its exception. When the connection breaks, the answers that came are kept, and the
        error stands for each of the others.

        Args:
            packed: the commands.
            confirm: answer with an error for all of them where too few replicas have what they wrote.
        """
        pool = self._pool
        try:
            connection = await pool.get_connection()
        except (RedisError, OSError) as error:
            self.unreachable = True
            return [error for _ in packed]
        except BaseException:
            if self._is_dropped(pool):  # Nobody else closes what was opened since.
                await pool.disconnect(inuse_connections=False)
            raise
        self.unreachable = False
        try:
            if self._primary and (refused := await self._refuse_replica(connection)) is not None:
                answers: list[Any] = [refused for _ in packed]
            elif confirm and self._replicas:
                answers = await self._confirmed(connection, packed)
            else:
                answers = await _converse(connection, packed)
        finally:
            if self._is_dropped(pool):
                await connection.disconnect(nowait=True)
            await pool.release(connection)
        if pool is self._pool and not connection.is_connected:
            await self.renew()
        return answers

    def _is_dropped(self, pool: Any) -> bool:
        """Whether the connections of a pool are closed already, except those that were being used."""
        return self._closed or pool is not self._pool

    async def _confirmed(self, connection: Any, packed: Iterable[bytes]) -> list[Any]:
        if self._short and (refused := await self._count_replicas(connection)) is not None:
            # What was written once without replicas would be written again with each attempt.
            return [refused for _ in packed]
        wait = pack(("WAIT", self._replicas, round(CONFIRM * 1000)))
        *answers, number = await _converse(connection, chain(packed, [wait]))
        self._short = isinstance(number, int) and number < self._replicas
        if self._short:
            number = self._too_few(number)
        if isinstance(number, BaseException):
            return [answer if isinstance(answer, BaseException) else number for answer in answers]
        return answers

    async def _count_replicas(self, connection: Any) -> Exception | None:
        """The error where too few replicas are connected, or the server cannot be asked."""
        (role,) = await _converse(connection, [pack(("ROLE",))])
        if isinstance(role, list):
            replicas = cast("list[Any]", role[2]) if role[0] == b"master" else []
            return None if len(replicas) >= self._replicas else self._too_few(len(replicas))
        return role if is_transient(role) else None  # the user may not ask

    def _too_few(self, number: int) -> ResponseError:
        return ResponseError(f"NOREPLICAS {number} of {self._replicas} replicas have what was written")

    async def _refuse_replica(self, connection: Any) -> RedisError | None:
        """The error if a connection does not lead to a primary. None if it does, or if the user may not ask."""
        now = asyncio.get_running_loop().time()
        if now < self._known.get(connection, 0):
            return None
        (role,) = await _converse(connection, [pack(("ROLE",))])
        if isinstance(role, RedisError) and is_transient(role):
            return role
        if isinstance(role, list) and role[0] != b"master":
            await connection.disconnect(nowait=True)
            return ReadOnlyError("this server is a replica")
        self._known[connection] = now + ASK
        return None

    def connection(self, socket_timeout: float | None) -> Any:
        """A connection apart from the pool, not connected yet."""
        return self._kind(**{**self._settings, "socket_timeout": socket_timeout})

    async def renew(self) -> None:
        """Drop the connections of the pool, because what happened to one has happened to all.

        Otherwise each of them would fail once. One that is asked only for what a replica also answers would never fail.
        """
        old, self._pool = self._pool, self._new_pool()
        with suppress(RedisError, OSError):
            await old.disconnect(inuse_connections=False)

    async def close(self) -> None:
        self._closed = True
        with suppress(RedisError, OSError):
            await self._pool.aclose()


class Client(Protocol):
    """Commands for one server or for a cluster: an adapter does not know which.

    Attributes:
        where: the URL without its password.
        connect_timeout: seconds.
        bulk_limit: bytes of one value.
        spread: whether keys lie in several slots, which no command and no script may mix.
    """

    where: str
    connect_timeout: float
    bulk_limit: int
    spread: bool

    async def open(self) -> None:
        """See that the server answers, and ask how large a value may be.

        Raises:
            ConnectionLost: no answer within the connect timeout.
            AccessDenied: the credentials were refused.
            ConfigError: the server is of another kind than the URL says.
        """
        ...

    async def call(self, *command: Any, confirm: bool = False) -> Any:
        """One command; raises what the client library raises. With ``confirm`` replicas have what it wrote, too."""
        ...

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands together and collect the answers. The answer of a command that failed is its exception.

        When the connection breaks, the answers that came are kept, and the error stands for each of the others.
        """
        ...

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
        ...

    def slot(self, key: str | bytes) -> int:
        """Where a key lies: keys of one slot may be used together."""
        ...

    def line(self, block: float | None, key: str | bytes) -> Line:
        """A separate connection to the server of a key. Reads wait for ``block`` seconds and `SLACK`, or for ever."""
        ...

    async def renew(self) -> None:
        """Drop the connections for commands, and what is known of who is a primary."""
        ...

    async def close(self) -> None: ...


class ServerClient:
    """The connections to one server; see `Client`.

    Args:
        where: the URL without its password.
        connect_timeout: seconds.
        server: its pool.
        release: called at the end.
    """

    spread = False

    def __init__(
        self, where: str, connect_timeout: float, server: Server, release: Callable[[], Awaitable[None]]
    ) -> None:
        self.where = where
        self.connect_timeout = connect_timeout
        self.bulk_limit = BULK_LIMIT
        self._server = server
        self._release = release
        self._closed = False

    async def open(self) -> None:
        with translated(self.where, f"connecting within {self.connect_timeout:g} s"):
            async with asyncio.timeout(self.connect_timeout):
                await self.call("PING")
                # Managed servers often forbid CONFIG; the documented default is right there.
                with suppress(ResponseError):
                    self.bulk_limit = int((await self.call("CONFIG", "GET", "proto-max-bulk-len"))[1])

    async def call(self, *command: Any, confirm: bool = False) -> Any:
        (answer,) = await self._exchange([pack(command)], confirm=confirm)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        return await self._exchange([pack(command) for command in commands])

    async def _exchange(self, packed: Iterable[bytes], *, confirm: bool = False) -> list[Any]:
        if self._closed:
            return [closed(self.where) for _ in packed]
        return await self._server.exchange(packed, confirm=confirm)

    async def send(
        self,
        batch: Sequence[Outgoing],
        command: Callable[[Outgoing], Command],
        result: Callable[[Outgoing, Any], Receipt | BrokerkitError],
    ) -> list[Receipt | BrokerkitError]:
        refused: dict[int, BrokerkitError] = {}

        def packs() -> Iterator[bytes]:
            for index, outgoing in enumerate(batch):
                try:
                    made = command(outgoing)
                except BrokerkitError as error:
                    refused[index] = error
                else:
                    yield _pack(tuple(made))

        answers: list[Any] = []
        packed = packs()
        for first in packed:
            answers += await self._exchange(chunk(first, packed), confirm=True)
            if isinstance(answers[-1], BaseException) and is_transient(answers[-1]):
                # Later messages must not overtake lost ones.
                answers += [answers[-1] for _ in packed]
        answered = iter(answers)
        return [
            refused[index] if index in refused else result(outgoing, next(answered))
            for index, outgoing in enumerate(batch)
        ]

    def slot(self, key: str | bytes) -> int:
        return 0

    def line(self, block: float | None, key: str | bytes) -> Line:
        timeout = None if block is None else block + SLACK

        async def make() -> Any:
            return self._server.connection(timeout)

        return Line(make, self.renew)

    async def unblock(self, line: Line) -> None:
        """End a blocking read on ``line`` at once, if the user has the right to do so. Otherwise it ends by itself."""
        if line.connected:
            await self.pipeline([("CLIENT", "UNBLOCK", line.id)])

    async def renew(self) -> None:
        await self._server.renew()

    async def close(self) -> None:
        self._closed = True
        await self._server.close()
        await self._release()

    def __repr__(self) -> str:
        return f"<Redis connections to {self.where}: {'closed' if self._closed else 'open'}>"


def in_slots(client: Client, items: Iterable[T], key: Callable[[T], str | bytes]) -> list[list[T]]:
    """Items in parts of one slot, and small enough for a script that looks at all of them not to hold up the server."""
    slots: dict[int, list[T]] = {}
    for item in items:
        slots.setdefault(client.slot(key(item)), []).append(item)
    return [found[first : first + _AT_ONCE] for found in slots.values() for first in range(0, len(found), _AT_ONCE)]


async def ask_parts(
    client: Client, script: str, parts: Sequence[tuple[list[T], Sequence[str | bytes], Sequence[Any]]]
) -> list[tuple[list[T], Any]]:
    """Run a script that looks at many keys, part by part. Return each part with its answer.

    A part is left out if its server is away and there are others.

    Args:
        client: to the server, or to the cluster.
        script: the script.
        parts: items of one slot, as `in_slots` gives them, with the script's keys and arguments for them.
    """
    commands = [("EVAL", script, len(keys), *keys, *arguments) for _, keys, arguments in parts]
    found: list[tuple[list[T], Any]] = []
    for (part, _, _), answer in zip(parts, await client.pipeline(commands), strict=True):
        if not isinstance(answer, BaseException):
            found.append((part, answer))
        elif not is_part_away(client, answer):
            raise answer
    return found


def is_part_away(client: Client, error: object) -> bool:
    """Whether an answer says that one server of several is away, or moves a slot. That does not concern the others."""
    return client.spread and isinstance(error, BaseException) and is_transient(error)


def check_slot(client: Client, topic: str, keys: Iterable[str | bytes]) -> None:
    """Refuse a topic with keys beside it that no script could use together with it.

    Raises:
        UnsupportedFeature: the topic has a brace that ends no hash tag, or is so long that its keys have none.
    """
    slot = client.slot(topic)
    if any(client.slot(key) != slot for key in keys):
        raise UnsupportedFeature(
            broker="Redis Cluster",
            feature=f"a topic {topic!r}, whose keys cannot share a hash tag",
            alternative="use a shorter name without braces, or one with a hash tag of its own, such as {deals}.eu",
        )


def closed(where: str) -> Closed:
    """The answer of a client that was closed."""
    return Closed(f"{where}: the connection was closed")


def chunk(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    """Parts that are written before their answers are read. At most one such part is sent twice when the connection
    breaks.
    """
    size = 0
    for command in chain([first], islice(others, _CHUNK - 1)):
        yield command
        size += len(command)
        if size > _CHUNK_BYTES:
            return
