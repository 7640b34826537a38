"""Session fixtures: each broker starts at its first use and is stopped when the session ends."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import pytest

from tests.brokers import aws, kafka, postgresql, rabbitmq, redis, registry
from tests.brokers._server import LocalServer, Server


class Broker(Protocol):
    """What all brokers have in common."""

    @property
    def server(self) -> Server:
        """Who runs it."""
        ...

    def exports(self) -> dict[str, str]:
        """The environment that names this broker."""
        ...


B = TypeVar("B", bound=Broker)


@contextmanager
def running(broker: B) -> Generator[B, None, None]:
    """Start the broker, and end it for good afterwards.

    Raises:
        BrokerUnavailable: it does not come up.
    """
    broker.server.start()
    try:
        yield broker
    finally:
        broker.server.close()


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[kafka.KafkaBroker]:
    """A Kafka node."""
    with running(kafka.broker()) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_share_broker() -> Iterator[kafka.KafkaBroker]:
    """A Kafka node for share groups."""
    with running(kafka.share_broker()) as broker:
        yield broker


@pytest.fixture(scope="session")
def secured_kafka(request: pytest.FixtureRequest) -> Iterator[kafka.KafkaBroker]:
    """A Kafka node that asks users for rights. Our own does; one that the environment names may not."""
    if isinstance(kafka.broker().server, LocalServer):
        yield request.getfixturevalue("kafka_broker")
    else:
        with running(kafka.broker(own=True)) as broker:
            yield broker


@pytest.fixture(scope="session")
def rabbit_broker() -> Iterator[rabbitmq.RabbitBroker]:
    """A RabbitMQ node."""
    with running(rabbitmq.broker()) as broker:
        yield broker


@pytest.fixture(scope="session")
def redis_broker() -> Iterator[redis.RedisBroker]:
    """A Redis."""
    with running(redis.broker()) as broker:
        yield broker


@pytest.fixture(scope="session")
def aws_environment() -> Iterator[None]:
    """Credentials where AWS clients look for them, for code that is given only a region and an endpoint."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", aws.ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", aws.SECRET_KEY)
        patch.setenv("AWS_DEFAULT_REGION", aws.REGION)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.delenv("AWS_PROFILE", raising=False)
        patch.delenv("AWS_SESSION_TOKEN", raising=False)
        yield


@pytest.fixture(scope="session")
def sqs_broker(aws_environment: None) -> Iterator[aws.AwsBroker]:
    """SQS with the limits of the real one."""
    with running(aws.sqs()) as broker:
        yield broker


@pytest.fixture(scope="session")
def sns_broker(aws_environment: None) -> Iterator[aws.AwsBroker]:
    """SNS and SQS that know each other."""
    with running(aws.sns()) as broker:
        yield broker


@pytest.fixture(scope="session")
def schema_registry() -> Iterator[registry.SchemaRegistry]:
    """A schema registry with Confluent's API."""
    with running(registry.registry()) as found:
        yield found


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.PostgresqlServer]:
    """A PostgreSQL."""
    with running(postgresql.server()) as server:
        yield server
