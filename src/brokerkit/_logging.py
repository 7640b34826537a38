"""Log lines: text from outside cannot forge a line or control a terminal, and a lasting problem is not logged too often.

Event names, ids, keys, topics and error texts come from outside. A filter on each of our loggers escapes them, so that the
code that logs need not. A line below the log level costs nothing, because filters come after the level.
"""

from __future__ import annotations

import logging
import math
import os
import time
import traceback
from types import TracebackType
from typing import Final

from brokerkit._errors import BrokerkitError, Reject, Retry

_LONGEST: Final = 4_096
"""Characters of one value in a log line."""
_LONGEST_TRACEBACK: Final = 16_384
_LONGEST_LINE: Final = 1_000
"""Characters of one line of a traceback."""
_INDENT: Final = "  "
FIELDS: Final = "brokerkit_fields"
"""Key of ``extra``: a function that returns fields of the record. It is only called if the line is written."""

_PACKAGE: Final = os.path.dirname(__file__) + os.sep  # noqa: PTH120 (as frames tell it)
_LIBRARY: Final = os.path.dirname(os.__file__)  # noqa: PTH120
_CALLERS: Final = tuple(
    os.path.join(*folder, "")  # noqa: PTH118
    for folder in ((_PACKAGE, "_consuming"), (_LIBRARY, "asyncio"), (_LIBRARY, "concurrent", "futures"))
)
"""Code whose frames come before those of a handler."""

ExcInfo = tuple[type[BaseException], BaseException, TracebackType]


def escape(text: str) -> str:
    """Escape text from outside for a log or a terminal, so that it cannot end a line or control the terminal.

    Everything that is not printable is escaped: all kinds of line ends, ESC and other control characters, invisible
    characters, characters that change the direction of writing, lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def get_logger(name: str) -> logging.Logger:
    """Return the logger with this name. It escapes the arguments of its lines."""
    logger = logging.getLogger(name)
    logger.addFilter(_escaped)  # adding it twice has no effect
    return logger


def _escaped(record: logging.LogRecord) -> bool:
    """Escape the arguments, and format the traceback. The message itself stays, because log collectors group by it."""
    if isinstance(record.args, tuple):
        record.args = tuple(value if isinstance(value, (int, float)) else _Value(value) for value in record.args)
    elif record.args:
        record.args = (_Value(record.args),)  # logging takes a single mapping for named values; we use none
    if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
        # A formatter uses this text instead of its own.
        record.exc_text = traceback_text(record.exc_info[1], record.exc_info[2])
    if (fields := record.__dict__.pop(FIELDS, None)) is not None:
        for name, value in fields().items():
            # What a record factory or filter of the program has set stays, such as its own trace id.
            record.__dict__.setdefault(name, value if isinstance(value, (int, float)) else str(_Value(value)))
    return True


class _Value:
    """An argument of a log line. Its text is escaped and cut when the line is written."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        try:
            return _cut(escape(str(self._value)))
        except Exception:  # noqa: BLE001 (a user's class may fail here; the line must still be written)
            return f"(a {type(self._value).__name__} without a readable text)"

    def __repr__(self) -> str:
        try:
            return _cut(escape(repr(self._value)))
        except Exception:  # noqa: BLE001
            return f"(a {type(self._value).__name__} without a readable text)"


def _cut(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text) - longest:,} more characters)"


def traceback_text(error: BaseException, frames: TracebackType | None) -> str:
    """Return a traceback as text, without values of variables.

    All lines except the first are indented, so that a line of an error's text cannot look like a line of the log.
    """
    try:
        found = "".join(traceback.format_exception(type(error), error, frames)).rstrip("\n")
    except Exception:  # noqa: BLE001 (an error of a class that cannot be shown)
        found = "".join(traceback.format_tb(frames)) + f"{type(error).__name__} (an error without a readable text)"
    if len(found) > _LONGEST_TRACEBACK:
        half = _LONGEST_TRACEBACK // 2
        found = f"{found[:half]}\n… ({len(found) - 2 * half:,} characters left out)\n{found[-half:]}"
    return f"\n{_INDENT}".join(_cut(escape(line), _LONGEST_LINE) for line in found.split("\n"))


def indented(text: str) -> str:
    """Escape a text of several lines. All lines except the first are indented, so that none looks like a line of the log."""
    return f"\n{_INDENT}".join(map(escape, text.split("\n")))


def from_handler(error: BaseException) -> ExcInfo | None:
    """Return ``exc_info`` for an error of a handler: its traceback, starting at the handler.

    None if no line of a handler is involved (a body that its model refuses). Also None for `Reject` and `Retry`, which a
    handler raises on purpose, unless they were raised from another error.
    """
    frames = error.__traceback__
    first = None
    while frames is not None and (first := frames.tb_frame.f_code.co_filename).startswith(_CALLERS):
        frames = frames.tb_next
    if frames is None or first is None:
        return None
    if isinstance(error, (BrokerkitError, Reject, Retry)) and first.startswith(_PACKAGE):
        return None
    if isinstance(error, (Reject, Retry)) and error.__cause__ is None and error.__context__ is None:
        return None
    while frames.tb_next is not None and frames.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        frames = frames.tb_next
    return type(error), error, frames


def excerpt(error: BaseException, *, size: int) -> str:
    """Return the end of the traceback of a handler's error, at most ``size`` bytes; "" if it has none."""
    if (found := from_handler(error)) is None:
        return ""
    written = traceback_text(found[1], found[2]).encode(errors="replace")
    if len(written) > size:
        written = written[-size:].partition(b"\n")[2] or written[-size:]
    return written.decode(errors="ignore")


class Reminder:
    """Says when to log a lasting problem: at once, and then at growing intervals.

    Args:
        first: seconds until it is logged a second time. Each further interval is twice as long.
        longest: the longest interval in seconds.
        quiet: the problem is over after this many seconds without `due`, if `over` is not called.
    """

    def __init__(self, *, first: float = 10.0, longest: float = 600.0, quiet: float = math.inf) -> None:
        self._first = first
        self._longest = longest
        self._quiet = quiet
        self._seen = 0.0
        self._interval = first
        self._since: float | None = None
        self._next = 0.0

    def __repr__(self) -> str:
        return f"<Reminder: {'nothing to say' if self._since is None else f'{time.monotonic() - self._since:.0f} s'}>"

    def due(self) -> bool:
        """Note that the problem exists. Return whether to log it now."""
        now = time.monotonic()
        before, self._seen = self._seen, now
        if self._since is None or now - before > self._quiet:
            self._since, self._interval = now, self._first
        elif now < self._next:
            return False
        else:
            self._interval = min(self._interval * 2, self._longest)
        self._next = now + self._interval
        return True

    def over(self) -> float | None:
        """Note that the problem is over. Return how many seconds it lasted, or None if there was none."""
        if self._since is None:
            return None
        lasted, self._since = time.monotonic() - self._since, None
        return lasted
