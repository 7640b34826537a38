"""Fixtures for the tests of the SQS adapter at the seam."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from tests.adapters.sqs.seam import connection
from tests.brokers.aws import AwsBroker

from brokerkit.adapters.aws.sqs import SqsAdapter


@pytest.fixture
async def adapter(sqs_broker: AwsBroker) -> AsyncIterator[SqsAdapter]:
    adapter = SqsAdapter(connection(sqs_broker.url))
    await adapter.open()
    yield adapter
    await adapter.close()


@pytest.fixture
async def plain(sqs_broker: AwsBroker) -> AsyncIterator[Any]:
    """A client of the library itself."""
    async with get_session().create_client("sqs", **sqs_broker.client_options) as client:
        yield client
