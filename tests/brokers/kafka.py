"""Kafka 4 as a single KRaft node: a plaintext listener, and beside it one with SASL. It has one user, who may do everything.

Tests make more users, with SCRAM, and give them rights.
"""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from tests.brokers import versions
from tests.brokers._ports import free_port
from tests.brokers._programs import java
from tests.brokers._server import BrokerUnavailable, LocalServer, Program, RemoteServer, Server, new_folder
from tests.brokers._urls import PASSWORD, USER, WRONG_PASSWORD, split_credentials

VARIABLE = "BROKERKIT_TEST_KAFKA"
SHARE_VARIABLE = "BROKERKIT_TEST_KAFKA_SHARE"
SASL = "_SASL"
"""Ends the name of the variable with the SASL listener."""
_CLUSTER_ID = "YnJva2Vya2l0LXRlc3RzMQ"  # any 16 bytes, in base64


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaBroker:
    """A Kafka: `address` and `sasl_address` are the `host:port` of its plaintext and its SASL/PLAIN listener."""

    address: str
    sasl_address: str
    user: str
    password: str = field(repr=False)
    server: Server
    variable: str = VARIABLE

    @property
    def url(self) -> str:
        """The plaintext listener as a brokerkit URL."""
        return f"kafka://{self.address}"

    @property
    def wrong_password(self) -> str:
        """A password the SASL listener refuses."""
        return WRONG_PASSWORD

    def producer(self, **options: object) -> Producer:
        """A raw producer. Idempotent: without that a repeated request, as to a new topic, overtakes an earlier one."""
        return Producer({"bootstrap.servers": self.address, "enable.idempotence": True, **options})

    def exports(self) -> dict[str, str]:
        """The environment that names this broker."""
        return {
            self.variable: self.address,
            f"{self.variable}{SASL}": f"{self.user}:{self.password}@{self.sasl_address}",
        }

    def start(self) -> None:
        """See `Server.start`."""
        self.server.start()

    def stop(self) -> None:
        """See `Server.stop`."""
        self.server.stop()

    def restart(self) -> None:
        """See `Server.restart`."""
        self.server.restart()


def share_broker(*, advertised: int | None = None) -> KafkaBroker:
    """Return another Kafka, for share groups. A group of consumers and a share group cannot have one name.

    Raises:
        BrokerUnavailable: as `broker`.
    """
    return broker(advertised=advertised, variable=SHARE_VARIABLE)


def broker(
    *,
    own: bool = False,
    advertised: int | None = None,
    proxied: Sequence[tuple[int, int]] = (),
    variable: str = VARIABLE,
    more: str = "",
) -> KafkaBroker:
    """Return the Kafka of the environment, or one of our own; not started yet.

    Args:
        own: one of our own, whatever the environment names.
        advertised: the port that it sends its clients to, where that of a proxy is meant; it is our own then.
        proxied: ports of further listeners, each with that of the proxy to which it sends its clients; it is our own then.
        variable: the variable of the environment that names it.
        more: further settings, which win; it is our own then.

    Raises:
        BrokerUnavailable: it would have to be our own, and is not installed; or one of two variables is missing.
    """
    if not own and not more and not proxied and advertised is None and (address := os.environ.get(variable)):
        user, password, sasl_address = split_credentials(os.environ.get(f"{variable}{SASL}", ""))
        if not (user and password):
            raise BrokerUnavailable(f"{variable} is set: set {variable}{SASL}=user:password@host:port as well")
        server: Server = RemoteServer("kafka", variable=variable, ready=partial(metadata, address))
        return KafkaBroker(
            address=address,
            sasl_address=sasl_address,
            user=user,
            password=password,
            server=server,
            variable=variable,
        )
    runner = java(
        versions.chosen("kafka"), variable=variable, options=["-Xmx512m", "-Dorg.apache.logging.log4j.level=WARN"]
    )
    folder = new_folder("kafka")
    port, sasl_port, controller_port = free_port(), free_port(), free_port()
    settings = folder / "server.properties"
    settings.write_text(
        _settings(folder / "data", port=port, sasl_port=sasl_port, controller_port=controller_port, proxied=proxied)
        + f"advertised.listeners=PLAINTEXT://127.0.0.1:{advertised or port},SASL://127.0.0.1:{sasl_port}"
        + "".join(f",PROXY{number}://127.0.0.1:{proxy}" for number, (_, proxy) in enumerate(proxied))
        + "\n"
        + more
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
        address=address,
        sasl_address=f"127.0.0.1:{sasl_port}",
        user=USER,
        password=PASSWORD,
        server=server,
        variable=variable,
    )


def _settings(
    data: Path, *, port: int, sasl_port: int, controller_port: int, proxied: Sequence[tuple[int, int]]
) -> str:
    others = "".join(f",PROXY{number}://127.0.0.1:{port}" for number, (port, _) in enumerate(proxied))
    kinds = "".join(f",PROXY{number}:PLAINTEXT" for number in range(len(proxied)))
    return f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{port},SASL://127.0.0.1:{sasl_port},CONTROLLER://127.0.0.1:{controller_port}{others}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT{kinds}
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";
log.dirs={data}

# Other users, with SCRAM, may do what ACLs allow them. Who needs no password may do everything.
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{USER}

# One node holds everything.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4

# The transaction of a killed process is aborted at its timeout, and not up to ten seconds later.
transaction.abort.timed.out.transaction.cleanup.interval.ms=500

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
group.share.assignment.interval.ms=0
group.share.min.heartbeat.interval.ms=500
group.share.heartbeat.interval.ms=500
group.share.min.session.timeout.ms=3000
group.share.session.timeout.ms=6000
group.share.min.record.lock.duration.ms=1000
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
