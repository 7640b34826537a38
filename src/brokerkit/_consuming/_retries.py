"""Retries: does what `_failure.decide` decides about a failed message, until it succeeds or is a dead letter.

The message waits here with its lane behind it, or at the broker. What is known about it comes back with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from brokerkit import _clock
from brokerkit._config._retry_policy import RetryPolicy
from brokerkit._config._settings import SourceSettings
from brokerkit._consuming._done_here import DoneHere
from brokerkit._consuming._failure import (
    LEAST_WAIT,
    DeadLetterIt,
    Decision,
    Hold,
    ReleaseIt,
    RetryAtBroker,
    RetryPlacement,
    decide,
    is_failure,
)
from brokerkit._consuming._flow import Flow
from brokerkit._consuming._remembered import RetryStates
from brokerkit._consuming._replay_queues import ReplayQueues
from brokerkit._consuming._routes import Call, route_of
from brokerkit._consuming._tracebacks import Tracebacks
from brokerkit._consuming._transactions import Transactions
from brokerkit._dead_letters._store import DeadLetterStore
from brokerkit._dead_letters._writer import DeadLetterWriter
from brokerkit._errors import BrokerkitError, describe
from brokerkit._guard import Failed, guarded
from brokerkit._logging import get_logger
from brokerkit._messages._copies import copy_of
from brokerkit._messages._delivery import ACK, RELEASE, Delivery, Part, RetryLater, State
from brokerkit._messages._log_fields import about
from brokerkit._messages._retry_state import DUE, FAILURES, WAIT, RetryState, wait_of
from brokerkit._messages._signature import Signer
from brokerkit.adapters._topic_patterns import reads
from brokerkit.adapters.api import Capabilities

logger = get_logger(__name__)

_SOON: Final = 0.02
_YEAR: Final = 366 * 86_400.0
_SKEW: Final = 60.0
"""Seconds by which the clocks of two members may differ."""


class TakesFailures(Protocol):
    """The circuit breaker."""

    def takes(self, delivery: Delivery, error: BaseException) -> bool:
        """Note a failed attempt. True where it must not count."""
        ...


class Retries:
    """The messages of a source that failed.

    Args:
        flow: the source's.
        name: the source's name, for the log.
        dead_letters: the dead-letter store.
        stopping: set when there are no more attempts.
        back_off: waits between tries to store a dead letter, longer with each failure.
        crashed: told of a defect in here, which ends the source.
        replay_queues: told of the topics that have dead letters.

    Attributes:
        again: handles a message whose wait is over; set when the consumer is made.
        held: messages that wait here for their next attempt.
        retry_states: the retry states of messages that come again themselves.
        tracebacks: what the log says of each error.
        writer: stores dead letters while it runs.
        done_here: those that may come again although this process is done with them.
        breaker: the circuit breaker, where there is one; set when the consumer is made.
        transactions: settle and publish, where the source handles each message exactly once; set when the consumer is made.
    """

    again: Callable[[Delivery], None]
    transactions: Transactions | None = None
    breaker: TakesFailures | None = None

    def __init__(
        self,
        flow: Flow,
        *,
        name: str,
        settings: SourceSettings,
        capabilities: Capabilities,
        dead_letters: DeadLetterStore,
        stopping: asyncio.Event,
        back_off: Callable[[int], Awaitable[None]],
        crashed: Failed,
        replay_queues: ReplayQueues,
    ) -> None:
        self._replay_queues = replay_queues
        self._crashed = crashed
        self.held: set[Delivery] = set()
        self.retry_states = RetryStates()
        self.tracebacks = Tracebacks()
        self.done_here = DoneHere(counted=capabilities.attempts == "deliveries")
        self.writer = DeadLetterWriter(
            dead_letters,
            source=name,
            group=settings.group,
            stored=self._stored,
            refused=self._refused,
            blocked=partial(flow.block, "dead letters"),
            kept=self._kept,
            stopping=stopping,
            back_off=back_off,
        )
        self._flow = flow
        self._name = name
        self._settings = settings
        self._capabilities = capabilities
        self._crowd = flow.max_in_flight // 2
        self._stats = flow.stats
        self._lanes = flow.lanes
        self._signer = Signer(settings.signing_keys, settings.group or "")
        self._placement = RetryPlacement.of(settings, capabilities)
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<Retries of {self._name}: {len(self.held)} held>"

    @property
    def remembers(self) -> bool:
        """Whether anything is known of messages that may come again, so that each has to be looked up."""
        return bool(self.retry_states or self.done_here)

    def is_done(self, delivery: Delivery) -> bool:
        """Whether this process is done with a message that came again; then it is acknowledged here."""
        if not self.done_here.take(delivery):
            return False
        self._flow.duplicate(delivery)
        self._flow.finish(delivery, ACK)
        return True

    def restore(self, delivery: Delivery) -> bool:
        """Restore what is known of a message that failed before. False where its time has not come yet, and where this
        process is done with it.
        """
        if self.is_done(delivery):
            return False
        retry_state = self.recall(delivery)
        wait = 0.0 if retry_state is None else retry_state.due - self._loop.time()
        if wait <= _SOON:
            return True
        if self._placement.strict and delivery.key is not None:
            if self._flow.is_under_way(delivery.key):
                return True  # It is tried early, since it waits for its turn and the rest of its key waits for it.
            self._lanes.enter(delivery, delivery.key)
        self._put_off(delivery, wait, crowded=False)
        return False

    def recall(self, delivery: Delivery) -> RetryState | None:
        """Restore what is known of a message that failed before, and do nothing about it. None where nothing is known."""
        retry_state = self.retry_states.take(delivery)
        if self._is_from_us(delivery):
            written = RetryState.from_headers(delivery.headers)
            # The very copy that was given back here may have failed again meanwhile, which its headers do not say.
            if retry_state is None or retry_state.copies != written.copies:
                retry_state = written
                # A dead letter that is read again may be of a topic that is not read here.
                if not self._settings.queue and not reads(self._settings.topic, retry_state.topic):
                    retry_state.topic = ""
                longest = min(self._capabilities.durable_retry, _YEAR) + _SKEW
                retry_state.due = self._loop.time() + wait_of(delivery.headers, _clock.wall_time(), longest)
        delivery.retry_state = retry_state
        if retry_state is not None and retry_state.topic:
            delivery.topic = retry_state.topic
        return retry_state

    def _is_from_us(self, delivery: Delivery) -> bool:
        """Whether a message has a retry state in its headers, and a member of the group has written it."""
        if FAILURES not in delivery.headers:
            return False
        return delivery.is_ours or self._signer.accepts(delivery.headers, delivery.body)

    def failed(self, delivery: Delivery, call: Call | None, error: BaseException) -> Decision:
        """A handler has ended with an error: decide what becomes of the message, do it, and return it."""
        if self.transactions is not None:
            self.transactions.roll_back(delivery)
        if self.breaker is not None and is_failure(error) and self.breaker.takes(delivery, error):
            return self._keep_uncounted(delivery, call, error)
        retry_state = delivery.need_retry_state()
        policy = (call and call.handler.retry) or self._settings.retry
        if counts := is_failure(error):
            self._stats.failed += 1
            retry_state.failures += 1
            retry_state.handler = call.handler.name if call else ""
            retry_state.note_why(error)
            self._flow.figures.failed(retry_state.handler, error)
            retry_state.first_failure = retry_state.first_failure or _clock.wall_time()
        decision = decide(error, policy, retry_state.failures, self._placement, crowded=self._is_crowded)
        if counts and isinstance(decision, (Hold, RetryAtBroker)):
            self._stats.retried += 1
            self._log_retry(delivery, policy, error, decision)
            self._flow.tell("failed", delivery, error=error, wait=decision.wait)
        self._execute(delivery, decision, error)
        return decision

    def _keep_uncounted(self, delivery: Delivery, call: Call | None, error: BaseException) -> Decision:
        """Let a message wait until the circuit breaker closes, at the place in its key that it has."""
        self._stats.failed += 1
        self._flow.figures.failed(call.handler.name if call else "", error)
        delivery.need_retry_state()
        delivery.state = State.WAITING
        self._flow.begin(delivery)
        self._flow.tell_progress()
        return Hold(0.0, 0.0)

    def _execute(self, delivery: Delivery, decision: Decision, error: BaseException) -> None:
        match decision:
            case Hold(wait):
                delivery.need_retry_state().due = self._loop.time() + wait
                self._hold(delivery)
            case RetryAtBroker(wait):
                delivery.need_retry_state().due = self._loop.time() + wait
                self._flow.finish(delivery, self._retry_later(delivery, wait))
            case DeadLetterIt():
                self.dead_letter(delivery, error)
            case ReleaseIt():
                self._flow.finish(delivery, RELEASE)

    def _log_retry(
        self, delivery: Delivery, policy: RetryPolicy, error: BaseException, decision: Hold | RetryAtBroker
    ) -> None:
        retry_state = delivery.need_retry_state()
        if isinstance(decision, Hold) and decision.wait < decision.asked:
            logger.warning(
                'source %s: %s can be held for only %.3g s, not for %.3g s: with order = "strict" it is tried again earlier',
                self._name,
                delivery.stable_id or "a message without an id",
                decision.wait,
                decision.asked,
                extra=about(delivery, self._name),
            )
        logger.warning(
            "source %s: %s failed on %s %s (attempt %d of %d), again in %.3g s: %s: %s",
            self._name,
            retry_state.handler or "dispatch",
            delivery.name,
            delivery.stable_id or "without an id",
            retry_state.failures,
            (policy.for_error(error) or policy).attempts,
            decision.wait,
            type(error).__name__,
            describe(error),
            exc_info=self.tracebacks.of(error),
            extra=about(delivery, self._name),
        )

    def not_put_off(self, delivery: Delivery, outcome: RetryLater) -> None:
        """Hold a message here that the broker could not keep."""
        logger.warning(
            "source %s: %s cannot be put off durably: it waits %.3g s in this process",
            *(self._name, delivery, outcome.after),
            extra=about(delivery, self._name),
        )
        self._hold(delivery)

    def puts_off_again(self, delivery: Delivery) -> bool:
        """Put off a message whose turn has come before it is due. False if it may be handled now."""
        retry_state = delivery.retry_state
        if retry_state is None or (wait := retry_state.due - self._loop.time()) <= _SOON:
            return False
        self._put_off(delivery, wait, crowded=False)
        return True

    def expire(self, delivery: Delivery) -> bool:
        """Have the broker keep a message that was held for as long as possible. Return False if it was not held, or the
        broker cannot keep it.
        """
        if delivery not in self.held or self._placement.strict or not self._placement.durable:
            return False
        self.let_go(delivery)
        self._put_off(delivery, max(delivery.need_retry_state().due - self._loop.time(), LEAST_WAIT), crowded=True)
        return True

    def let_go(self, delivery: Delivery) -> bool:
        """Stop holding a message. Return False if it was not held."""
        if delivery not in self.held:
            return False
        self.held.discard(delivery)
        delivery.need_retry_state().cancel_timer()
        return True

    @property
    def _is_crowded(self) -> bool:
        """Whether so many messages wait here that others should wait at the broker."""
        return len(self.held) >= self._crowd

    def _put_off(self, delivery: Delivery, wait: float, *, crowded: bool) -> None:
        """Let a message wait until it is due, here or at the broker."""
        if isinstance(self._placement.choose(wait, crowded=crowded), Hold):
            self._hold(delivery)
        else:
            self._flow.finish(delivery, self._retry_later(delivery, wait))

    def _hold(self, delivery: Delivery) -> None:
        """Keep a message in its lane until it is due, or for as long as it can be held without a break."""
        delivery.state = State.WAITING
        self.held.add(delivery)
        retry_state = delivery.need_retry_state()
        wait = max(retry_state.due - self._loop.time(), 0.0)
        longest = self._capabilities.max_hold or wait
        retry_state.timer = self._loop.call_later(min(wait, longest), guarded(self._resume, self._crashed), delivery)
        self._flow.tell_progress()

    def _resume(self, delivery: Delivery) -> None:
        self.held.discard(delivery)
        retry_state = delivery.need_retry_state()
        retry_state.timer = None
        if (left := retry_state.due - self._loop.time()) > _SOON:
            # It could not wait at the broker before, and cannot wait here any longer.
            self._put_off(delivery, left, crowded=True)
        else:
            self.again(delivery)

    def _retry_later(self, delivery: Delivery, wait: float) -> RetryLater:
        """Return the retry to request from the broker. A wait that is too long for it is done in steps, see `restore`."""
        if not self._capabilities.copies_retries:
            self.retry_states.keep(delivery)
        copy = copy_of(delivery)
        headers = {**copy.headers, DUE: f"{_clock.wall_time() + wait:.3f}", WAIT: f"{wait:.3f}"}
        if not self._capabilities.own_queues:
            headers = self._signer.signed(headers, copy.body)
        copy = replace(copy, headers=headers)
        return RetryLater(min(wait, self._capabilities.durable_retry), copy)

    # ---- dead letters ----------------------------------------------------------------------------------------

    def dead_letter(self, delivery: Delivery, error: BaseException) -> None:
        """Make a message a dead letter. The original stays unsettled until the dead letter is confirmed."""
        retry_state = delivery.need_retry_state()
        retry_state.error = error
        retry_state.first_failure = retry_state.first_failure or _clock.wall_time()
        logger.error(
            "source %s: dead letter: %s %s (failed attempts: %d): %s: %s",
            self._name,
            delivery.name or "message",
            delivery.stable_id or "without an id",
            retry_state.failures,
            type(error).__name__,
            describe(error),
            exc_info=self.tracebacks.of(error),
            extra=about(delivery, self._name),
        )
        delivery.state = State.FINISHED
        if self.transactions is None:
            self.writer.add(delivery)
        else:
            self.transactions.add_letter(delivery, self.writer.letter(delivery))
        if not self._placement.strict:
            self._flow.advance(delivery)
        self._flow.tell_progress()

    def _stored(self, delivery: Delivery) -> None:
        self.done_here.stored(delivery)
        self._flow.settle(delivery, ACK)
        self.letter_stored(delivery)

    def letter_stored(self, delivery: Delivery) -> None:
        """The dead letter of this message is stored."""
        self._replay_queues.letter_stored(delivery.topic)
        self._stats.dead_lettered += 1
        self._flow.tell("dead_letter", delivery, error=delivery.need_retry_state().error)
        # Under a strict order the key has waited for the letter, so nothing behind it was handled before it can be replayed.
        self._flow.advance(delivery)

    def not_committed(self, part: Part, error: BrokerkitError, has_letter: bool) -> None:
        """The broker takes in no case what is published with a message: decide anew what becomes of it."""
        delivery = part.delivery
        if has_letter:
            # The writer takes parts away from it, and stores it somewhere in the end, but in no transaction.
            self.writer.add(delivery)
        elif isinstance(part.outcome, RetryLater):
            self.not_put_off(delivery, part.outcome)
        else:
            self._stats.handled -= 1
            calls = route_of(delivery).calls
            self.failed(delivery, calls[0] if len(calls) == 1 else None, error)

    def _refused(self, delivery: Delivery, error: BrokerkitError) -> None:
        self._flow.tell("dead_letter_refused", delivery, error=error)

    def _kept(self, delivery: Delivery) -> None:
        self._flow.settle(delivery, RELEASE)
