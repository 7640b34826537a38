"""Settlement on its own: what a consumer shows only when its tasks end in one order and not in another."""

from __future__ import annotations

import asyncio
from typing import Any

from brokerkit._consuming._settlement import Settlement
from brokerkit._messages._delivery import ACK, Delivery


async def test_what_finishes_while_the_settling_task_is_cancelled_raises_nothing() -> None:
    """`asyncio.run` cancels all tasks at once after Ctrl-C: handlers end before the settling task does, or after it."""
    nobody: Any = None
    settlement = Settlement(
        nobody,
        name="bus",
        acknowledged=nobody,
        settled=nobody,
        not_put_off=nobody,
        crashed=nobody,
        blocked=nobody,
        stopping=asyncio.Event(),
    )
    settling = asyncio.ensure_future(settlement.run())
    await asyncio.sleep(0)
    settling.cancel()
    settlement.add(Delivery(body=b"", topic="t", count=1), ACK)
    await asyncio.wait([settling])
    assert settling.cancelled()
    assert "1 waiting" in repr(settlement)
