"""Settlement: what was decided about deliveries is told to the broker, in batches, until it has answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from brokerkit._consuming._trouble import Trouble
from brokerkit._message import ACK, Delivery, Outcome, RetryLater, Settled, State
from brokerkit._transport import Source

logger = logging.getLogger("brokerkit")

_FINISHED: Final = State.FINISHED  # looked up for each message: a member costs several times what a global does

_LONGEST_PAUSE: Final = 2.0
"""Seconds between two tries at most: a stop waits about as long for the next one."""


class Settlement:
    """Settles everything that finished meanwhile with one call, then what finished during that call, and so on.

    Args:
        source: settles.
        name: the source's name, for the log.
        acknowledged: told how many deliveries are acknowledged and over, all of one batch at once.
        settled: told the broker's answer for each other delivery that is no longer ours.
        not_put_off: told of each delivery that the broker could not put off durably; it is still ours.
        stopping: set when nothing is tried again any more.
    """

    def __init__(
        self,
        source: Source,
        *,
        name: str,
        acknowledged: Callable[[int], None],
        settled: Callable[[Delivery, Outcome, Settled], None],
        not_put_off: Callable[[Delivery, RetryLater], None],
        stopping: asyncio.Event,
    ) -> None:
        self._source = source
        self._name = name
        self._acknowledged = acknowledged
        self._settled = settled
        self._not_put_off = not_put_off
        self._stopping = stopping
        self._waiting: list[tuple[Delivery, Outcome]] = []
        self._idle: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Settlement of {self._name}: {len(self._waiting)} waiting>"

    def add(self, delivery: Delivery, outcome: Outcome) -> None:
        """Settle this delivery with the next batch."""
        delivery.state = _FINISHED
        self._waiting.append((delivery, outcome))
        if self._idle is not None:
            if not self._idle.done():  # It is cancelled with the task.
                self._idle.set_result(None)
            self._idle = None

    async def run(self) -> None:
        """Settle what was added, until cancelled."""
        while True:
            if not self._waiting:
                self._idle = asyncio.get_running_loop().create_future()
                await self._idle
            pairs, self._waiting = self._waiting, []
            answers = await self._source.settle(pairs)
            acknowledged, done, settled = 0, Settled.DONE, State.SETTLED
            for (delivery, outcome), answer in zip(pairs, answers, strict=True):
                if answer is done and outcome is ACK:
                    delivery.state = settled
                    acknowledged += 1
                elif answer is not Settled.FAILED or not self._try_again(delivery, outcome):
                    delivery.state = settled
                    self._settled(delivery, outcome, answer)
            if acknowledged:
                self._acknowledged(acknowledged)

    def _try_again(self, delivery: Delivery, outcome: Outcome) -> bool:
        """Do something about a settlement that did not work; False where the broker is left to redeliver the message.

        There is no last try while the consumer runs: what is handled must not be handled again because the broker was away
        for a while, and a broker that has taken the message away says that it is lost.
        """
        if isinstance(outcome, RetryLater):
            self._not_put_off(delivery, outcome)
            return True
        delivery.trouble = trouble = delivery.trouble or Trouble()
        trouble.settling += 1
        if self._stopping.is_set():
            logger.error("source %s: %s could not be settled; it comes again", self._name, delivery)
            return False
        pause = min(0.2 * trouble.settling, _LONGEST_PAUSE)
        asyncio.get_running_loop().call_later(pause, self.add, delivery, outcome)
        return True
