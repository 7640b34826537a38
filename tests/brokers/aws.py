"""The two stand-ins for AWS: ElasticMQ, strict about the limits of SQS, and moto, with SNS and SQS in one process.

Both keep everything in memory: a restart empties them.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from tests.brokers._ports import free_port
from tests.brokers._server import LocalServer, Program, RemoteServer, Server, java, new_folder

SQS_VARIABLE = "BROKERKIT_TEST_SQS"
SNS_VARIABLE = "BROKERKIT_TEST_SNS"
REGION = "us-east-1"
ACCESS_KEY = "brokerkit"
SECRET_KEY = "brokerkit-secret"


def client_options(url: str) -> dict[str, str]:
    """Keyword arguments with which `create_client` of botocore and aiobotocore reaches a stand-in."""
    return {
        "endpoint_url": url,
        "region_name": REGION,
        "aws_access_key_id": ACCESS_KEY,
        "aws_secret_access_key": SECRET_KEY,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsBroker:
    """A stand-in for AWS at the endpoint `url`; it takes any credentials."""

    url: str
    server: Server
    variable: str

    @property
    def client_options(self) -> dict[str, str]:
        """See `client_options`."""
        return client_options(self.url)

    def exports(self) -> dict[str, str]:
        """The environment that names this broker."""
        return {self.variable: self.url}

    def start(self) -> None:
        """See `Server.start`."""
        self.server.start()

    def stop(self) -> None:
        """See `Server.stop`."""
        self.server.stop()

    def restart(self) -> None:
        """See `Server.restart`; queues and messages are gone after it."""
        self.server.restart()


def elasticmq() -> AwsBroker:
    """Return the ElasticMQ of the environment, or one of our own; not started yet.

    Raises:
        BrokerUnavailable: it would have to be our own, and is not installed.
    """
    return _broker("elasticmq", variable=SQS_VARIABLE, question="/?Action=ListQueues", program=_elasticmq_program)


def moto() -> AwsBroker:
    """Return the moto server of the environment, or one of our own; not started yet."""
    return _broker("moto", variable=SNS_VARIABLE, question="/moto-api/data.json", program=_moto_program)


def _broker(name: str, *, variable: str, question: str, program: Callable[[Path, int], Program]) -> AwsBroker:
    if url := os.environ.get(variable, "").rstrip("/"):
        remote = RemoteServer(name, variable=variable, ready=partial(_get, url + question))
        return AwsBroker(url=url, server=remote, variable=variable)
    folder = new_folder(name)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    local = LocalServer(
        name,
        programs=[program(folder, port)],
        ready=partial(_get, url + question),
        log=folder / f"{name}.log",
    )
    return AwsBroker(url=url, server=local, variable=variable)


def _elasticmq_program(folder: Path, port: int) -> Program:
    settings = folder / "elasticmq.conf"
    settings.write_text(f"""
include classpath("application.conf")
node-address {{ protocol = http, host = "127.0.0.1", port = {port}, context-path = "" }}
rest-sqs {{ enabled = true, bind-hostname = "127.0.0.1", bind-port = {port}, sqs-limits = strict }}
rest-stats {{ enabled = false }}
aws {{ region = {REGION}, accountId = "000000000000" }}
""")
    options = ["-Xmx1g", f"-Dconfig.file={settings}"]
    return Program(
        command=[*java("elasticmq", variable=SQS_VARIABLE, options=options), "org.elasticmq.server.Main"],
    )


def _moto_program(folder: Path, port: int) -> Program:
    return Program(command=[sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)])


def _get(url: str) -> None:
    # The proxy of the machine, if it has one, does not know our loopback.
    with build_opener(ProxyHandler({})).open(url, timeout=2) as answer:
        answer.read()
