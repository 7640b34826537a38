"""A Redis cluster: each command goes to the server that has its slot, wherever that is now.

redis-py's cluster client finds out which server has which slot. It sends no command of ours: its pipelines repeat what a
server did not answer, which would publish twice. Commands go through the same `Server` pools as those for one server.

A server that does not have a slot (any more) says where it is, MOVED or ASK, and has done nothing: the command goes
there. When a server cannot be reached or is not a primary, the slots are looked up again before the next command. What
a server may have done before its connection broke is answered by the error, as for one server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from brokerkit.adapters.api import BrokerkitError, ConfigError, Outgoing, Receipt
from brokerkit.adapters.redis._client import BULK_LIMIT, SLACK, Command, Line, Server, chunk, closed, pack
from brokerkit.adapters.redis._errors import is_outdated, is_transient, translated
from brokerkit.adapters.redis._options import Options

Address = tuple[str, int]

REDIRECTS: Final = 5
"""How often a command follows MOVED and ASK: a slot that moves is told of by the old server, the new one, or both."""

PAUSE: Final = 0.2
"""Seconds between two look-ups of all slots at least."""

AWAY: Final = 1.0
"""Seconds for which a server that could not be reached is left alone: to find that a machine is gone takes its time, and
commands for other servers would wait with those for that one."""

_ASKING: Final = pack(("ASKING",))


class SlotMap:
    """Which server has which slot.

    Args:
        options: where the cluster is.

    Attributes:
        version: goes up whenever a slot may have another server.
    """

    def __init__(self, options: Options, where: str) -> None:
        self._seeds: tuple[Address, ...] = options.addresses
        self._options = options.client | {"require_full_coverage": False}
        self._where = where
        self._owners: dict[int, Address] = {}
        self._remap: Callable[[str, int], Address] | None = None
        self.kind: Any = None
        self.settings: dict[str, Any] = {}
        self.version = 0
        self._cluster()  # refuses what redis-py does not take

    def _cluster(self) -> Any:
        known = dict.fromkeys([*self._owners.values(), *self._seeds])
        made: Any = RedisCluster
        return made(startup_nodes=[ClusterNode(host, port) for host, port in known], **self._options)

    async def refresh(self) -> None:
        """Look all slots up again.

        Raises:
            ConfigError: the server is not a cluster.
            RedisError: no node answers, or none will say.
        """
        manager = self._cluster().nodes_manager
        try:
            await manager.initialize()
            owners = {slot: nodes[0] for slot, nodes in manager.slots_cache.items()}
        except RedisClusterException as error:
            raise self._reason(error) from error
        finally:
            with suppress(RedisError, OSError):
                await manager.aclose()
                await manager.aclose("startup_nodes")
        if node := next(iter(owners.values()), None):
            self.kind, self.settings = node.connection_class, node.connection_kwargs
        self._remap = manager.remap_host_port
        found = {slot: (str(node.host), int(node.port)) for slot, node in owners.items()}
        if found != self._owners:
            self._owners = found
            self.version += 1

    def _reason(self, error: RedisClusterException) -> Exception:
        """What redis-py hides behind an error of its own: the refusal of the node that was asked last."""
        cause = error.__cause__
        if isinstance(cause, RedisClusterException):
            cause = cause.__context__
            if isinstance(cause, ResponseError) and "cluster support disabled" in str(cause):
                return ConfigError(f"{self._where}: this server is not a cluster; write {self._scheme_of_server()}://")
        return cause if isinstance(cause, (RedisError, OSError)) else RedisConnectionError(str(error))

    def _scheme_of_server(self) -> str:
        return self._where.partition("://")[0].replace("+cluster", "")

    def known(self, slot: int) -> Address | None:
        """The server of a slot as far as it is known."""
        return self._owners.get(slot)

    def owner(self, slot: int | None) -> Address:
        """The server of a slot; any server without one.

        Raises:
            ClusterDownError: none has it.
        """
        address = next(iter(self._owners.values()), None) if slot is None else self._owners.get(slot)
        if address is None:
            raise ClusterDownError("no server has any slot" if slot is None else f"no server has slot {slot}")
        return address

    @property
    def owners(self) -> set[Address]:
        """All servers that have slots."""
        return set(self._owners.values())

    def follow(self, redirect: AskError, asked: Address) -> Address:
        """The server that a redirect names. MOVED says that all of the slot is there from now on."""
        # Without a host it is the one that was asked, at another port.
        named: Any = redirect
        address: Address = (named.host or asked[0], int(named.port))
        if self._remap is not None:
            address = self._remap(*address)
        if isinstance(redirect, MovedError) and self._owners.get(named.slot_id) != address:
            self._owners[named.slot_id] = address
            self.version += 1
        return address


class ClusterClient:
    """The connections to the servers of a cluster; see `Client`.

    Args:
        where: the URL without its password.
        connect_timeout: seconds.
        options: where the cluster is.
        primary: see `Server`.
    """

    spread = True

    def __init__(self, where: str, connect_timeout: float, options: Options, *, primary: bool) -> None:
        self.where = where
        self.connect_timeout = connect_timeout
        self.bulk_limit = BULK_LIMIT
        self.map: Final = SlotMap(options, where)
        self._wait_replicas = options.wait_replicas
        self._primary = primary
        self._servers: dict[Address, Server] = {}
        self._away: dict[Address, tuple[float, Exception]] = {}
        self._stale = True
        self._looked_up = 0.0
        self._looking = asyncio.Lock()
        self._closed = False

    async def open(self) -> None:
        with translated(self.where, f"connecting within {self.connect_timeout:g} s"):
            async with asyncio.timeout(self.connect_timeout):
                await self._look_up()
                for left in reversed(range(len(self.map.owners))):
                    try:
                        await self.call("PING")
                        break
                    except (RedisConnectionError, OSError):
                        if not left:  # all of them are away
                            raise
                # Managed servers often forbid CONFIG; the documented default is right there.
                with suppress(RedisError, OSError):
                    self.bulk_limit = int((await self.call("CONFIG", "GET", "proto-max-bulk-len"))[1])

    async def call(self, *command: Any, confirm: bool = False) -> Any:
        (answer,) = await self._run([(self._slot_of(command), pack(command))], confirm=confirm)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        return await self._run([(self._slot_of(command), pack(command)) for command in commands])

    async def send(
        self,
        batch: Sequence[Outgoing],
        command: Callable[[Outgoing], Command],
        result: Callable[[Outgoing, Any], Receipt | BrokerkitError],
    ) -> list[Receipt | BrokerkitError]:
        found: dict[int, Receipt | BrokerkitError] = {}
        slots = _Slots()
        by_server: dict[Address | None, list[int]] = {}
        for index, outgoing in enumerate(batch):
            by_server.setdefault(self.map.known(slots[outgoing.topic]), []).append(index)

        async def publish(indexes: list[int]) -> None:
            made: list[int] = []

            def packs() -> Iterator[bytes]:
                for index in indexes:
                    try:
                        packed = pack(command(batch[index]))
                    except BrokerkitError as error:
                        found[index] = error
                    else:
                        made.append(index)
                        yield packed

            packed = packs()
            for first in packed:
                begun = len(made) - 1
                commands = list(chunk(first, packed))
                parts = [slots[batch[index].topic] for index in made[begun:]]
                answers = await self._run(list(zip(parts, commands, strict=True)), confirm=True)
                if lost := next((one for one in answers if isinstance(one, Exception) and is_transient(one)), None):
                    # Later messages must not overtake lost ones.
                    answers += [lost for _ in packed]
                for index, answer in zip(made[begun:], answers, strict=True):
                    found[index] = result(batch[index], answer)

        await asyncio.gather(*map(publish, by_server.values()))
        return [found[index] for index in range(len(batch))]

    async def _run(self, commands: Sequence[tuple[int | None, bytes]], *, confirm: bool = False) -> list[Any]:
        """Have packed commands answered, each by the server that has its slot; without a slot, by any server."""
        if self._closed:
            return [closed(self.where) for _ in commands]
        answers: list[Any] = [None] * len(commands)
        # For each command that is to be sent, the server that an ASK has named.
        todo: dict[int, Address | None] = dict.fromkeys(range(len(commands)))
        for _ in range(REDIRECTS):
            try:
                await self._look_up()
            except (RedisError, OSError, ConfigError) as error:
                return [error if index in todo else answer for index, answer in enumerate(answers)]
            by_server: dict[Address, list[int]] = {}
            for index, named in todo.items():
                try:
                    by_server.setdefault(named or self._server_of(commands[index][0]), []).append(index)
                except ClusterDownError as error:
                    answers[index] = error
                    self._stale = True
            asked = [
                self._ask(server, [(commands[index][1], todo[index] is not None) for index in indexes], confirm=confirm)
                for server, indexes in by_server.items()
            ]
            todo = {}
            for (server, indexes), given in zip(by_server.items(), await _all(asked), strict=True):
                for index, answer in zip(indexes, given, strict=True):
                    answers[index] = answer
                    if isinstance(answer, AskError):
                        to = self.map.follow(answer, server)
                        todo[index] = None if isinstance(answer, MovedError) else to
            if not todo:
                return answers
        lost = TryAgainError(f"redirected {REDIRECTS} times: the servers do not agree on who has a slot")
        return [lost if index in todo else answer for index, answer in enumerate(answers)]

    async def _ask(self, address: Address, commands: list[tuple[bytes, bool]], *, confirm: bool) -> list[Any]:
        """Have a server answer packed commands; those that an ASK sent there say so."""
        now = asyncio.get_running_loop().time()
        until, error = self._away.get(address, (0.0, None))
        if error is not None and now < until:
            return [error] * len(commands)
        packed = [part for command, asking in commands for part in ((_ASKING, command) if asking else (command,))]
        server = self._server(address)
        answers = iter(await server.exchange(packed, confirm=confirm))
        found: list[Any] = []
        for _, asking in commands:
            if asking:
                next(answers)
            found.append(next(answers))
        lost = next((one for one in found if isinstance(one, Exception) and is_outdated(one)), None)
        if lost is not None:
            self._stale = True
            if server.unreachable:
                self._away[address] = (asyncio.get_running_loop().time() + AWAY, lost)
        return found

    def _server_of(self, slot: int | None) -> Address:
        """The server of a slot; without one, any that is not known to be away."""
        if slot is None:
            now = asyncio.get_running_loop().time()
            for address in self.map.owners:
                if self._away.get(address, (0.0, None))[0] <= now:
                    return address
        return self.map.owner(slot)

    def _server(self, address: Address) -> Server:
        if (server := self._servers.get(address)) is None:
            settings = {**self.map.settings, "host": address[0], "port": address[1]}
            server = self._servers[address] = Server(
                self.map.kind, settings, primary=self._primary, wait_replicas=self._wait_replicas
            )
        return server

    async def _look_up(self) -> None:
        """Look the slots up, if one may have another server now."""
        if not self._stale:
            return
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if not self._stale or now < self._looked_up + PAUSE:
                return
            self._looked_up = now
            await self.map.refresh()
            self._stale = False
            for address in self._servers.keys() - self.map.owners:
                self._away.pop(address, None)
                await self._servers.pop(address).renew()

    def _slot_of(self, command: Command) -> int | None:
        key = _key_of(command)
        return None if key is None else self.slot(key)

    def slot(self, key: str | bytes) -> int:
        return key_slot(key.encode() if isinstance(key, str) else key)

    def line(self, block: float | None, key: str | bytes) -> Line:
        timeout = None if block is None else block + SLACK

        async def make() -> Any:
            await self._look_up()
            return self._server(self.map.owner(self.slot(key))).connection(timeout)

        return Line(make, self.renew)

    def line_to(self, address: Address) -> Line:
        """A separate connection to a server. Reads wait for ever."""

        async def make() -> Any:
            return self._server(address).connection(None)

        async def no_more() -> None: ...

        return Line(make, no_more)

    async def renew(self) -> None:
        self._stale = True
        for server in self._servers.values():
            await server.renew()

    async def close(self) -> None:
        self._closed = True
        for server in self._servers.values():
            await server.close()

    def __repr__(self) -> str:
        return f"<Redis connections to {self.where}: {'closed' if self._closed else 'open'}>"


class _Slots(dict[str, int]):
    """The slots of topics: one that many messages go to is computed once."""

    def __missing__(self, topic: str) -> int:
        # What cannot be written as UTF-8 is refused when its command is made.
        slot = self[topic] = key_slot(topic.encode(errors="surrogatepass"))
        return slot


async def _all(asked: Sequence[Coroutine[Any, Any, list[Any]]]) -> list[list[Any]]:
    return [await asked[0]] if len(asked) == 1 else await asyncio.gather(*asked)


_KEYLESS: Final = frozenset({"PING", "CONFIG", "INFO", "ROLE"})
_PLACES: Final = {"EVAL": 3, "XGROUP": 2, "XINFO": 2}
"""Where the first key of a command is, if it is not the first argument."""


def _key_of(command: Command) -> str | bytes | None:
    """The first key of a command; all others lie in the same slot."""
    name = command[0]
    if name in _KEYLESS:
        return None
    if name in ("XREADGROUP", "XREAD"):
        # A group or consumer may have the name of the word.
        at = command.index("STREAMS", 4 if name == "XREADGROUP" else 1) + 1
    else:
        at = _PLACES.get(name, 1)
    key: str | bytes = command[at]
    return key
