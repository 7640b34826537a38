"""Each broker answers its plain client, keeps what it should over a restart, and refuses a wrong password."""

# The clients come with types in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import subprocess
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import aio_pika
import asyncpg
import certifi
import pytest
import redis.asyncio as aioredis
import redis.exceptions
from aio_pika.exceptions import ProbableAuthenticationError
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.brokers import versions
from tests.brokers._ports import free_port
from tests.brokers._programs import find_program
from tests.brokers._server import CHECKOUT, BrokerUnavailable, LocalServer, Program, new_folder
from tests.brokers._truststore import PASSWORD as TRUSTSTORE_PASSWORD
from tests.brokers._truststore import truststore
from tests.brokers._urls import split_credentials, with_wrong_password
from tests.brokers.aws import AwsBroker
from tests.brokers.kafka import KafkaBroker
from tests.brokers.postgresql import PostgresqlServer
from tests.brokers.rabbitmq import RabbitBroker
from tests.brokers.redis import RedisBroker
from tests.brokers.redis import broker as new_redis


def aws_client(service: str, broker: AwsBroker) -> AbstractAsyncContextManager[Any]:
    return cast("AbstractAsyncContextManager[Any]", get_session().create_client(service, **broker.client_options))


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid4().hex[:8]}"


def test_a_kafka_topic_survives_a_restart(kafka_broker: KafkaBroker) -> None:
    topic = unique("topic")
    admin = AdminClient({"bootstrap.servers": kafka_broker.address})
    admin.create_topics([NewTopic(topic, num_partitions=3)])[topic].result(10)

    kafka_broker.restart()

    partitions = AdminClient({"bootstrap.servers": kafka_broker.address}).list_topics(topic, timeout=10)
    assert len(partitions.topics[topic].partitions) == 3


def test_kafka_sasl_takes_the_right_password_alone(kafka_broker: KafkaBroker) -> None:
    def client(password: str) -> AdminClient:
        return AdminClient(
            {
                "bootstrap.servers": kafka_broker.sasl_address,
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": kafka_broker.user,
                "sasl.password": password,
                "log_level": 0,
            }
        )

    assert client(kafka_broker.password).list_topics(timeout=10).brokers
    with pytest.raises(KafkaException):
        client(kafka_broker.wrong_password).list_topics(timeout=2)


async def test_a_persistent_rabbitmq_message_survives_a_restart(rabbit_broker: RabbitBroker) -> None:
    queue = unique("queue")
    async with await aio_pika.connect(rabbit_broker.url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True)
        message = aio_pika.Message(b"kept", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=queue)

    await asyncio.to_thread(rabbit_broker.restart)

    async with await aio_pika.connect(rabbit_broker.url) as connection:
        channel = await connection.channel()
        kept = await (await channel.declare_queue(queue, passive=True)).get(timeout=10, no_ack=True)
        assert kept.body == b"kept"


async def test_rabbitmq_refuses_a_wrong_password(rabbit_broker: RabbitBroker) -> None:
    with pytest.raises(ProbableAuthenticationError):
        await aio_pika.connect(rabbit_broker.wrong_password_url)


async def test_a_redis_entry_survives_a_restart(redis_broker: RedisBroker) -> None:
    stream = unique("stream")
    async with aioredis.Redis.from_url(redis_broker.url) as client:
        await client.xadd(stream, {"body": "kept"})

    await asyncio.to_thread(redis_broker.restart)

    async with aioredis.Redis.from_url(redis_broker.url) as client:
        entries = await client.xrange(stream)
        assert entries is not None
        assert [fields for _, fields in entries] == [{b"body": b"kept"}]


async def test_a_postgresql_row_survives_a_restart(postgresql_server: PostgresqlServer) -> None:
    table = unique("kept").replace("-", "_")
    connection = await asyncpg.connect(postgresql_server.url)
    await connection.execute(f"CREATE TABLE {table} AS SELECT 'kept' AS value")
    await connection.close()

    await asyncio.to_thread(postgresql_server.restart)

    connection = await asyncpg.connect(postgresql_server.url)
    assert await connection.fetchval(f"SELECT value FROM {table}") == "kept"
    await connection.close()


async def test_postgresql_refuses_a_wrong_password(postgresql_server: PostgresqlServer) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgresql_server.wrong_password_url)


async def test_redis_refuses_a_wrong_password(redis_broker: RedisBroker) -> None:
    async with aioredis.Redis.from_url(redis_broker.wrong_password_url) as client:
        with pytest.raises(redis.exceptions.AuthenticationError):
            await client.ping()


# aiohttp warns of bytes bodies above 1 MiB, which the largest message is in JSON.
@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
async def test_elasticmq_keeps_the_size_limit_of_sqs(sqs_broker: AwsBroker) -> None:
    async with aws_client("sqs", sqs_broker) as sqs:
        url = (await sqs.create_queue(QueueName=unique("queue")))["QueueUrl"]
        await sqs.send_message(QueueUrl=url, MessageBody="x" * 1_048_576)
        with pytest.raises(sqs.exceptions.ClientError):
            await sqs.send_message(QueueUrl=url, MessageBody="x" * 1_048_577)


async def test_elasticmq_answers_on_the_same_port_after_a_restart(sqs_broker: AwsBroker) -> None:
    await asyncio.to_thread(sqs_broker.restart)

    async with aws_client("sqs", sqs_broker) as sqs:
        assert (await sqs.create_queue(QueueName=unique("queue")))["QueueUrl"].startswith("http://")


async def test_moto_delivers_from_sns_to_sqs_also_after_a_restart(sns_broker: AwsBroker) -> None:
    await asyncio.to_thread(sns_broker.restart)

    async with (
        aws_client("sns", sns_broker) as sns,
        aws_client("sqs", sns_broker) as sqs,
    ):
        topic = (await sns.create_topic(Name=unique("topic")))["TopicArn"]
        queue = (await sqs.create_queue(QueueName=unique("queue")))["QueueUrl"]
        arn = (await sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"]))["Attributes"]["QueueArn"]
        await sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
        await sns.publish(TopicArn=topic, Message="fanned out")
        received = await sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5)
        assert [message["Body"] for message in received["Messages"]] == ["fanned out"]


def test_a_broker_of_the_environment_is_used_and_never_stopped(
    redis_broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKERKIT_TEST_REDIS", redis_broker.url)
    same = new_redis()
    same.start()

    with pytest.raises(BrokerUnavailable, match="unset BROKERKIT_TEST_REDIS"):
        same.restart()
    same.server.close()
    same.start()


def test_a_broker_of_the_environment_that_is_down_says_which_variable_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERKIT_TEST_REDIS", f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(BrokerUnavailable, match="BROKERKIT_TEST_REDIS"):
        new_redis().start()


def test_a_broker_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found(name: str, *, path: str) -> None:
        return None

    monkeypatch.delenv("BROKERKIT_TEST_REDIS", raising=False)
    monkeypatch.setenv(versions.VARIABLE, "redis-system")
    monkeypatch.setattr("tests.brokers._programs.shutil.which", not_found)
    with pytest.raises(BrokerUnavailable, match="redis-server is not installed: run tests/brokers/install.sh"):
        new_redis()


def test_a_server_that_does_not_come_up_shows_the_end_of_its_log() -> None:
    def ready() -> None:
        raise ConnectionError("no answer")

    program = Program(command=[sys.executable, "-c", "raise SystemExit('the disk is full')"])
    log = new_folder("broken") / "broken.log"
    with pytest.raises(BrokerUnavailable, match=r"(?s)broken ended with status 1.*the disk is full"):
        LocalServer("broken", programs=[program], ready=ready, log=log).start()


SESSION = """
import os, signal
from pathlib import Path
from tests.brokers._programs import find_program
from tests.brokers._server import LocalServer, Program, new_folder

folder = new_folder("orphan")
server = LocalServer("orphan", programs=[Program(command=["sleep", "600"])], ready=list, log=folder / "log")
server.start()
print(server._running[0].pid, folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_a_killed_session_leaves_neither_processes_nor_files() -> None:
    session = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SESSION, cwd=CHECKOUT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await session.communicate()
    pid, folder = output.decode().split()
    async with asyncio.timeout(20):
        while Path(folder).exists() or await is_alive(pid):
            await asyncio.sleep(0.02)


async def is_alive(pid: str) -> bool:
    """Whether the process runs: one that is dead, and not yet collected by whoever inherited it, does not."""
    ps = await asyncio.create_subprocess_exec("ps", "-o", "stat=", "-p", pid, stdout=asyncio.subprocess.PIPE)
    state, _ = await ps.communicate()
    return state.strip() != b"" and not state.startswith(b"Z")


def test_java_reads_the_trust_store(tmp_path: Path) -> None:
    bundle = Path(certifi.where()).read_text()
    store = tmp_path / "truststore.jks"
    store.write_bytes(truststore(bundle))

    keytool = find_program("keytool", package="default-jre-headless", variable="BROKERKIT_TEST_KAFKA")
    command = [keytool, "-list", "-keystore", str(store), "-storepass", TRUSTSTORE_PASSWORD]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout

    assert listed.count("trustedCertEntry") == bundle.count("BEGIN CERTIFICATE")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://user:secret@host:1/", "amqp://user:not-the-password@host:1/"),
        ("redis://host:1/0", "redis://nobody:not-the-password@host:1/0"),
    ],
)
def test_the_wrong_password_replaces_the_right_one(url: str, expected: str) -> None:
    assert with_wrong_password(url) == expected


def test_credentials_are_split_from_an_address() -> None:
    assert split_credentials("user:pass%40word@host:1") == ("user", "pass@word", "host:1")
    assert split_credentials("host:1") == ("", "", "host:1")


def test_ports_lie_where_no_outgoing_connection_takes_them() -> None:
    ports = {free_port() for _ in range(20)}
    assert len(ports) == 20
    assert max(ports) < 32_768
