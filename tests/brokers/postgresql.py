"""PostgreSQL, for the stores and the outbox: no broker, but started, stopped and named like one."""

import asyncio
import os
import pwd
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import asyncpg

from tests.brokers._ports import free_port
from tests.brokers._programs import find_program
from tests.brokers._server import (
    BrokerUnavailable,
    LocalServer,
    Program,
    RemoteServer,
    Server,
    new_folder,
)
from tests.brokers._urls import PASSWORD, USER, with_wrong_password

VARIABLE = "BROKERKIT_TEST_POSTGRESQL"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresqlServer:
    """A PostgreSQL: `url` carries a user and its password, and names a database that tests may write to."""

    url: str = field(repr=False)
    server: Server

    @property
    def engine_url(self) -> str:
        """The address as SQLAlchemy has it."""
        return self.url.replace("postgresql://", "postgresql+asyncpg://", 1)

    @property
    def wrong_password_url(self) -> str:
        """The same server with a password it refuses."""
        return with_wrong_password(self.url)

    def exports(self) -> dict[str, str]:
        """The environment that names this server."""
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


def server() -> PostgresqlServer:
    """Return the PostgreSQL of the environment, or one of our own; not started yet.

    Raises:
        BrokerUnavailable: it would have to be our own, and is not installed.
    """
    if url := os.environ.get(VARIABLE):
        remote = RemoteServer("postgresql", variable=VARIABLE, ready=partial(_ping, url))
        return PostgresqlServer(url=url, server=remote)
    # Debian keeps the server's programs beside each other, by version, and off the search path.
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: int(place.parent.name), reverse=True)
    postgres, initdb = (
        find_program(name, package="postgresql", variable=VARIABLE, places=[place / name for place in places])
        for name in ("postgres", "initdb")
    )
    folder = new_folder("postgresql")
    password = folder / "password"
    password.write_text(PASSWORD)
    data, port, words = folder / "data", free_port(), _as_somebody_else(folder)
    made_with = [f"--pwfile={password}", "--locale=C"]
    made = subprocess.run(
        [*words, initdb, "-D", str(data), "-U", USER, "-E", "UTF8", "-A", "scram-sha-256", "-N", *made_with],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise BrokerUnavailable(f"initdb did not make a database: {made.stderr}")
    url = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"
    options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "max_connections": 200}
    settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    local = LocalServer(
        "postgresql",
        programs=[Program(command=[*words, postgres, "-D", str(data), *settings])],
        ready=partial(_ping, url),
        log=folder / "postgresql.log",
    )
    return PostgresqlServer(url=url, server=local)


def _as_somebody_else(folder: Path) -> list[str]:
    """Words before a command: PostgreSQL refuses to run as root, so root's tests run it as somebody without rights."""
    if os.getuid() != 0:
        return []
    user = pwd.getpwnam("nobody")
    folder.parent.chmod(0o711)
    for path in (folder, *folder.iterdir()):
        os.chown(path, user.pw_uid, user.pw_gid)
    setpriv = find_program("setpriv", package="util-linux", variable=VARIABLE)
    return [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _ping(url: str) -> None:
    async def ask() -> None:
        connection = await asyncpg.connect(url, timeout=2)
        await connection.close()

    # A loop of its own, in a thread of its own: who asks may have a running one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, ask()).result()
