"""What happens when somebody's sampler, span processor or exporter raises: a line in the log, and no span."""

from __future__ import annotations

from brokerkit._errors import describe
from brokerkit._logging import Reminder, get_logger

logger = get_logger(__name__)


class Broken:
    """Told of errors of the tracing system, which must not touch messages.

    Args:
        what: which source or target it is, for the log.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._reminder = Reminder(quiet=600.0)

    def __repr__(self) -> str:
        return f"<Broken traces of {self._what}: {self._reminder!r}>"

    def __call__(self, error: BaseException) -> None:
        """Log an error, at growing intervals."""
        if self._reminder.due():
            logger.error("%s: its traces are broken: %s: %s", self._what, type(error).__name__, describe(error))
