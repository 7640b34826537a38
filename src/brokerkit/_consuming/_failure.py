"""What happens to a failed message: a pure decision, which `Retries` executes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from brokerkit._config._retry_policy import RetryPolicy
from brokerkit._config._settings import SourceSettings
from brokerkit._consuming._idempotent import Postponed
from brokerkit._errors import DecodeError, Reject, Retry
from brokerkit._status._spans import Outcome
from brokerkit.adapters.api import Capabilities

LEAST_WAIT: Final = 0.05
"""The shortest wait in seconds: a message that asks for no wait must not keep the process busy."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep it in this process, with its lane behind it, for ``wait`` seconds.

    Attributes:
        asked: seconds that were requested; more than ``wait`` if the message cannot be held for so long.
    """

    wait: float
    asked: float


@dataclass(frozen=True, slots=True)
class RetryAtBroker:
    """Have the broker deliver it again after ``wait`` seconds, even if this process crashes."""

    wait: float


@dataclass(frozen=True, slots=True)
class DeadLetterIt:
    """Make it a dead letter."""


@dataclass(frozen=True, slots=True)
class ReleaseIt:
    """Give it back to the broker: nothing has failed."""


Decision = Hold | RetryAtBroker | DeadLetterIt | ReleaseIt


def outcome_of(decision: Decision) -> tuple[Outcome, float | None]:
    """Return a decision as spans show it, and the seconds until the next attempt; None if there is none here."""
    match decision:
        case DeadLetterIt():
            return "dead_letter", None
        case ReleaseIt():
            return "released", None
        case Hold(wait) | RetryAtBroker(wait):
            return "retry", wait


@dataclass(frozen=True, slots=True)
class RetryPlacement:
    """What one source can do with a message that failed.

    Attributes:
        strict: the message always waits here, and later messages of its key wait behind it.
        hold: the longest wait in seconds that is spent here although the broker could keep the message.
        durable: the longest wait in seconds that the broker can keep in one step; 0 if it cannot keep any.
        longest_hold: the longest time in seconds that the message can wait here without a break; None for no limit.
    """

    strict: bool
    hold: float
    durable: float
    longest_hold: float | None

    @classmethod
    def of(cls, settings: SourceSettings, capabilities: Capabilities) -> RetryPlacement:
        """Return the placement for a source with these settings on a broker with these promises."""
        # A copy that looks like any producer's message would count as a first attempt each time, for ever.
        is_lost = capabilities.copies_retries and not capabilities.own_queues and not settings.signing_keys
        durable = 0.0 if is_lost else capabilities.durable_retry
        hold = settings.hold if capabilities.hold is None else min(settings.hold, capabilities.hold)
        return cls(settings.order == "strict", hold, durable, capabilities.max_hold)

    def choose(self, wait: float, *, crowded: bool) -> Hold | RetryAtBroker:
        """Decide where a wait is spent.

        Args:
            wait: seconds.
            crowded: whether so many messages wait here that even a short wait is left to the broker.
        """
        if self.strict or not self.durable or (wait <= self.hold and not crowded):
            return Hold(self._longest(wait), wait)
        return RetryAtBroker(wait)

    def _longest(self, wait: float) -> float:
        """Return how much of a wait can be held. With a strict order, the rest cannot be spent elsewhere."""
        return min(wait, self.longest_hold) if self.strict and self.longest_hold is not None else wait


def asked_wait(error: BaseException, policy: RetryPolicy, failures: int) -> float | None:
    """Return the seconds until the next attempt after this many failures; None if there is no further attempt."""
    decides = policy.for_error(error)
    if decides is None or isinstance(error, (Reject, DecodeError)) or failures >= decides.attempts:
        return None
    asked = error.after if isinstance(error, Retry) else None
    return max(decides.wait(failures) if asked is None else asked, LEAST_WAIT)


class Stopped(Exception):
    """The handler was cancelled because the source stops. A handler that raises CancelledError by itself has failed."""


def is_failure(error: BaseException) -> bool:
    """Whether an attempt has failed. A handler that was stopped or postponed has not failed."""
    return not isinstance(error, (Stopped, Postponed))


def decide(
    error: BaseException, policy: RetryPolicy, failures: int, placement: RetryPlacement, *, crowded: bool
) -> Decision:
    """Decide what happens to a message whose handler has raised an error.

    Args:
        error: what the handler raised.
        policy: the retry policy of the handler, or else of the source.
        failures: attempts that have failed, this one included.
        placement: where the source can spend a wait.
        crowded: whether so many messages are held that others should wait at the broker.
    """
    if isinstance(error, Stopped):
        return ReleaseIt()
    if isinstance(error, Postponed):
        # It is held, however long that takes, because another process is handling the message.
        return placement.choose(min(error.wait, placement.hold) or error.wait, crowded=crowded)
    wait = asked_wait(error, policy, failures)
    return DeadLetterIt() if wait is None else placement.choose(wait, crowded=crowded)
