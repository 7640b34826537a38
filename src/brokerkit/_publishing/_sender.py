"""Sends concurrent publishes in batches. Each publish ends in time, whatever the broker does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, cast

from brokerkit._backoff import backoff
from brokerkit._deadline import CLEAN_UP
from brokerkit._errors import BrokerkitError, Closed, ConnectionLost, PublishError, describe
from brokerkit._guard import guarded, start
from brokerkit._logging import get_logger
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._status._figures import TargetFigures
from brokerkit._status._health import Status
from brokerkit.adapters._tls_cause import Tls
from brokerkit.adapters.api import Adapter

logger = get_logger(__name__)

Result = Receipt | BrokerkitError

LARGEST_BATCH: Final = 5_000
_LONG: Final = 5.0
"""Seconds without a confirmation after which the broker of a target counts as out of reach."""

_SILENT: Final = "the broker does not answer"
"""Why a publish got no confirmation, as long as the adapter says nothing else."""


Group = tuple[Sequence[Outgoing], "asyncio.Future[list[Result]]", float]
"""The messages of one call, the future for their results, and the loop's time by which it must be done.

It has no names because each publish makes one, and a named tuple takes five times as long to make.
"""


class Sender:
    """Sends the messages of one target through its adapter.

    A group joins the next batch. While one batch is being sent, the next one fills. So a single publish does not wait, and
    many concurrent publishes share round trips. Messages are sent in the order of the calls. After a broken connection,
    unconfirmed messages are sent again, after the confirmed ones.

    Args:
        name: name of the target.
        timeout: seconds after which a group has its results in any case.
        status: the target's; told of a broker that cannot be reached and of one that is back.
        figures: the target's.
        tls: how its connections use TLS, to explain why one is lost; None where nobody knows.
    """

    def __init__(
        self,
        name: str,
        adapter: Adapter,
        *,
        timeout: float,
        status: Status,
        figures: TargetFigures,
        tls: Tls | None = None,
    ) -> None:
        self._name = name
        self._adapter = adapter
        self._timeout = timeout
        self._status = status
        self._figures = figures
        self._waiting: deque[Group] = deque()
        self._flying: list[Group] = []
        self._sending: asyncio.Task[None] | None = None
        # Timers for each batch cost as much as all else here, so one timer looks after all groups. It is left when nothing
        # waits, and set again when it fires. That is in time: whatever is added later ends `_nap` seconds later or more.
        self._timer: asyncio.TimerHandle | None = None
        self._nap = min(timeout, _LONG)
        self._begun = 0.0  # the loop's time at which the batch that is on its way began
        self._silent = False  # its broker's silence is noted
        self._cut = False  # it was cancelled, because the time of all its groups is over
        self._cause = _SILENT
        self._tls = tls
        # What is wrong with TLS, and the search for it.
        self._wrong = ""
        self._searching: asyncio.Task[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Sender of {self._name}: {len(self)} unconfirmed>"

    def __len__(self) -> int:
        return sum(len(messages) for messages, _, _ in (*self._flying, *self._waiting))

    def add(self, messages: Sequence[Outgoing]) -> asyncio.Future[list[Result]]:
        """Send these with the next batch. The future has one result for each, after `timeout` seconds at the latest.

        Raises:
            Closed: the sender is closed.
        """
        if self._closed:
            raise Closed(f"target {self._name!r} is closed")
        loop = asyncio.get_running_loop()
        # If the waiting task is cancelled, the messages are still sent.
        waiter: asyncio.Future[list[Result]] = loop.create_future()
        now = loop.time()
        self._waiting.append((messages, waiter, now + self._timeout))
        if self._timer is None:
            self._set_timer(now + self._nap)
        if self._sending is None:
            self._sending = asyncio.Task(self._send_all(), loop=loop)  # never an eager task: see `start`
        return waiter

    def _next_batch(self) -> list[Outgoing]:
        """Take as many groups as fit into one batch, and return their messages."""
        batch: list[Outgoing] = []
        while self._waiting and len(batch) + len(self._waiting[0][0]) <= LARGEST_BATCH:
            self._flying.append(self._waiting.popleft())
            batch += self._flying[-1][0]
        return batch

    async def _send_all(self) -> None:
        """Send batch after batch until nothing waits.

        This task keeps its own error: the callback of the guard would cost each single publish a turn of the loop more.
        """
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, groups = self._next_batch(), self._flying
                self._begun, self._silent = loop.time(), False
                results: list[Result]
                try:
                    results = await self._send(batch, groups)
                except Exception as error:  # noqa: BLE001 (a defect of an adapter must not leave a publisher waiting)
                    failure = PublishError(f"target {self._name!r} failed with a {type(error).__name__}")
                    failure.__cause__ = error
                    results = [failure for _ in batch]
                except asyncio.CancelledError:
                    self._give_up(groups)
                    raise
                finally:
                    self._flying = []
                if self._figures.durations.measured:
                    full = loop.time() + self._timeout
                    calls = [(len(messages), full - deadline) for messages, _, deadline in groups]
                    self._figures.note(calls, results)
                first = 0
                for messages, waiter, _ in groups:
                    if not waiter.done():
                        waiter.set_result(results[first : first + len(messages)])
                    first += len(messages)
        except Exception as error:  # noqa: BLE001 (nobody awaits this task)
            self._fail(error)
        finally:
            self._sending = None

    async def _send(self, batch: list[Outgoing], groups: Sequence[Group]) -> list[Result]:
        """Send one batch. When the time of all its groups is over, what is known by then is the result."""
        results: list[Result] = []
        try:
            results = await self._adapter.send(batch)
            if self._status.failures or any(isinstance(result, ConnectionLost) for result in results):
                await self._send_again(batch, groups, results)
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            if not self._was_cut():
                raise
        finally:
            self._was_cut()  # an adapter may also have swallowed it
        if self._wrong:
            results = [self._explained(result) if isinstance(result, ConnectionLost) else result for result in results]
        return results or self._unconfirmed(len(batch))

    async def _send_again(self, batch: list[Outgoing], groups: Sequence[Group], results: list[Result]) -> None:
        """Send again what was not confirmed because the connection broke. Ids stay the same.

        Args:
            batch: the messages.
            groups: of which calls they are.
            results: of the first try; those of later tries take their places.
        """
        loop, give_up = asyncio.get_running_loop(), groups[-1][2]
        failures = 0
        while not self._closed:
            again = [index for index, result in enumerate(results) if isinstance(result, ConnectionLost)]
            if again:
                lost = cast("ConnectionLost", results[again[0]])
                self._cause = f"{type(lost).__name__}: {describe(lost)}"
                self._lose(lost)
            elif self._status.failures:
                self._cause, self._wrong = _SILENT, ""
                self._figures.reconnects += 1
                self._status.recover()
            failures += 1
            pause = backoff(failures, first=0.1, cap=5.0)
            if not again or loop.time() + pause > give_up:
                break
            await asyncio.sleep(pause)
            # The publishers of groups that have ended may already have published their messages again.
            over = [waiter.done() for messages, waiter, _ in groups for _ in messages]
            again = [index for index in again if not over[index]]
            if not again:
                break
            found = await self._adapter.send([batch[index] for index in again])
            for index, result in zip(again, found, strict=True):
                results[index] = result

    def _lose(self, error: ConnectionLost) -> None:
        """Note that the broker is out of reach, and find out whether that is for its TLS."""
        failures = self._status.failures
        self._status.lose(self._explained(error))
        # At the failures 1, 2, 3, 5, 9, …: each search is a connection.
        if self._tls is not None and self._searching is None and failures & (failures - 1) == 0:
            self._searching = start(self._find_cause(error, self._tls), self._fail)

    async def _find_cause(self, error: ConnectionLost, tls: Tls) -> None:
        try:
            wrong = await tls.explain()
        finally:
            self._searching = None
        if not self._status.failures:
            return
        if wrong and wrong != self._wrong:
            logger.warning("target %s: %s", self._name, wrong)
        self._wrong = wrong
        self._status.note(self._explained(error))

    def _explained(self, error: ConnectionLost) -> ConnectionLost:
        """Return the error with what is wrong with TLS, if that is known."""
        if not self._wrong or self._wrong in str(error):
            return error
        found = ConnectionLost(f"{error}; {self._wrong}")
        found.__cause__ = error
        return found

    def _was_cut(self) -> bool:
        """Whether `_check` cancelled the running batch, and nobody else did. Takes that cancellation back."""
        if not self._cut:
            return False
        self._cut = False
        return self._sending is not None and self._sending.uncancel() == 0

    def _set_timer(self, moment: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(moment, guarded(self._check, self._fail))

    def _check(self) -> None:
        """End what must end by now, note a silent broker, and set the timer for what is next."""
        self._timer = None
        if not (self._flying or self._waiting):
            return
        now = asyncio.get_running_loop().time()
        following = [now + self._nap]
        if self._flying and not self._silent:
            if (silent := self._begun + _LONG) <= now:
                # A client library that reconnects itself (librdkafka) reports nothing until it gives up.
                self._silent = True
                self._lose(ConnectionLost(f"target {self._name!r}: no confirmation for {_LONG:g} s"))
            else:
                following.append(silent)
        following += self._expire(now)
        self._set_timer(min(following))

    def _expire(self, now: float) -> list[float]:
        """End the groups whose time is over, wherever their messages are. Return the deadlines that may be next."""
        following: list[float] = []
        for messages, waiter, deadline in self._flying:
            if deadline > now:
                following.append(deadline)
            elif not waiter.done():
                waiter.set_result(self._unconfirmed(len(messages)))
        if self._flying and not following and not self._cut and self._sending is not None:
            self._cut = self._sending.cancel()
        while self._waiting and self._waiting[0][2] <= now:
            messages, waiter, _ = self._waiting.popleft()
            if not waiter.done():
                text = f"target {self._name!r}: not sent within {self._timeout:g} s (publish_timeout): {self._cause}"
                waiter.set_result([self._explained(ConnectionLost(text)) for _ in messages])
        if self._waiting:
            following.append(self._waiting[0][2])
        return following

    def _unconfirmed(self, count: int) -> list[Result]:
        error = self._explained(
            ConnectionLost(
                f"target {self._name!r}: no confirmation within {self._timeout:g} s (publish_timeout), so the broker may "
                f"or may not have the message: {self._cause}"
            )
        )
        self._lose(error)
        return [error for _ in range(count)]

    def _give_up(self, groups: Iterable[Group]) -> None:
        """End all groups with an error, because the bus closes and there will be no confirmations."""
        given_up = [*groups, *self._waiting]
        self._waiting.clear()
        for messages, waiter, _ in given_up:
            if not waiter.done():
                text = f"target {self._name!r} was closed before the broker confirmed: it may have the message"
                waiter.set_result([ConnectionLost(text) for _ in messages])

    def _fail(self, error: BaseException) -> None:
        """End waiting groups with an error after a defect in this module. The next publish starts afresh."""
        waiting, self._waiting = self._waiting, deque()
        for messages, waiter, _ in waiting:
            if not waiter.done():
                failure = PublishError(f"target {self._name!r} failed with a {type(error).__name__}: {describe(error)}")
                failure.__cause__ = error
                waiter.set_result([failure for _ in messages])

    async def close(self, timeout: float) -> None:
        """Refuse new messages, and wait for sent ones. Those not confirmed after ``timeout`` seconds have failed."""
        self._closed = True
        if (sending := self._sending) is not None:
            await asyncio.wait([sending], timeout=min(timeout, self._timeout))
            if not sending.done():
                sending.cancel()
                await asyncio.wait([sending], timeout=CLEAN_UP)
        if (searching := self._searching) is not None:
            searching.cancel()
            await asyncio.wait([searching])
        if self._sending is None and self._timer is not None:
            self._timer.cancel()
