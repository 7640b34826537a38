"""Retries: what becomes of a message that failed, until it succeeds or is a dead letter.

It waits here with its lane behind it, or at the broker; what is known of it comes back with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Protocol

from brokerkit import _clock
from brokerkit._consuming._deadletters import Burial, DeadLetters
from brokerkit._consuming._lanes import Lanes
from brokerkit._consuming._patience import Patience
from brokerkit._consuming._routes import Call
from brokerkit._consuming._stats import Stats
from brokerkit._consuming._trouble import DUE, FAILURES, ONLY, Memory, Trouble, copy_of
from brokerkit._errors import BrokerkitError, describe
from brokerkit._hooks import Kind
from brokerkit._message import ACK, RELEASE, Delivery, Outcome, RetryLater, State, header_text
from brokerkit._settings import SourceSettings
from brokerkit._transport import Capabilities

logger = logging.getLogger("brokerkit")

_SOON: Final = 0.02
_YEAR: Final = 366 * 86_400.0
_SKEW: Final = 60.0
"""Seconds by which the clocks of two of our processes may differ."""


class Steps(Protocol):
    """What the consumer does with a message that is its own again."""

    def again(self, delivery: Delivery) -> None:
        """Its time has come: have it handled when its lane is free."""
        ...

    def is_behind(self, key: str | bytes) -> bool:
        """Whether another message of this key is under way or waits for its turn."""
        ...

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Have the outcome settled."""
        ...

    def finish(self, delivery: Delivery, outcome: Outcome) -> None:
        """Have the outcome settled, and let the next message of the key begin."""
        ...

    def advance(self, delivery: Delivery) -> None:
        """Let the next message of the key begin."""
        ...

    def tell(
        self, kind: Kind, delivery: Delivery, *, error: BaseException | None = None, wait: float | None = None
    ) -> None:
        """Tell the hooks."""
        ...

    def tell_progress(self) -> None:
        """Wake whoever waits for a change."""
        ...


class Retries:
    """The messages of a source that failed.

    Args:
        steps: the consumer.
        name: the source's name, for the log.
        max_in_flight: slots of the source; where half of them hold what failed, more of that waits at the broker.
        dead_letters: where they go.
        stopping: set when nothing is tried again any more.
        back_off: waits between tries to store a letter, longer with each failure.

    Attributes:
        held: those that wait here for their next attempt.
        memory: what is known of those that come again as they are.
        burial: stores dead letters while it runs.
    """

    def __init__(
        self,
        steps: Steps,
        *,
        name: str,
        settings: SourceSettings,
        capabilities: Capabilities,
        max_in_flight: int,
        stats: Stats,
        lanes: Lanes,
        dead_letters: DeadLetters,
        stopping: asyncio.Event,
        back_off: Callable[[int], Awaitable[None]],
    ) -> None:
        self.held: set[Delivery] = set()
        self.memory = Memory()
        self.burial = Burial(
            dead_letters,
            source=name,
            group=settings.group,
            stored=self._buried,
            refused=self._refused,
            kept=self._not_buried,
            stopping=stopping,
            back_off=back_off,
        )
        self._steps = steps
        self._name = name
        self._settings = settings
        self._capabilities = capabilities
        self._crowd = max_in_flight // 2
        self._stats = stats
        self._lanes = lanes
        self._patience = Patience.of(settings, capabilities)
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<Retries of {self._name}: {len(self.held)} held>"

    def recall(self, delivery: Delivery) -> bool:
        """Restore what is known of a message that failed before. False where its time has not come yet, and where it was
        replayed for another group.
        """
        if FAILURES not in delivery.headers:
            delivery.trouble = trouble = self.memory.take(delivery)
            if trouble is None:
                return True
        elif ONLY in delivery.headers and header_text(delivery.headers, ONLY) != (self._settings.group or ""):
            self._stats.skipped += 1
            self._steps.finish(delivery, ACK)
            return False
        else:
            delivery.trouble = trouble = Trouble.from_headers(delivery.headers)
            # What nobody of us writes was written by somebody else: a topic that is not read here, a wait without end.
            if trouble.topic not in self._settings.topic and not self._settings.queue:
                trouble.topic = ""
            if trouble.due - _clock.now() > min(self._capabilities.durable_retry, _YEAR) + _SKEW:
                trouble.due = 0.0
        if trouble.topic:
            delivery.topic = trouble.topic
        wait = trouble.due - _clock.now()
        if wait <= _SOON:
            return True
        if self._patience.strict and delivery.key is not None:
            if self._steps.is_behind(delivery.key):
                return True  # It is tried early, since it waits for its turn and the rest of its key waits for it.
            self._lanes.enter(delivery, delivery.key)
        self._put_off(delivery, wait, crowded=False)
        return False

    def failed(self, delivery: Delivery, call: Call | None, error: BaseException) -> None:
        """Count a failure and decide: again soon, again later, or dead letter."""
        self._stats.failed += 1
        trouble: Trouble = delivery.trouble or Trouble()
        delivery.trouble = trouble
        trouble.failures += 1
        trouble.handler = call.handler.name if call else ""
        trouble.first_failure = trouble.first_failure or _clock.now()
        policy = (call and call.handler.retry) or self._settings.retry
        asked = self._patience.wait(error, policy, trouble.failures)
        if asked is None:
            self.bury(delivery, error)
            return
        trouble.error = error
        self._stats.retried += 1
        wait = self._patience.cut(asked)
        if wait < asked:
            logger.warning(
                'source %s: %s can be held for %.3g s and not for %.3g: with order = "strict" it is tried again earlier',
                self._name,
                delivery.stable_id or "a message without an id",
                wait,
                asked,
            )
        trouble.due = _clock.now() + wait
        logger.warning(
            "source %s: %s failed on %s %s (attempt %d of %d), again in %.3g s: %s: %s",
            self._name,
            trouble.handler or "dispatch",
            delivery.route.name,
            delivery.stable_id or "without an id",
            trouble.failures,
            (policy.for_error(error) or policy).attempts,
            wait,
            type(error).__name__,
            describe(error),
        )
        self._steps.tell("failed", delivery, error=error, wait=wait)
        self._put_off(delivery, wait, crowded=self._is_crowded)

    def postponed(self, delivery: Delivery, wait: float) -> None:
        """Try again without counting a failure: held here rather than with the broker, however long it may take."""
        delivery.trouble = trouble = delivery.trouble or Trouble()
        wait = min(wait, self._settings.hold) or wait
        trouble.due = _clock.now() + wait
        self._put_off(delivery, wait, crowded=self._is_crowded)

    def not_put_off(self, delivery: Delivery, outcome: RetryLater) -> None:
        """The broker could not keep it: hold it here."""
        logger.warning(
            "source %s: %s cannot be put off durably: it waits %.3g s in this process",
            self._name,
            delivery,
            outcome.after,
        )
        self._hold(delivery)

    def let_go(self, delivery: Delivery) -> bool:
        """Hold a message no longer. False where it was not held."""
        if delivery not in self.held:
            return False
        self.held.discard(delivery)
        delivery.trouble.timer.cancel()
        return True

    @property
    def _is_crowded(self) -> bool:
        """Whether what waits here takes up so many slots that the rest should wait at the broker."""
        return len(self.held) >= self._crowd

    def _put_off(self, delivery: Delivery, wait: float, *, crowded: bool) -> None:
        """Have a message wait until it is due, here or at the broker."""
        if self._patience.here(wait, crowded=crowded):
            self._hold(delivery)
        else:
            self._steps.finish(delivery, self._retry_later(delivery, wait))

    def _hold(self, delivery: Delivery) -> None:
        """Keep a message in its lane until it is due, or for as long as that is possible at a stretch."""
        delivery.state = State.WAITING
        self.held.add(delivery)
        wait = max(delivery.trouble.due - _clock.now(), 0.0)
        longest = self._capabilities.max_hold or wait
        delivery.trouble.timer = self._loop.call_later(min(wait, longest), self._resume, delivery)
        self._steps.tell_progress()

    def _resume(self, delivery: Delivery) -> None:
        self.held.discard(delivery)
        delivery.trouble.timer = None
        if (left := delivery.trouble.due - _clock.now()) > _SOON:
            # It could not wait at the broker before, and cannot wait here any longer.
            self._put_off(delivery, left, crowded=True)
        else:
            self._steps.again(delivery)

    def _retry_later(self, delivery: Delivery, wait: float) -> RetryLater:
        """What the broker is asked for; a wait longer than it can keep is done in steps, see `recall`."""
        if not self._capabilities.copies_retries:
            self.memory.keep(delivery)
        copy = copy_of(delivery)
        copy = replace(copy, headers={**copy.headers, DUE: f"{delivery.trouble.due:.3f}"})
        return RetryLater(min(wait, self._capabilities.durable_retry), copy)

    # ---- dead letters ----------------------------------------------------------------------------------------

    def bury(self, delivery: Delivery, error: BaseException) -> None:
        """Make it a dead letter; the original stays unsettled until the letter is confirmed."""
        delivery.trouble = trouble = delivery.trouble or Trouble()
        trouble.error = error
        trouble.first_failure = trouble.first_failure or _clock.now()
        logger.error(
            "source %s: dead letter: %s %s (failed attempts: %d): %s: %s",
            self._name,
            delivery.route.name or "message",
            delivery.stable_id or "without an id",
            trouble.failures,
            type(error).__name__,
            describe(error),
        )
        delivery.state = State.FINISHED
        self.burial.add(delivery)
        if not self._patience.strict:
            self._steps.advance(delivery)

    def _buried(self, delivery: Delivery) -> None:
        self._stats.dead_lettered += 1
        self._steps.tell("dead_letter", delivery, error=delivery.trouble.error)
        self._steps.settle(delivery, ACK)
        # Under a strict order the key has waited for the letter: whoever replays it finds nothing done behind it before.
        self._steps.advance(delivery)

    def _refused(self, delivery: Delivery, error: BrokerkitError) -> None:
        self._steps.tell("dead_letter_refused", delivery, error=error)

    def _not_buried(self, delivery: Delivery) -> None:
        self._steps.settle(delivery, RELEASE)
