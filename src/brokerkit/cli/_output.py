"""What commands write, and how they say that they were called wrongly."""

from __future__ import annotations

import logging
from typing import Final, Literal

from rich.console import Console
from rich.logging import RichHandler

LogLevel = Literal["debug", "info", "warning", "error"]

_WIDTH_OF_FILES: Final = 120


class UsageError(Exception):
    """The command was called wrongly; exit code 2."""


def console() -> Console:
    """Standard output; where it is no terminal there are no control codes, and tables are 120 columns wide."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=_WIDTH_OF_FILES)


def printable(text: str) -> str:
    """Somebody else's text for a terminal: what could steer it is written as an escape."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def set_up_logging(level: LogLevel, *, process: str = "") -> None:
    """Log to standard error: coloured on a terminal, one plain line for each record elsewhere.

    Args:
        level: from which on.
        process: what each record says of the process, where several write.
    """
    text = f"{process}: %(message)s" if process else "%(message)s"
    stderr = Console(stderr=True)
    handler: logging.Handler
    if stderr.is_terminal:
        handler = RichHandler(console=stderr, show_path=False, omit_repeated_times=False)
        handler.setFormatter(logging.Formatter(text))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)-7s %(name)s: {text}"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
