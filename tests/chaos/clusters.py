"""Clusters of three nodes on the loopback: Kafka with every topic on all of them, RabbitMQ with quorum queues."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from tests.brokers import versions
from tests.brokers._ports import free_port
from tests.brokers._programs import java
from tests.brokers._server import LocalServer, Program, new_folder
from tests.brokers.kafka import VARIABLE as KAFKA
from tests.brokers.kafka import metadata, prepare
from tests.brokers.rabbitmq import epmd, handshake, node

NODES = 3


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes that run, and where they are reached."""

    urls: Sequence[str]
    nodes: Sequence[LocalServer]
    names: LocalServer | None = None

    def start(self) -> None:
        """Start the nodes; where one has to join another, one after the other."""
        if self.names is None:
            # A controller alone does not answer.
            with ThreadPoolExecutor(len(self.nodes)) as threads:
                list(threads.map(LocalServer.start, self.nodes))
            return
        self.names.start()
        for one in self.nodes:
            one.start()

    def close(self) -> None:
        """End all of it."""
        for one in (*self.nodes, self.names):
            if one is not None:
                one.close()


def kafka_cluster() -> Cluster:
    """Three nodes that are each broker and controller; two of three must have a message before it is confirmed."""
    runner = java(
        versions.chosen("kafka"), variable=KAFKA, options=["-Xmx384m", "-Dorg.apache.logging.log4j.level=WARN"]
    )
    ports = [free_port() for _ in range(NODES)]
    controllers = [free_port() for _ in range(NODES)]
    voters = ",".join(f"{number + 1}@127.0.0.1:{port}" for number, port in enumerate(controllers))
    nodes: list[LocalServer] = []
    for index in range(NODES):
        folder = new_folder(f"kafka-{index + 1}")
        settings = folder / "server.properties"
        settings.write_text(f"""
process.roles=broker,controller
node.id={index + 1}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{ports[index]},CONTROLLER://127.0.0.1:{controllers[index]}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder / "data"}
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=3
auto.create.topics.enable=false
num.partitions=3
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
broker.rack=rack-{index + 1}
replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector
broker.heartbeat.interval.ms=500
""")
        prepare(runner, settings)
        nodes.append(
            LocalServer(
                f"kafka-{index + 1}",
                programs=[Program(command=[*runner, "kafka.Kafka", str(settings)])],
                ready=partial(metadata, f"127.0.0.1:{ports[index]}"),
                log=folder / "kafka.log",
            )
        )
    # Each client is told all three.
    return Cluster([f"kafka://{','.join(f'127.0.0.1:{port}' for port in ports)}"] * NODES, nodes)


def rabbit_cluster() -> Cluster:
    """Three nodes; a queue has its leader on the node through which it is made."""
    home = new_folder("rabbitmq-cluster")
    epmd_port = free_port()
    nodes: list[LocalServer] = []
    urls: list[str] = []
    for index in range(NODES):
        folder = new_folder(f"rabbitmq-{index + 1}")
        # The first is alone at its start, the others join it at theirs.
        more = (
            "cluster_formation.peer_discovery_backend = classic_config\n"
            "cluster_formation.classic_config.nodes.1 = brokerkit-1@localhost\n"
        )
        url, program = node(f"brokerkit-{index + 1}", folder, home=home, epmd_port=epmd_port, more=more)
        urls.append(url)
        nodes.append(
            LocalServer(
                f"rabbitmq-{index + 1}",
                programs=[program],
                ready=partial(handshake, url),
                log=folder / "rabbitmq.log",
            )
        )
    names = LocalServer(
        "epmd",
        programs=[epmd(epmd_port)],
        ready=lambda: socket.create_connection(("127.0.0.1", epmd_port), timeout=2).close(),
        log=home / "epmd.log",
    )
    return Cluster(urls, nodes, names)
