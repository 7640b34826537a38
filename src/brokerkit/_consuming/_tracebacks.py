"""Tracebacks for the log: each one once, also if its error is that of a whole batch."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from brokerkit._logging import ExcInfo, from_handler


class Tracebacks:
    """Returns what a log line about a failed message says beside the text of its error."""

    def __init__(self) -> None:
        self._logged: list[BaseException] | None = None

    def of(self, error: BaseException) -> ExcInfo | None:
        """Return the traceback of an error; None if it has none that helps, or was logged in the same batch."""
        if self._logged is not None:
            if any(error is each for each in self._logged):
                return None
            self._logged.append(error)
        return from_handler(error)

    @contextmanager
    def of_batch(self) -> Generator[None, None, None]:
        """While this block runs, an error that several messages share has its traceback only for the first of them."""
        self._logged = []
        try:
            yield
        finally:
            self._logged = None
