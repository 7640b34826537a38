"""Redis or Valkey: every write is in the append-only file, so that a restart loses nothing."""

# The client comes with types in part only.
# pyright: reportUnknownMemberType=false

import os
from dataclasses import dataclass, field
from functools import partial

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.brokers import versions
from tests.brokers._ports import free_port
from tests.brokers._programs import find_server
from tests.brokers._server import LocalServer, Program, RemoteServer, Server, new_folder
from tests.brokers._urls import PASSWORD, USER, with_wrong_password

VARIABLE = "BROKERKIT_TEST_REDIS"


LARGEST_VALUE = 8 * 2**20
"""Bytes; its own default of 512 MiB is more than a test wants to send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisBroker:
    """A Redis: `url` carries a user and its password."""

    url: str = field(repr=False)
    server: Server

    @property
    def wrong_password_url(self) -> str:
        """The same server with a password it refuses."""
        return with_wrong_password(self.url)

    def exports(self) -> dict[str, str]:
        """The environment that names this broker."""
        return {VARIABLE: self.url}

    def start(self) -> None:
        """See `Server.start`."""
        self.server.start()

    def stop(self) -> None:
        """See `Server.stop`."""
        self.server.stop()

    def restart(self) -> None:
        """See `Server.restart`."""
        self.server.restart()


def broker() -> RedisBroker:
    """Return the Redis of the environment, or one of our own; not started yet.

    Raises:
        BrokerUnavailable: it would have to be our own, and is not installed.
    """
    if url := os.environ.get(VARIABLE):
        return RedisBroker(url=url, server=RemoteServer("redis", variable=VARIABLE, ready=partial(_ping, url)))
    folder = new_folder("redis")
    port = free_port()
    url = f"redis://{USER}:{PASSWORD}@127.0.0.1:{port}/0"
    settings = folder / "redis.conf"
    settings.write_text(
        f"bind 127.0.0.1\nport {port}\ndir {folder}\n"
        'save ""\nappendonly yes\nappendfsync everysec\n'
        f"proto-max-bulk-len {LARGEST_VALUE}\n"
        f"user {USER} on >{PASSWORD} ~* &* +@all\n"
    )
    server = LocalServer(
        "redis",
        programs=[Program(command=[*program(), str(settings)])],
        ready=partial(_ping, url),
        log=folder / "redis.log",
    )
    return RedisBroker(url=url, server=server)


def program() -> list[str]:
    """Return the start of the command that runs the server of the version that is chosen, Redis or Valkey.

    Raises:
        BrokerUnavailable: it is not installed.
    """
    name = "valkey-server" if versions.chosen("redis").startswith("valkey") else "redis-server"
    return find_server("redis", name, package=name, variable=VARIABLE)


def _ping(url: str) -> None:
    # redis-py tries again ten times by default: who asks here asks again anyway.
    with redis.Redis.from_url(url, socket_timeout=2, retry=Retry(NoBackoff(), 0)) as client:
        client.ping()
