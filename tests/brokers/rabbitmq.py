"""RabbitMQ, with an epmd of its own so that neither listens beyond the loopback nor outlives the tests."""

import os
import socket
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from tests.brokers._ports import free_port
from tests.brokers._programs import find_server
from tests.brokers._server import LocalServer, Program, RemoteServer, Server, new_folder
from tests.brokers._urls import PASSWORD, USER, with_wrong_password

VARIABLE = "BROKERKIT_TEST_AMQP"
# The server itself. Debian's wrapper in /usr/sbin refuses ordinary users, and as root changes the user and the folder.
_DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


LARGEST_MESSAGE = 16 * 2**20
"""Bytes; what RabbitMQ 4 has by default, which is less than older ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RabbitBroker:
    """A RabbitMQ: `url` names vhost "/" and carries a user that may do everything, and its password."""

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


def broker(*, own: bool = False, more: str = "") -> RabbitBroker:
    """Return the RabbitMQ of the environment, or one of our own; not started yet.

    Args:
        own: one of our own, whatever the environment names.
        more: further lines of the configuration of our own.

    Raises:
        BrokerUnavailable: it would have to be our own, and is not installed.
    """
    if not own and (url := os.environ.get(VARIABLE)):
        return RabbitBroker(url=url, server=RemoteServer("rabbitmq", variable=VARIABLE, ready=partial(handshake, url)))
    folder = new_folder("rabbitmq")
    epmd_port = free_port()
    url, program = node("brokerkit", folder, home=folder, epmd_port=epmd_port, more=more)
    server = LocalServer(
        "rabbitmq", programs=[epmd(epmd_port), program], ready=partial(handshake, url), log=folder / "rabbitmq.log"
    )
    return RabbitBroker(url=url, server=server)


def epmd(port: int) -> Program:
    """What the nodes of one machine find each other by.

    Without one that answers, Erlang starts it as a daemon that stays for ever.
    """
    program = find_server("rabbitmq", "epmd", package="erlang-base", variable=VARIABLE)
    return Program(command=[*program, "-address", "127.0.0.1", "-port", str(port)])


def node(
    name: str, folder: Path, *, home: Path, epmd_port: int, more: str = "", plugins: str = ""
) -> tuple[str, Program]:
    """The URL of one node and its program.

    Args:
        name: of the node, before its host.
        folder: for its configuration and its data.
        home: where Erlang writes its cookie, one for all nodes of a cluster.
        epmd_port: see `epmd`.
        more: further lines of its configuration.
        plugins: names of what it has besides, with commas between.

    Raises:
        BrokerUnavailable: RabbitMQ is not installed.
    """
    program = find_server("rabbitmq", "rabbitmq-server", package="rabbitmq-server", variable=VARIABLE, places=[_DEBIAN])
    port, distribution_port = free_port(), free_port()
    (folder / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\ndefault_user = {USER}\ndefault_pass = {PASSWORD}\n"
        f"log.console.level = warning\nmax_message_size = {LARGEST_MESSAGE}\n{more}"
    )
    (folder / "enabled_plugins").write_text(f"[{plugins}].\n")
    environment = {
        "HOME": str(home),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(epmd_port),
        "RABBITMQ_NODENAME": f"{name}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        # Makes the start script become the server instead of its parent, which dies of a signal without ending it.
        "RUNNING_UNDER_SYSTEMD": "true",
    }
    url = f"amqp://{USER}:{PASSWORD}@127.0.0.1:{port}/"
    return url, Program(command=program, environment=environment)


def handshake(url: str) -> None:
    """Open an AMQP 0-9-1 connection up to the server's Connection.Start; its listener opens last of all it does.

    By hand, because aio-pika would need an event loop, and a broker is also restarted where one is running.
    """
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 5672), timeout=2) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        header = connection.makefile("rb").read(11)
    # A method frame (type 1, channel, size) that opens with class 10, method 10.
    if header[:1] != b"\x01" or header[7:11] != b"\x00\x0a\x00\x0a":
        raise ConnectionError(f"no AMQP 0-9-1 server: it answered {header!r}")
