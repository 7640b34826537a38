"""Log lines as JSON; see docs/observability.md."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from brokerkit._logging import traceback_text

__all__ = ["JsonFormatter"]

_KNOWN: Final = frozenset([*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"])
"""What every record has. Everything else was given as ``extra``."""


class JsonFormatter(logging.Formatter):
    """Writes each record as one line of JSON, with its fields; for the records of any logger.

    A line has ``time`` (ISO 8601, UTC), ``level``, ``logger`` and ``message``, then what the record was given as ``extra``,
    and ``exception`` with the traceback, without values of variables. It is ASCII: no text can end a line or control a
    terminal.

    Example::

        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter(fields={"service": "wallet"}))
        logging.basicConfig(level="INFO", handlers=[handler])

    Args:
        fields: are in every line, such as the name of the service.
    """

    def __init__(self, *, fields: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._fields = dict(fields or {})

    def __repr__(self) -> str:
        return f"<JsonFormatter {list(self._fields)}>"

    def formatException(self, ei: Any) -> str:  # noqa: N802 (the name in logging)
        """Return a traceback as text."""
        return traceback_text(ei[1], ei[2])

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line of JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._fields,
        }
        for name, value in vars(record).items():
            if name not in _KNOWN:
                line.setdefault(name, value)
        if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, default=_text, skipkeys=True)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 (a user's class may fail here; the line must still be written)
        return f"(a {type(value).__name__} without a readable text)"
