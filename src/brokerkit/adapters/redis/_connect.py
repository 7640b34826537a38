"""The client of a URL: for one server, for the primary that Sentinel names, or for a cluster."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisClusterException, RedisError

from brokerkit.adapters.api import ConfigError, Connection
from brokerkit.adapters.redis._client import Client, Server, ServerClient
from brokerkit.adapters.redis._cluster import ClusterClient
from brokerkit.adapters.redis._options import Options, options_of


def client_of(connection: Connection, *, primary: bool = False) -> Client:
    """A client that is not connected yet.

    Args:
        connection: what the adapter was given.
        primary: send commands to a primary alone, for those that a replica takes and does nothing good with.

    Raises:
        ConfigError: see `options_of`.
    """
    options = options_of(connection)
    where = str(connection.url)
    try:
        if options.deployment == "cluster":
            return ClusterClient(where, connection.connect_timeout, options, primary=primary)
        # redis-py sorts its arguments into those of the client and those of a connection; the client is not used.
        made: Any = Redis
        settings = {"host": options.addresses[0][0], "port": options.addresses[0][1]} if options.addresses else {}
        pool: Any = made(**options.client, **settings).connection_pool
        sentinel = None
        if options.deployment == "sentinel":
            sentinel, pool = _behind_sentinel(options, pool)
    except (TypeError, ValueError, AttributeError, RedisError, RedisClusterException) as error:
        raise ConfigError(f"{where}: redis-py refuses the options: {error}") from error

    async def release() -> None:
        # The connections refer to this pool, which nothing else keeps.
        await pool.aclose()
        for one in sentinel.sentinels if sentinel is not None else ():
            await one.aclose()

    server = Server(pool.connection_class, pool.connection_kwargs, primary=primary, wait_replicas=options.wait_replicas)
    return ServerClient(where, connection.connect_timeout, server, release)


def _behind_sentinel(options: Options, pool: Any) -> tuple[Any, Any]:
    """redis-py's Sentinel, and its pool: each connection of its kind asks Sentinel for the primary when it connects."""
    made: Any = Sentinel
    sentinel = made(options.addresses, sentinel_kwargs=options.sentinels, **options.sentinel)
    settings = {name: value for name, value in pool.connection_kwargs.items() if name not in ("host", "port")}
    master = sentinel.master_for(options.service, **settings, ssl=options.client["ssl"])
    return sentinel, master.connection_pool
