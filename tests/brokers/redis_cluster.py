"""Redis in several processes: a cluster, and a primary with a replica that Sentinels watch over."""

# The client comes with types in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from tests.brokers._ports import free_port
from tests.brokers._server import LocalServer, Program, new_folder
from tests.brokers._urls import PASSWORD, USER
from tests.brokers.redis import LARGEST_VALUE, program

SLOTS = 16_384
_TIMEOUT = 30.0
_BUS = 10_000


def client(port: int, **options: Any) -> Any:
    """A client of one node, which tries nothing twice."""
    made: Any = redis.Redis
    settings = {
        "username": USER,
        "password": PASSWORD,
        "socket_timeout": 5,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
    }
    return made(host="127.0.0.1", port=port, **{**settings, **options})


def until(true: Callable[[], object]) -> None:
    """Wait until servers agree on something; what they refuse meanwhile is no answer."""
    give_up = time.monotonic() + _TIMEOUT
    while True:
        with suppress(redis.RedisError, OSError):
            if true():
                return
        assert time.monotonic() < give_up, f"not true within {_TIMEOUT:g} s: {true}"
        time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Node:
    """One Redis process."""

    port: int
    server: LocalServer
    settings: Path
    bus: int = 0

    def about(self) -> dict[str, str]:
        """What a Sentinel knows of the one primary that it watches over."""
        ((*flat,),) = self.call("SENTINEL", "MASTERS")
        return dict(zip(map(bytes.decode, flat[::2]), map(bytes.decode, flat[1::2]), strict=True))

    def call(self, *command: Any) -> Any:
        """One command, on a connection of its own; its bare answer."""
        with closing(client(self.port)) as asked:
            asked.response_callbacks.clear()
            return asked.execute_command(*command)

    def fact(self, name: str, *command: Any) -> str:
        """One line of an answer such as that of INFO."""
        lines: list[str] = self.call(*command).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)[name]

    @property
    def is_primary(self) -> bool:
        return bool(self.call("ROLE")[0] == b"master")


def node(
    name: str, folder: Path, settings: str, *, port: int | None = None, bus: int = 0, sentinel: bool = False
) -> Node:
    """A Redis with a user of the tests, or a Sentinel; not started yet."""
    port = port or free_port()
    home = folder / name
    home.mkdir()
    file = home / "redis.conf"
    kept = "" if sentinel else f'save ""\nrepl-diskless-sync-delay 0\nproto-max-bulk-len {LARGEST_VALUE}\n'
    file.write_text(
        f"bind 127.0.0.1\nport {port}\ndir {home}\n{kept}user {USER} on >{PASSWORD} ~* &* +@all\n{settings}\n"
    )

    def ready() -> None:
        with closing(client(port)) as asked:
            asked.ping()

    server = LocalServer(
        f"redis-{name}",
        programs=[Program(command=[*program(), str(file), *(["--sentinel"] if sentinel else [])])],
        ready=ready,
        log=home / "redis.log",
    )
    return Node(port, server, file, bus)


@dataclass(frozen=True, slots=True)
class RedisCluster:
    """Primaries with a replica each.

    Attributes:
        nodes: the primaries as they began, then the replicas.
    """

    nodes: Sequence[Node]
    primaries: int

    @property
    def hosts(self) -> str:
        """Some of its nodes, as they stand in a URL."""
        return ",".join(f"127.0.0.1:{each.port}" for each in self.nodes[: self.primaries])

    def url(self, kind: str = "") -> str:
        """The URL of its streams, lists (``+list``) or channels (``+pubsub``)."""
        return f"redis+cluster{kind}://{USER}:{PASSWORD}@{self.hosts}/0"

    def start(self) -> None:
        """Start the nodes and make a cluster of them."""
        with ThreadPoolExecutor(len(self.nodes)) as threads:
            list(threads.map(lambda each: each.server.start(), self.nodes))
        first, *others = self.nodes
        bounds = [SLOTS * index // self.primaries for index in range(self.primaries + 1)]
        for index, each in enumerate(self.nodes):
            each.call("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            if index < self.primaries:
                each.call("CLUSTER", "ADDSLOTS", *range(bounds[index], bounds[index + 1]))
        for each in others:
            each.call(
                "CLUSTER", "MEET", "127.0.0.1", first.port, *([first.bus] if first.bus != first.port + _BUS else [])
            )
        for each in self.nodes:
            until(lambda each=each: each.fact("cluster_known_nodes", "CLUSTER", "INFO") == str(len(self.nodes)))
        for index, each in enumerate(self.nodes[self.primaries :]):
            of = self.nodes[index % self.primaries].call("CLUSTER", "MYID")
            until(lambda each=each, of=of: each.call("CLUSTER", "REPLICATE", of))
        self.settled()

    def settled(self, without: Sequence[Node] = ()) -> None:
        """Wait until every node that runs knows that the cluster is well, and every replica has its primary's data."""
        for each in self.nodes:
            if each not in without:
                until(lambda each=each: each.fact("cluster_state", "CLUSTER", "INFO") == "ok")
                until(
                    lambda each=each: each.is_primary or each.fact("master_link_status", "INFO", "replication") == "up"
                )

    def owner(self, key: str) -> Node:
        """The primary that has a key now."""
        slot = key_slot(key.encode())
        for asked in self.nodes:
            with suppress(redis.RedisError, OSError):
                for first, last, primary, *_ in asked.call("CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        return next(each for each in self.nodes if each.port == primary[1])
        raise AssertionError(f"no node has {key}")

    def move(self, key: str, to: Node, *, pause: Callable[[int], object] = lambda _: None, at_once: int = 10) -> None:
        """Move the slot of a key, as ``redis-cli --cluster reshard`` does.

        Args:
            key: the key.
            to: the new primary of its slot.
            pause: called with the number of keys that have not moved yet: before they do, and after each part of them.
            at_once: keys of one part.
        """
        source, slot = self.owner(key), key_slot(key.encode())
        to.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.call("CLUSTER", "MYID"))
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", to.call("CLUSTER", "MYID"))

        def left() -> int:
            return int(source.call("CLUSTER", "COUNTKEYSINSLOT", slot))

        pause(left())
        auth = ("AUTH2", USER, PASSWORD)
        while keys := source.call("CLUSTER", "GETKEYSINSLOT", slot, at_once):
            source.call("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, *auth, "KEYS", *keys)
            pause(left())
        for each in (to, source, *self.nodes):
            if each.is_primary:
                each.call("CLUSTER", "SETSLOT", slot, "NODE", to.call("CLUSTER", "MYID"))

    def close(self) -> None:
        """End all of it."""
        for each in self.nodes:
            each.server.close()


def cluster(primaries: int = 3, *, timeout: int = 2500, more: str = "") -> RedisCluster:
    """A cluster with a replica for each primary; not started yet.

    Args:
        primaries: how many.
        timeout: milliseconds after which a node that does not answer counts as failed.
        more: other settings of each node.
    """
    folder = new_folder("redis-cluster")
    settings = (
        f"cluster-enabled yes\ncluster-node-timeout {timeout}\ncluster-replica-validity-factor 0\n"
        f"cluster-require-full-coverage no\n{more or 'appendonly no'}"
    )
    nodes: list[Node] = []
    for _ in range(2 * primaries):
        port, bus = _ports()
        own = settings if bus == port + _BUS else f"{settings}\ncluster-port {bus}"
        nodes.append(node(f"cluster-{port}", folder, own, port=port, bus=bus))
    return RedisCluster(nodes, primaries)


def _ports() -> tuple[int, int]:
    """The port of a node, and the one over which nodes talk: before Redis 7 it cannot be chosen."""
    version = subprocess.run([*program(), "--version"], capture_output=True, text=True, check=True).stdout
    if (found := re.search(r"v=(\d+)", version)) is not None and int(found[1]) >= 7:
        return free_port(), free_port()
    while (port := free_port()) + _BUS > 32_000:
        pass
    return port, port + _BUS


@dataclass(frozen=True, slots=True)
class Guarded:
    """A primary and its replica, and the Sentinels that watch over them.

    Attributes:
        nodes: the primary as it began, and its replica.
        sentinels: their ports.
    """

    nodes: Sequence[Node]
    sentinels: Sequence[Node]
    name: str = "wallet-primary"

    def url(self, kind: str = "") -> str:
        """The URL of its streams, lists (``+list``) or channels (``+pubsub``)."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"redis+sentinel{kind}://{USER}:{PASSWORD}@{hosts}/{self.name}/0"

    def start(self) -> None:
        """Start all of it, and wait until the Sentinels know the replica and one another."""
        for each in self.nodes:
            each.server.start()
        self.nodes[1].call("REPLICAOF", "127.0.0.1", self.nodes[0].port)
        self.settled()
        for each in self.sentinels:
            each.server.start()
        for each in self.sentinels:
            until(lambda each=each: each.about()["num-slaves"] == "1" and each.about()["num-other-sentinels"] == "2")

    @property
    def primary(self) -> Node:
        """Who is the primary, as the Sentinels say."""
        port = int(self.sentinels[0].call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)[1])
        return next(each for each in self.nodes if each.port == port)

    def bring_back(self, each: Node) -> None:
        """Start a server that has died, as the replica of the one that has taken its place.

        As a primary with less data it could be promoted before a Sentinel makes a replica of it.
        """
        with each.settings.open("a") as settings:
            settings.write(f"\nreplicaof 127.0.0.1 {self.primary.port}\n")
        each.server.start()
        self.settled()

    def settled(self) -> None:
        """Wait until there is a replica that has all its primary has."""
        until(lambda: sorted(each.is_primary for each in self.nodes) == [False, True])
        (replica,) = [each for each in self.nodes if not each.is_primary]
        until(lambda: replica.fact("master_link_status", "INFO", "replication") == "up")

    def close(self) -> None:
        """End all of it, the Sentinels first."""
        for each in (*self.sentinels, *self.nodes):
            each.server.close()


def guarded(*, down_after: int = 2000, more: str = "") -> Guarded:
    """A primary, its replica and three Sentinels; not started yet.

    Args:
        down_after: milliseconds after which a server that does not answer counts as down.
        more: other settings of the two servers.
    """
    folder = new_folder("redis-sentinel")
    nodes = [node(f"guarded-{index}", folder, more or "appendonly yes") for index in range(2)]
    name = "wallet-primary"
    watched = (
        f"sentinel monitor {name} 127.0.0.1 {nodes[0].port} 2\n"
        f"sentinel auth-user {name} {USER}\nsentinel auth-pass {name} {PASSWORD}\n"
        f"sentinel down-after-milliseconds {name} {down_after}\nsentinel failover-timeout {name} 4000\n"
    )
    sentinels = [node(f"sentinel-{index}", folder, watched, sentinel=True) for index in range(3)]
    return Guarded(nodes, sentinels, name)
