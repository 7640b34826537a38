"""Fixtures for the tests of the SNS adapter at the seam."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from tests.adapters.sns.seam import connection
from tests.brokers.aws import AwsBroker

from brokerkit.adapters.aws.sns import SnsAdapter


@pytest.fixture
async def adapter(sns_broker: AwsBroker) -> AsyncIterator[SnsAdapter]:
    adapter = SnsAdapter(connection(sns_broker.url))
    await adapter.open()
    yield adapter
    await adapter.close()


@pytest.fixture
async def sns(sns_broker: AwsBroker) -> AsyncIterator[Any]:
    """A client of the library itself."""
    async with get_session().create_client("sns", **sns_broker.client_options) as client:
        yield client


@pytest.fixture
async def sqs(sns_broker: AwsBroker) -> AsyncIterator[Any]:
    """The same for the queues."""
    async with get_session().create_client("sqs", **sns_broker.client_options) as client:
        yield client
