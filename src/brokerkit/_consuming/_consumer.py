"""The consumer of one source: its parts, how they start, and the order in which they stop.

Messages do not pass through here. `Intake` receives a message in a batch and looks up its route. The `Executor` runs
its handlers once no other message of its key is before it. `Flow` takes the outcome, and `Settlement` tells the broker.
A failed message goes to `Retries`, which does what `_failure.decide` decides: hold it, retry it through the broker, or
make it a dead letter.

Whatever can be done once for a batch is not done for each message: slots, pollers and the settling task live as long as
the consumer, and a message that is handled costs no task, no context manager and no log record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, cast

from brokerkit._backoff import backoff
from brokerkit._config._settings import SourceSettings
from brokerkit._consuming._backlog import Backlog
from brokerkit._consuming._breaker import CircuitBreaker
from brokerkit._consuming._commit_watermark import CommitWatermark
from brokerkit._consuming._executor import Executor
from brokerkit._consuming._flow import Flow
from brokerkit._consuming._giving_back import GivingBack
from brokerkit._consuming._hold_limit import HoldLimit
from brokerkit._consuming._intake import Intake
from brokerkit._consuming._isolation import FEWEST_STARTS, Isolation
from brokerkit._consuming._leases import Leases
from brokerkit._consuming._pause import Pause
from brokerkit._consuming._preparing import Preparing
from brokerkit._consuming._rate_limits import RateLimits, most_in_flight
from brokerkit._consuming._replay_queues import ReplayQueues
from brokerkit._consuming._retries import Retries
from brokerkit._consuming._routes import Routes
from brokerkit._consuming._settlement import Settlement
from brokerkit._consuming._source_state import SourceState
from brokerkit._consuming._transactions import Transactions
from brokerkit._dead_letters._store import DeadLetterStore
from brokerkit._deadline import SOURCE_GRACE, bounded, wait_for_event
from brokerkit._errors import ConnectionLost, describe
from brokerkit._guard import start
from brokerkit._handlers._scopes import Scope
from brokerkit._logging import get_logger
from brokerkit._messages._delivery import ACK, Delivery, Outcome, Settled
from brokerkit._status._figures import SourceFigures
from brokerkit._status._health import SourceHealth, Status
from brokerkit._status._hooks import Hooks, Notice
from brokerkit.adapters._tls_cause import Tls, explained
from brokerkit.adapters.api import Adapter, Capabilities, LoneStarts, Partitions, Transactional

logger = get_logger(__name__)

_DELIVERIES_FOR_EACH_ATTEMPT: Final = 5
"""Releases and crashes count as deliveries too, so there may be more of them than attempts."""
_LONGEST_PAUSE: Final = 10.0
_GRACE: Final = 1.0
"""Seconds beyond the stop timeout: for cancelled handlers to clean up, and for the last settlements."""


class Consumer:
    """Consumes one source until it is stopped.

    Args:
        name: the source's name in settings, logs and `Message.source`.
        adapter: the broker that the source is on; it must be open.
        routes: the handlers by event name.
        dead_letters: the dead-letter store.
        stop_timeout: seconds for which handlers may continue after `stop` was called.
        hooks: called for rare events.
        bus_scope: the dependencies that live as long as the bus consumes.
        tls: how its connections use TLS, to explain why one is lost; None where nobody knows.
        figures: the source's, which outlive the consumer.

    Attributes:
        stats: counts of what happened to the messages.
        state: tells how the source is.
        status: starting, consuming, …; each change calls the hooks.
        pause: pauses the source.
    """

    # one piece: the parts in the order in which they need each other
    def __init__(
        self,
        *,
        name: str,
        adapter: Adapter,
        settings: SourceSettings,
        routes: Routes,
        dead_letters: DeadLetterStore,
        stop_timeout: float,
        hooks: Hooks,
        bus_scope: Scope,
        tls: Tls | None,
        figures: SourceFigures,
    ) -> None:
        self.name = name
        self._tls = tls
        self.stats = figures.begin()
        self._adapter = adapter
        self._settings = settings
        self._routes = routes
        self._dead_letters = dead_letters
        self._stop_timeout = stop_timeout
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._over = asyncio.Event()
        self._failure: BaseException | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._pollers: list[asyncio.Task[None]] = []

        promises = self._capabilities = self._promises()
        policies = (settings.retry, *routes.policies)
        attempts = max(each.attempts for policy in policies for each in policy.policies)
        most_deliveries = settings.max_deliveries or _DELIVERIES_FOR_EACH_ATTEMPT * attempts
        subscription = settings.subscription(
            promises,
            drain_timeout=stop_timeout,
            max_deliveries=most_deliveries,
            longest_retry=max(policy.longest_total for policy in policies),
        )
        rates = [*routes.rates.values(), *([settings.rate] if settings.rate else ())]
        most = most_in_flight(subscription.max_in_flight, rates=rates, max_hold=promises.max_hold)
        subscription = replace(subscription, max_in_flight=most)
        self._preparation = settings.preparation()
        self._source = adapter.subscribe(subscription, self._lose)
        about = Notice(
            kind="stopped", broker=promises.broker, source=name, topic=subscription.topics[0], group=settings.group
        )
        self.status = Status(hooks, about, state="starting", good="consuming")

        flow = self._flow = Flow(
            max_in_flight=subscription.max_in_flight,
            most_deliveries=most_deliveries,
            backlog=Backlog(
                max_in_flight=subscription.max_in_flight,
                concurrency=settings.concurrency,
                partitions=cast("Partitions", self._source) if promises.commits_offsets else None,
            ),
            ordered=settings.order != "none",
            copies_retries=promises.copies_retries,
            figures=figures,
            status=self.status,
            hooks=hooks,
            crashed=self._fail_source,
        )
        if rates:
            flow.limits = RateLimits(flow, own=settings.rate, handlers=routes.rates, crashed=self._fail_source)
        self._retries = Retries(
            flow,
            name=name,
            settings=settings,
            capabilities=promises,
            dead_letters=dead_letters,
            stopping=self._stopping,
            back_off=self._back_off,
            crashed=self._fail_source,
            replay_queues=ReplayQueues(adapter, settings, promises, self._run_beside),
        )
        self._transactions: Transactions | None = None
        if settings.exactly_once:
            flow.settlement = self._transactions = self._retries.transactions = Transactions(
                cast("Transactional", self._source),
                name=name,
                adapter=adapter,
                capabilities=promises,
                acknowledged=flow.acknowledged,
                settled=flow.settled,
                letter_stored=self._retries.letter_stored,
                advance=flow.advance,
                refused=self._retries.not_committed,
            )
        else:
            flow.settlement = Settlement(
                self._source,
                name=name,
                acknowledged=flow.acknowledged,
                settled=self._settled,
                not_put_off=self._retries.not_put_off,
                crashed=self._fail_source,
                blocked=partial(flow.block, "settling"),
                stopping=self._stopping,
            )
        self._executor = Executor(
            flow,
            source=name,
            concurrency=settings.concurrency,
            timeout=settings.timeout,
            timeouts=routes.timeouts,
            retries=self._retries,
            bus_scope=bus_scope,
            begin=None if self._transactions is None else self._transactions.begin,
            crashed=self._fail_source,
        )
        self._isolation = flow.isolation = Isolation(
            flow,
            starts=cast("LoneStarts", self._source),  # used where deliveries are counted, and a source is one there
            topics=subscription.topics if promises.attempts == "deliveries" else (),
            name=name,
            limit=max(FEWEST_STARTS, attempts),
            executor=self._executor,
            dead_letter=self._retries.dead_letter,
            stopping=self._stopping,
            back_off=self._back_off,
            crashed=self._fail_source,
        )
        self.pause = Pause(self._isolation, source=self._source, name=name, status=self.status)
        self._breaker: CircuitBreaker | None = None
        if settings.breaker is not None:
            self._breaker = self._retries.breaker = CircuitBreaker(
                settings.breaker,
                flow,
                isolation=self._isolation,
                pause=self.pause,
                executor=self._executor,
                name=name,
                stopping=self._stopping,
            )
        self._watermark = CommitWatermark()
        self._leases = Leases(self._source, seconds=settings.lease, stats=self.stats, lost=self._drop)
        self._hold_limit = HoldLimit(lambda: self._promises().max_hold, self._retries.held, self._expire)
        self._intake = Intake(
            flow,
            source=self._source,
            name=name,
            settings=settings,
            routes=routes,
            retries=self._retries,
            status=self.status,
            stopping=self._stopping,
            over=self._over,
            back_off=self._back_off,
            lost=self._connection_lost,
            failed=self._fail_source,
            preparing=self._make_preparing(),
        )
        self._intake.transactions = self._transactions
        self._retries.again = self._intake.again
        self._giving_back = GivingBack(
            flow,
            retries=self._retries,
            intake=self._intake,
            watermark=self._watermark,
            executor=self._executor,
            transactions=self._transactions,
            drain_timeout=stop_timeout,
        )
        self.state = SourceState(
            self._source,
            settings=settings,
            status=self.status,
            flow=flow,
            routes=routes,
            retries=self._retries,
            isolation=self._isolation,
            executor=self._executor,
        )

    def __repr__(self) -> str:
        return f"<Consumer {self.name}: {self.state!r}>"

    async def health(self, *, lag: bool) -> SourceHealth:
        """Return the current state. With ``lag``, ask the broker too, for a short time."""
        return await self.state.health(self._capabilities, lag=lag)

    # ---- lifecycle -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the source and begin.

        Raises:
            BrokerkitError: as `Source.open` does.
        """
        await self._dead_letters.open()
        try:
            await self._source.open()
        except ConnectionLost as error:
            raise await explained(error, self._tls) from error.__cause__
        self._isolation.learn_limits()
        # Some promises depend on what only the broker could tell.
        self._capabilities = self._promises()
        self.status.become("consuming")
        self._executor.start()
        self._run_beside(self._flow.settlement.run())
        self._run_beside(self._retries.writer.run())
        if self._capabilities.lease is not None:
            self._intake.leases = self._leases
            self._run_beside(self._leases.keep())
        if self._capabilities.max_hold is not None:
            self._intake.hold_limit = self._hold_limit
            self._run_beside(self._hold_limit.keep())
        if self._capabilities.commits_offsets:
            self._intake.watermark = self._watermark
        if self._capabilities.attempts == "deliveries":
            self._run_beside(self._isolation.run())
        if self._breaker is not None:
            self._run_beside(self._breaker.run())
        for idempotent in self._routes.idempotent_handlers:
            self._run_beside(idempotent.keep())
        pollers = self._capabilities.pollers
        self._pollers = [start(self._intake.poll(pollers), self._fail_source) for _ in range(pollers)]

    def _make_preparing(self) -> Preparing | None:
        if self._preparation is None:
            return None
        return Preparing(
            self._preparation,
            name=self.name,
            status=self.status,
            stopping=self._stopping,
            back_off=self._back_off,
        )

    def _promises(self) -> Capabilities:
        return self._adapter.capabilities((self._settings.topic or self._settings.queue)[0])

    async def stop(self) -> None:
        """Stop in the order that loses nothing and repeats nothing that finished in time.

        Take nothing new; release what never started; wait for the handlers, up to the stop timeout; settle while the
        connection lives; close.
        """
        deadline = self._loop.time() + self._stop_timeout
        self._stopping.set()
        if self._failure is None:
            self.status.become("stopping")
        await bounded(min(self._stop_timeout, SOURCE_GRACE), f"stopping source {self.name}", self._source.stop())
        self._flow.wake_pollers()
        if self._pollers:
            await asyncio.wait(self._pollers, timeout=max(deadline - self._loop.time(), 0))
        self._giving_back.begin_stop()
        await self._giving_back.finish_needed(max(deadline - self._loop.time(), 0))
        await self._executor.stop(timeout=max(deadline - self._loop.time(), 0), grace=_GRACE)
        while self._flow.in_flight and self._loop.time() < deadline + _GRACE:
            self._giving_back.release_rest()
            await self._flow.progress(_GRACE)
        await self._isolation.stop(timeout=_GRACE)
        if ending := [*self._pollers, *self._background]:
            for task in ending:
                task.cancel()
            await asyncio.wait(ending, timeout=_GRACE)
        if self._preparation is not None:
            await bounded(_GRACE, f"closing the preparation of {self.name}", self._preparation.close())
        left = deadline + SOURCE_GRACE - self._loop.time()
        await bounded(max(left, _GRACE), f"closing source {self.name}", self._source.close())
        if self._failure is None:
            self.status.become("stopped")
        self.status.tell("stopped", error=self._failure)

    def abort(self) -> None:
        """Cancel running handlers at once, as the end of the process would. For tests of crashes."""
        self._executor.abort()

    def _connection_lost(self, error: ConnectionLost) -> None:
        failures = self.status.failures
        if self._tls is not None and failures & (failures - 1) == 0:  # 1, 2, 4, …: each search is a connection
            self._run_beside(self._find_cause(error, self._tls))

    async def _find_cause(self, error: ConnectionLost, tls: Tls) -> None:
        """Say later why the connection was lost: to find out takes a connection."""
        found = await explained(error, tls)
        if found is not error and self.status.failures:
            self.status.note(found)
            logger.warning("%s: %s", self.name, found)

    def _run_beside(self, coroutine: Any) -> None:
        """Run one of the consumer's long-lived tasks. If it fails, the consumer fails."""
        self._background.add(start(coroutine, self._fail_source))

    def _fail_source(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
            logger.error("source %s ends: %s: %s", self.name, type(error).__name__, describe(error))
            self.status.note(error)
            self.status.become("failed")
            self.status.tell("source_failed", error=error)
        self._over.set()

    def _settled(self, delivery: Delivery, outcome: Outcome, answer: Settled) -> None:
        if outcome is ACK and answer is Settled.LOST:
            self._retries.done_here.lost(delivery)
        self._flow.settled(delivery, outcome, answer)

    # ---- what parts that are made earlier ask of parts that are made later ----------------------------------------

    async def _lose(self, deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
        await self._giving_back.lose(deliveries, gone=gone)

    def _drop(self, delivery: Delivery) -> bool:
        return self._giving_back.drop(delivery)

    def _expire(self, expired: Sequence[Delivery]) -> None:
        self._giving_back.expire(expired)

    async def _back_off(self, failures: int) -> None:
        """Wait longer with each failure, with jitter. Return at once when the consumer is to stop."""
        await wait_for_event(self._stopping, backoff(failures, first=0.2, cap=_LONGEST_PAUSE))
