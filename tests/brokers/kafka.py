"""Kafka 4 as a single KRaft node: a plaintext listener, and beside it one with SASL/PLAIN and one user."""

import os
import subprocess
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from confluent_kafka.admin import AdminClient

from tests.brokers._ports import free_port
from tests.brokers._server import BrokerUnavailable, LocalServer, Program, RemoteServer, Server, java, new_folder
from tests.brokers._urls import PASSWORD, USER, WRONG_PASSWORD, split_credentials

VARIABLE = "BROKERKIT_TEST_KAFKA"
SASL_VARIABLE = "BROKERKIT_TEST_KAFKA_SASL"
_CLUSTER_ID = "YnJva2Vya2l0LXRlc3RzMQ"  # any 16 bytes, in base64


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaBroker:
    """A Kafka: `address` and `sasl_address` are the `host:port` of its plaintext and its SASL/PLAIN listener."""

    address: str
    sasl_address: str
    user: str
    password: str = field(repr=False)
    server: Server

    @property
    def url(self) -> str:
        """The plaintext listener as a brokerkit URL."""
        return f"kafka://{self.address}"

    @property
    def wrong_password(self) -> str:
        """A password the SASL listener refuses."""
        return WRONG_PASSWORD

    def exports(self) -> dict[str, str]:
        """The environment that names this broker."""
        return {VARIABLE: self.address, SASL_VARIABLE: f"{self.user}:{self.password}@{self.sasl_address}"}

    def start(self) -> None:
        """See `Server.start`."""
        self.server.start()

    def stop(self) -> None:
        """See `Server.stop`."""
        self.server.stop()

    def restart(self) -> None:
        """See `Server.restart`."""
        self.server.restart()


def broker(*, advertised: int | None = None) -> KafkaBroker:
    """Return the Kafka of the environment, or one of our own; not started yet.

    Args:
        advertised: the port that it sends its clients to, where that of a proxy is meant; it is our own then.

    Raises:
        BrokerUnavailable: it would have to be our own, and is not installed; or one of two variables is missing.
    """
    if advertised is None and (address := os.environ.get(VARIABLE)):
        user, password, sasl_address = split_credentials(os.environ.get(SASL_VARIABLE, ""))
        if not (user and password):
            raise BrokerUnavailable(f"{VARIABLE} is set: set {SASL_VARIABLE}=user:password@host:port as well")
        server: Server = RemoteServer("kafka", variable=VARIABLE, ready=partial(metadata, address))
        return KafkaBroker(address=address, sasl_address=sasl_address, user=user, password=password, server=server)
    runner = java("kafka", variable=VARIABLE, options=["-Xmx512m", "-Dorg.apache.logging.log4j.level=WARN"])
    folder = new_folder("kafka")
    port, sasl_port, controller_port = free_port(), free_port(), free_port()
    settings = folder / "server.properties"
    settings.write_text(
        _settings(folder / "data", port=port, sasl_port=sasl_port, controller_port=controller_port)
        + f"advertised.listeners=PLAINTEXT://127.0.0.1:{advertised or port},SASL://127.0.0.1:{sasl_port}\n"
    )
    prepare(runner, settings)
    address = f"127.0.0.1:{port}"
    server = LocalServer(
        "kafka",
        programs=[Program(command=[*runner, "kafka.Kafka", str(settings)])],
        ready=partial(metadata, address),
        log=folder / "kafka.log",
    )
    return KafkaBroker(
        address=address, sasl_address=f"127.0.0.1:{sasl_port}", user=USER, password=PASSWORD, server=server
    )


def _settings(data: Path, *, port: int, sasl_port: int, controller_port: int) -> str:
    return f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{port},SASL://127.0.0.1:{sasl_port},CONTROLLER://127.0.0.1:{controller_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";
log.dirs={data}

# One node holds everything.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4

# A missing topic is an error, as on a vendor's cluster.
auto.create.topics.enable=false
num.partitions=4

# Groups form at once, and a killed member is noticed in seconds instead of the better part of a minute.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=3000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=500
"""


def prepare(runner: list[str], settings: Path) -> None:
    """Make the data folder that the settings name.

    Raises:
        BrokerUnavailable: Kafka does not like them.
    """
    result = subprocess.run(
        [*runner, "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(settings)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise BrokerUnavailable(f"Kafka could not prepare its data folder: {result.stdout}{result.stderr}")


def metadata(address: str) -> None:
    """Ask for the topics."""
    # A fresh client each time: one that met a closed port waits longer and longer before it tries again.
    AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=2)
