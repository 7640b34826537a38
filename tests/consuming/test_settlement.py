"""Settlement on its own: what a consumer shows only when its tasks end in one order and not in another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from brokerkit._consuming._settlement import Settlement
from brokerkit._messages._delivery import ACK, Delivery, Outcome, RetryLater, Settled
from brokerkit._messages._outgoing import Outgoing
from tests.every_broker import until


def made(source: Any, not_put_off: Any = None) -> Settlement:
    nobody: Any = None
    return Settlement(
        source,
        name="bus",
        acknowledged=nobody,
        settled=nobody,
        not_put_off=not_put_off,
        crashed=nobody,
        blocked=nobody,
        stopping=asyncio.Event(),
    )


class _Refusing:
    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        return [Settled.FAILED] * len(pairs)


async def test_the_broker_owes_an_answer_for_what_it_refused_and_none_for_what_waits_here_instead() -> None:
    """Else the source is not ready until that message is settled, and never again if its partition goes elsewhere."""
    held = asyncio.Event()
    settlement = made(_Refusing(), not_put_off=lambda *_: held.set())
    settling = asyncio.ensure_future(settlement.run())
    later = RetryLater(1.0, Outgoing(topic="t", body=b"", name="n", id="1"))
    settlement.add(Delivery(body=b"", topic="t", count=1), later)
    await until(held.is_set)
    assert settlement.silent_for() == 0
    settlement.add(Delivery(body=b"", topic="t", count=1), ACK)
    await until(lambda: settlement.silent_for() > 0.1)
    settling.cancel()
    await asyncio.wait([settling])


async def test_what_finishes_while_the_settling_task_is_cancelled_raises_nothing() -> None:
    """`asyncio.run` cancels all tasks at once after Ctrl-C: handlers end before the settling task does, or after it."""
    settlement = made(None)
    settling = asyncio.ensure_future(settlement.run())
    await asyncio.sleep(0)
    settling.cancel()
    settlement.add(Delivery(body=b"", topic="t", count=1), ACK)
    await asyncio.wait([settling])
    assert settling.cancelled()
    assert "1 waiting" in repr(settlement)
