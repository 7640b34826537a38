"""The circuit breaker of one source: opens when handlers fail, tries a message now and then, and closes when one works."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from brokerkit._backoff import longest_backoff
from brokerkit._config._breaker import Breaker
from brokerkit._consuming._executor import Executor
from brokerkit._consuming._flow import Flow
from brokerkit._consuming._isolation import Isolation, wait_for_limits
from brokerkit._consuming._leases import OURS
from brokerkit._consuming._pause import Pause
from brokerkit._deadline import wait_for_event
from brokerkit._errors import DecodeError, Reject, Retry
from brokerkit._logging import get_logger
from brokerkit._messages._delivery import Delivery

logger = get_logger(__name__)

_LOOK: Final = 1.0
"""Seconds between two looks whether a trial has ended, where nothing tells."""


class CircuitBreaker:
    """Opens and closes.

    Nothing is counted while handlers succeed: how many did is read from the source's figures when one fails.

    Args:
        settings: when it opens, and when it tries.
        flow: the source's.
        isolation: keeps what waits meanwhile.
        pause: the source's.
        executor: the source's.
        name: the source's name, for the log.
        stopping: set when nothing begins any more.
    """

    def __init__(
        self,
        settings: Breaker,
        flow: Flow,
        *,
        isolation: Isolation,
        pause: Pause,
        executor: Executor,
        name: str,
        stopping: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._flow = flow
        self._isolation = isolation
        self._pause = pause
        self._executor = executor
        self._name = name
        self._stopping = stopping
        self._loop = asyncio.get_running_loop()
        # When attempts failed, and how many messages had been handled by then.
        self._failures: deque[tuple[float, int]] = deque()
        # How many had been handled when it closed: until there are more, one failure opens it again.
        self._closed_at: int | None = None
        # The message that is tried, and how many had been handled when each of those that are here failed as one.
        self._trial: Delivery | None = None
        self._failed_trials = dict[Delivery, int]()
        self._trial_failed = False
        self._opened = asyncio.Event()

    def __repr__(self) -> str:
        state = "open" if self._pause.is_open else "closed"
        return f"<CircuitBreaker of {self._name}: {state}, {len(self._failures)} failures>"

    def takes(self, delivery: Delivery, error: BaseException) -> bool:
        """Note a failed attempt. True where it must not count, because the breaker is open now."""
        if self._stopping.is_set() or not self._counts(error):
            return False
        if self._pause.is_open:
            self._trial_failed = True
            return not (delivery is self._trial and self._fails_while_others_work(delivery))
        now, handled = self._loop.time(), self._flow.stats.handled
        again = handled == self._closed_at
        self._closed_at = None
        failures, wanted = self._failures, self._settings
        failures.append((now, handled))
        while failures[0][0] <= now - wanted.window:
            failures.popleft()
        first, before = failures[0]
        attempts = len(failures) + handled - before
        if not again and (attempts < wanted.minimum or len(failures) < wanted.failures * attempts):
            return False
        told = "it failed again" if again else f"{len(failures)} of {attempts} attempts failed in {now - first:.1f} s"
        self._pause.open(f"circuit breaker: {told}, the last with {type(error).__name__}")
        self._opened.set()
        return True

    def _fails_while_others_work(self, delivery: Delivery) -> bool:
        """Whether others were handled since a message was tried and failed. Then it is the message that is bad: if that did
        not count, it would open the breaker again and again.
        """
        handled, failed = self._flow.stats.handled, self._failed_trials
        before = failed.get(delivery)
        self._failed_trials = {one: at for one, at in failed.items() if one.state in OURS}
        self._failed_trials[delivery] = handled
        return before is not None and handled > before

    def _counts(self, error: BaseException) -> bool:
        errors = self._settings.errors
        return isinstance(error, errors) if errors else not isinstance(error, (Reject, Retry, DecodeError))

    async def run(self) -> None:
        """Try a message now and then while the breaker is open, until cancelled."""
        while True:
            await self._opened.wait()
            self._opened.clear()
            tries = 0
            while self._pause.is_open:
                tries += 1
                first, cap = self._settings.probe_after, max(self._settings.cap, self._settings.probe_after)
                await wait_for_event(self._stopping, longest_backoff(tries, first=first, cap=cap))
                await wait_for_limits(self._flow, self._stopping)
                if self._stopping.is_set():
                    return
                if self._pause.is_open and not self._pause.is_asked_for and await self._try_one():
                    self._close()

    async def _try_one(self) -> bool:
        """Run one message. False if it failed with an error that counts.

        Where nothing waits here, the source goes on with what comes, and the first failure opens the breaker again.
        """
        if (delivery := self._isolation.pick()) is None:
            return True
        flow, self._trial, self._trial_failed = self._flow, delivery, False
        flow.ready.append(delivery)
        flow.wake(1)
        while delivery in flow.ready or delivery in self._executor.running:
            await flow.progress(_LOOK)
        self._trial = None
        if self._trial_failed:
            logger.info("source %s: circuit breaker: a message that was tried failed again", self._name)
        return not self._trial_failed

    def _close(self) -> None:
        self._failures.clear()
        self._closed_at = self._flow.stats.handled
        self._pause.close()
