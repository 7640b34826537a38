"""Fixtures for the tests of bodies in S3."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from tests.adapters.large_payloads.bench import Bench
from tests.brokers.aws import AwsBroker

from brokerkit.adapters.aws import _source


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that closes waits for its poll; what is tested here does not depend on how long one lasts."""
    monkeypatch.setattr(_source, "_LONG_POLL", 1)


@pytest.fixture
async def bench(sqs_broker: AwsBroker, sns_broker: AwsBroker) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        session = get_session()
        options = {"sqs": sqs_broker.client_options, "s3": sns_broker.client_options}
        clients = {
            service: await stack.enter_async_context(session.create_client(service, **options[service]))
            for service in options
        }
        bench = Bench(sqs_broker, sns_broker, clients)
        await bench.s3.create_bucket(Bucket=bench.bucket)
        yield bench
