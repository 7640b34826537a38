"""How long a message that failed waits, and where: pure decisions, without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from brokerkit._errors import DecodeError, Reject, Retry
from brokerkit._retry import RetryPolicy
from brokerkit._settings import SourceSettings
from brokerkit._transport import Capabilities

LEAST_WAIT: Final = 0.05
"""Seconds before any further attempt: a message that asks for none at all must not keep the process busy."""


@dataclass(frozen=True, slots=True)
class Patience:
    """What one source can do with a message that failed.

    Attributes:
        strict: it always waits here, and its key behind it.
        hold: seconds up to which a wait is spent here although the broker could keep the message.
        durable: seconds that the broker can keep it in one step; 0 where it cannot.
        longest_hold: seconds that it can wait here at a stretch; None for no limit.
    """

    strict: bool
    hold: float
    durable: float
    longest_hold: float | None

    @classmethod
    def of(cls, settings: SourceSettings, capabilities: Capabilities) -> Patience:
        """That of a source with these settings on a broker that promises this."""
        return cls(settings.order == "strict", settings.hold, capabilities.durable_retry, capabilities.max_hold)

    def wait(self, error: BaseException, policy: RetryPolicy, failures: int) -> float | None:
        """Seconds until the next attempt after so many failures, or None where there is none."""
        decides = policy.for_error(error)
        if decides is None or isinstance(error, (Reject, DecodeError)) or failures >= decides.attempts:
            return None
        asked = error.after if isinstance(error, Retry) else None
        return max(decides.wait(failures) if asked is None else asked, LEAST_WAIT)

    def cut(self, wait: float) -> float:
        """What is left of a wait that must be spent here: a strict order leaves no other place."""
        if self.strict and self.longest_hold is not None:
            return min(wait, self.longest_hold)
        return wait

    def here(self, wait: float, *, crowded: bool) -> bool:
        """Whether to wait here, and not at the broker.

        What waits here occupies slots: where it is ``crowded``, even a short wait is left to the broker.
        """
        return self.strict or not self.durable or (wait <= self.hold and not crowded)
