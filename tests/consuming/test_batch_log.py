"""What the log says of a batch that has failed."""

from __future__ import annotations

import pytest

from brokerkit import FailedItems, Message, RetryPolicy
from brokerkit.testing import TestBus
from tests.consuming.embedded import FAST
from tests.consuming.test_batches import Batches, deliver, make_bus


@pytest.mark.parametrize("retry", [FAST, RetryPolicy(attempts=1)], ids=["tried again", "dead letters"])
async def test_an_error_of_a_batch_is_logged_for_each_message_and_its_traceback_once(
    retry: RetryPolicy, caplog: pytest.LogCaptureFixture
) -> None:
    bus = make_bus(retry=retry)

    async def fail(numbers: list[int], messages: list[Message]) -> FailedItems | None:
        if messages[0].attempt > 1:
            return None
        if 0 in numbers:
            raise RuntimeError("the database is away")
        return FailedItems(dict.fromkeys((0, 1), LookupError("both")) | {2: LookupError("this one")})

    batches = Batches(bus, size=3, within=0.05, act=fail)
    async with TestBus(bus) as test:
        await deliver(test, *range(6))
        await test.settled()
    assert batches.got[:2] == [[0, 1, 2], [3, 4, 5]]
    failed = [record for record in caplog.records if "RuntimeError" in str(record.args)]
    assert [bool(record.exc_info) for record in failed] == [True, False, False]
    named = [record.getMessage() for record in caplog.records if "LookupError" in str(record.args)]
    assert [text.rsplit(": ", 1)[1] for text in named] == ["both", "both", "this one"]
