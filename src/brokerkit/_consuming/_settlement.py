"""Settlement: tells the broker the outcomes of deliveries, in batches, until it has answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from brokerkit._backoff import backoff
from brokerkit._errors import BrokerkitError
from brokerkit._guard import Failed, guarded
from brokerkit._logging import get_logger
from brokerkit._messages._delivery import ACK, Delivery, Outcome, RetryLater, Settled, State
from brokerkit._messages._log_fields import about
from brokerkit.adapters.api import Source

logger = get_logger(__name__)

_FINISHED: Final = State.FINISHED  # looked up for each message: a member costs several times what a global does

_OFTEN: Final = 3
"""A settlement that was refused this often is reported."""
_LONGEST_PAUSE: Final = 2.0
"""The most seconds between two tries. A stop may wait about as long for the next one."""


class Settling(Protocol):
    """Tells the broker what was decided: one by one (`Settlement`), or in transactions (`Transactions`)."""

    @property
    def is_busy(self) -> bool:
        """Whether the broker has yet to be told something, or to answer."""
        ...

    def silent_for(self) -> float:
        """Seconds for which the broker owes an answer; 0 if it owes none."""
        ...

    def add(self, delivery: Delivery, outcome: Outcome) -> None:
        """Settle this delivery as soon as possible."""
        ...

    async def run(self) -> None:
        """Settle what was added, until cancelled."""
        ...


class Settlement:
    """Settles everything that is finished with one call, then everything that finished during that call, and so on.

    Args:
        source: settles.
        name: the source's name, for the log.
        acknowledged: called with the number of deliveries of a batch that are acknowledged.
        settled: called with the broker's answer for each other delivery that is no longer ours.
        not_put_off: called with each delivery that the broker could not put off durably; it is still ours.
        crashed: called with a defect in this module, which ends the source.
        blocked: called with the reason while settlements are refused again and again, and with None when that ends.
        stopping: set when there are no more tries.
    """

    def __init__(
        self,
        source: Source,
        *,
        name: str,
        acknowledged: Callable[[int], None],
        settled: Callable[[Delivery, Outcome, Settled], None],
        not_put_off: Callable[[Delivery, RetryLater], None],
        crashed: Failed,
        blocked: Callable[[BrokerkitError | None], None],
        stopping: asyncio.Event,
    ) -> None:
        self._source = source
        self._crashed = crashed
        self._name = name
        self._acknowledged = acknowledged
        self._settled = settled
        self._not_put_off = not_put_off
        self._blocked = blocked
        self._stopping = stopping
        self._refused: set[Delivery] = set()
        self._waiting: list[tuple[Delivery, Outcome]] = []
        self._idle: asyncio.Future[None] | None = None
        self._telling = False
        self._put_off = 0
        # The first settlement since which the broker has confirmed none.
        self._asked_at: float | None = None
        self._clock = asyncio.get_running_loop().time

    def __repr__(self) -> str:
        return f"<Settlement of {self._name}: {len(self._waiting)} waiting>"

    @property
    def is_busy(self) -> bool:
        """Whether outcomes or answers are outstanding."""
        return bool(self._waiting or self._telling or self._put_off)

    def silent_for(self) -> float:
        """Seconds for which the broker owes an answer; 0 if it owes none."""
        return 0.0 if self._asked_at is None else self._clock() - self._asked_at

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
            self._telling = True
            if self._asked_at is None:
                self._asked_at = self._clock()
            answers = await self._source.settle(pairs)
            self._telling = False
            acknowledged, others, done, settled = 0, 0, Settled.DONE, State.SETTLED
            for (delivery, outcome), answer in zip(pairs, answers, strict=True):
                if answer is done and outcome is ACK:
                    delivery.state = settled
                    acknowledged += 1
                elif answer is not Settled.FAILED or not self._try_again(delivery, outcome):
                    delivery.state = settled
                    others += 1
                    self._settled(delivery, outcome, answer)
            if acknowledged or others or not self.is_busy:
                self._asked_at = None  # What could not be put off waits here instead: the broker owes nothing for it.
            if acknowledged:
                self._acknowledged(acknowledged)
            if self._refused:
                self._look_at_refused()

    def _look_at_refused(self) -> None:
        """Report a settlement that the broker has refused too often, or that there is none any more."""
        self._refused = {delivery for delivery in self._refused if delivery.state is _FINISHED}
        most = max((delivery.need_retry_state().settling for delivery in self._refused), default=0)
        if most >= _OFTEN:
            text = f"{len(self._refused)} messages could not be acknowledged or given back in {most} tries"
            self._blocked(BrokerkitError(text))
        elif not self._refused:
            self._blocked(None)

    def _try_again(self, delivery: Delivery, outcome: Outcome) -> bool:
        """Handle a settlement that failed. Return False if it is left to the broker to redeliver the message.

        While the consumer runs, there is no last try: a handled message must not be handled again because the broker
        was away for a while. If the broker has taken the message away, it says that the delivery is lost.
        """
        if isinstance(outcome, RetryLater):
            self._not_put_off(delivery, outcome)
            return True
        retry_state = delivery.need_retry_state()
        retry_state.settling += 1
        self._refused.add(delivery)
        if self._stopping.is_set():
            extra = about(delivery, self._name)
            logger.error("source %s: %s could not be settled; it comes again", self._name, delivery, extra=extra)
            return False
        pause = backoff(retry_state.settling, first=0.2, cap=_LONGEST_PAUSE)
        self._put_off += 1
        asyncio.get_running_loop().call_later(pause, guarded(self._add_again, self._crashed), delivery, outcome)
        return True

    def _add_again(self, delivery: Delivery, outcome: Outcome) -> None:
        self._put_off -= 1
        self.add(delivery, outcome)
