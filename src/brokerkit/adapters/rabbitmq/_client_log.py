"""Moves the client library's log lines about our connections to our own logger, at level debug.

aiormq logs each failed connect and each lost connection as an error, with a traceback. The same errors reach us as
exceptions. Other programs in the process use its loggers too, so lines about their connections stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from brokerkit.adapters.api import get_logger

logger = get_logger("brokerkit.adapters.rabbitmq.aiormq")

_OURS: Final[ContextVar[bool]] = ContextVar("brokerkit_rabbitmq", default=False)


@contextmanager
def logged_as_ours() -> Generator[None]:
    """Mark connections and channels that are opened in the block as ours, and the tasks that serve them."""
    token = _OURS.set(True)
    try:
        yield
    finally:
        _OURS.reset(token)


def _is_for_others(record: logging.LogRecord) -> bool:
    if not _OURS.get():
        return True
    logger.debug("%s: %s", record.name, record.getMessage(), exc_info=record.exc_info)
    return False


for _name in ("aiormq.connection", "aiormq.channel"):
    # Nothing else of the library's logging is changed.
    logging.getLogger(_name).addFilter(_is_for_others)
