"""A block that ends when a source ends, as the block of a TaskGroup does with its tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from typing import Literal

from brokerkit._status._hooks import Notice

OnSourceFailure = Literal["raise", "log"]
"""What happens to a ``serving`` block when an error ends a source: it ends with this error, or only a line is logged."""


class SourceFailure:
    """The first error that has ended a source; `noted` is a hook that is told of it."""

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._task: asyncio.Task[object] | None = None

    def noted(self, notice: Notice) -> None:
        """Note the end of a source, and cancel the block if there is one."""
        if notice.kind != "source_failed" or self._error is not None:
            return
        self._error = notice.error
        if self._task is not None:
            self._task.cancel()

    @contextlib.contextmanager
    def ends_block(self) -> Generator[None]:
        """Cancel the body when a source ends, and raise the source's error at the end of the block.

        An error of the body takes precedence, and so does a cancellation that comes from elsewhere.
        """
        if self._error is not None:
            raise self._error
        self._task = task = asyncio.current_task()
        assert task is not None
        cancels = task.cancelling()
        try:
            yield
        except asyncio.CancelledError:
            if self._error is None or task.uncancel() > cancels:
                raise
        except BaseException:
            if self._error is not None:
                task.uncancel()
            raise
        else:
            # The body was at its end already, or has swallowed the cancellation.
            if self._error is not None and task.uncancel() > cancels:
                raise asyncio.CancelledError
        finally:
            self._task = None  # what ends from here on ends while the bus drains
        if self._error is not None:
            raise self._error
