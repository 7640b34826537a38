"""The embedded broker leaves a key to the reader that has it, as its order across the group demands."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

import pytest

from brokerkit import adapters
from brokerkit._config._settings import ConnectionSettings
from brokerkit._messages._delivery import ACK, RELEASE, Delivery, Outcome
from brokerkit._messages._outgoing import Outgoing
from brokerkit.adapters.api import Source, Subscription


async def _ignore(_: object, *, gone: bool = True) -> None:
    """Nothing is lost here."""


def _numbers(deliveries: Sequence[Delivery]) -> list[int]:
    return [int(delivery.body or b"") for delivery in deliveries]


@pytest.mark.parametrize("outcome", [ACK, RELEASE])
async def test_a_key_that_one_reader_has_is_left_to_it_until_it_is_settled(outcome: Outcome) -> None:
    adapter = adapters.make(ConnectionSettings.model_validate({"url": f"memory://{uuid.uuid4().hex}"}).connection())
    await adapter.open()
    sources: list[Source] = [
        adapter.subscribe(Subscription(topics=("deals",), group="g", provision="all"), _ignore) for _ in range(2)
    ]
    for source in sources:
        await source.open()
    first, second = sources
    keys = ["a", "a", "b", None, "a"]
    await adapter.send(
        [
            Outgoing(topic="deals", body=b"%d" % number, name="n", id=str(number), key=key)
            for number, key in enumerate(keys)
        ]
    )
    [held] = await first.receive(1)
    assert _numbers([held]) == [0]
    assert _numbers(await second.receive(10)) == [2, 3]
    assert _numbers(await first.receive(1)) == [1]  # its own key goes on
    await first.settle([(held, outcome)])
    more = await first.receive(10)
    assert _numbers(more) == ([4] if outcome is ACK else [0, 4])
    for source in sources:
        await source.close()
    await adapter.close()


async def test_who_waits_for_a_key_gets_it_when_the_other_reader_is_done_with_it() -> None:
    adapter = adapters.make(ConnectionSettings.model_validate({"url": f"memory://{uuid.uuid4().hex}"}).connection())
    await adapter.open()
    first, second = [
        adapter.subscribe(Subscription(topics=("deals",), group="g", provision="all"), _ignore) for _ in range(2)
    ]
    await first.open()
    await second.open()
    for number in range(2):
        await adapter.send([Outgoing(topic="deals", body=b"%d" % number, name="n", id=str(number), key="a")])
    held = await first.receive(1)
    waiting = asyncio.ensure_future(second.receive(1))
    await asyncio.sleep(0)
    await first.settle([(held[0], ACK)])
    async with asyncio.timeout(45):
        assert _numbers(await waiting) == [1]
    await first.close()
    await second.close()
    await adapter.close()
