"""Apicurio Registry, which speaks the API of Confluent's schema registry. It keeps what it knows in memory."""

import os
import urllib.request
from dataclasses import dataclass

from tests.brokers._ports import free_port
from tests.brokers._programs import java_program
from tests.brokers._server import BrokerUnavailable, LocalServer, Program, RemoteServer, Server, new_folder
from tests.brokers.versions import BROKERS

VARIABLE = "BROKERKIT_TEST_REGISTRY"
FOLDER = BROKERS / "registry"
_API = "/apis/ccompat/v7"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaRegistry:
    """A schema registry; `url` is that of the API."""

    url: str
    server: Server

    def exports(self) -> dict[str, str]:
        """The environment that names it."""
        return {VARIABLE: self.url}


def registry(*, own: bool = False) -> SchemaRegistry:
    """Return the registry of the environment, or one of our own; not started yet.

    Args:
        own: one of our own, whatever the environment names.

    Raises:
        BrokerUnavailable: it would have to be our own, and is not installed.
    """
    if not own and (url := os.environ.get(VARIABLE)):
        return SchemaRegistry(url=url, server=RemoteServer("registry", variable=VARIABLE, ready=lambda: _subjects(url)))
    if not (jars := list(FOLDER.glob("*-runner.jar"))):
        raise BrokerUnavailable("the schema registry is not installed: run tests/brokers/install.sh")
    port = free_port()
    url = f"http://127.0.0.1:{port}{_API}"
    server = LocalServer(
        "registry",
        programs=[
            Program(
                command=[*java_program(variable=VARIABLE), "-Xmx384m", "-jar", str(jars[0])],
                environment={
                    "QUARKUS_HTTP_HOST": "127.0.0.1",
                    "QUARKUS_HTTP_PORT": str(port),
                    "QUARKUS_LOG_LEVEL": "WARN",
                },
            )
        ],
        ready=lambda: _subjects(url),
        log=new_folder("registry") / "registry.log",
    )
    return SchemaRegistry(url=url, server=server)


def _subjects(url: str) -> None:
    with urllib.request.urlopen(f"{url}/subjects", timeout=5) as answer:
        answer.read()
