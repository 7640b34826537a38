"""The output of commands, and the error of a wrong call."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from rich.cells import cell_len
from rich.console import Console
from rich.logging import RichHandler

from brokerkit._errors import BrokerkitError
from brokerkit._logging import escape, indented, traceback_text

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

_WIDTH_OF_FILES: Final = 10_000
_MEASURED: Final = 100
"""How many rows decide the widths of a table's columns. A longer cell only moves the cells after it."""


class UsageError(Exception):
    """The command was called wrongly; exit code 2."""


def console() -> Console:
    """Return standard output for rich text. If it is not a terminal, no control codes are written and no line is folded."""
    made = _Console(highlight=False)
    return made if made.is_terminal else _Console(highlight=False, width=_WIDTH_OF_FILES)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave a closed pipe to `brokerkit.cli.main`, as for everything else that is written."""
        raise  # the error being handled


def say(line: str = "") -> None:
    """Write one line to standard output, never folded. Characters that could control a terminal are escaped."""
    print(_encodable(escape(line)))


def say_aside(line: str) -> None:
    """Write one line to standard error, escaped: a warning, or what no program should read as output."""
    print(escape(line), file=sys.stderr)


def agreed(question: str) -> bool:
    """Ask a question on the terminal. Return whether the answer is yes."""
    print(f"{escape(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def say_json(value: Mapping[str, Any], *, indent: int | None = None) -> None:
    """Write JSON to standard output: one line, or with ``indent`` several."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if not text.replace("\n", "").isprintable() or text != _encodable(text):
        text = json.dumps(value, indent=indent)
    print(text)


def say_document(text: str) -> None:
    """Write a document of several lines to standard output. Control characters in its lines are escaped."""
    print("\n".join(map(escape, text.split("\n"))), end="")


@contextmanager
def writing(path: Path, *, instead: str) -> Generator[None]:
    """Say which file cannot be written, and what chooses another place.

    Args:
        path: the file.
        instead: the option or argument that names it.

    Raises:
        BrokerkitError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        text = f"{path.absolute()} cannot be written: {error.strerror}; {instead} chooses another place"
        raise BrokerkitError(text) from error


def say_traceback(_: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
    """Write an error with its traceback to standard error, escaped (`sys.excepthook`)."""
    print(traceback_text(error, frames), file=sys.stderr)


class Table:
    """A table with one line for each row, never folded. Rows are written as they come, so there may be any number.

    The first hundred rows decide the widths of the columns. Without rows nothing is written.

    Args:
        *columns: the names of the columns.
        right: names of columns that are aligned to the right.
    """

    def __init__(self, *columns: str, right: Collection[str] = ()) -> None:
        self._columns = columns
        self._right = [column in right for column in columns]
        self._waiting: list[tuple[str, ...]] = []
        self._widths: list[int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None or not issubclass(kind, BrokenPipeError):
            self._flush()

    def row(self, *cells: str) -> None:
        """Add a row."""
        made = tuple(map(escape, cells))
        if self._widths is not None:
            self._write(made, self._widths)
            return
        self._waiting.append(made)
        if len(self._waiting) == _MEASURED:
            self._flush()

    def _flush(self) -> None:
        """Write the rows that wait, below the names of the columns."""
        if not self._waiting:
            return
        rows, self._waiting = [self._columns, *self._waiting], []
        self._widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            self._write(row, self._widths)

    def _write(self, row: tuple[str, ...], widths: list[int]) -> None:
        padded: list[str] = []
        for cell, width, right in zip(row, widths, self._right, strict=True):
            space = " " * (width - cell_len(cell))
            padded.append(space + cell if right else cell + space)
        say("  ".join(padded).rstrip())


def _encodable(line: str) -> str:
    """The line as standard output's encoding can write it."""
    encoding = sys.stdout.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


class _Lines(logging.Formatter):
    """Escapes the records of every logger: handlers and other libraries log what comes from outside too.

    Only the first line of a record begins at the margin.
    """

    def formatException(self, ei: Any) -> str:  # noqa: N802 (the name in logging)
        return traceback_text(ei[1], ei[2])

    def format(self, record: logging.LogRecord) -> str:
        return indented(super().format(record))


def set_up_logging(level: LogLevel, format: LogFormat = "text", *, process: str = "") -> None:
    """Log to standard error: coloured on a terminal, one plain line for each record elsewhere.

    Args:
        level: the lowest level that is logged.
        format: ``json`` for one line of JSON for each record, also on a terminal.
        process: the name of the process in each record, if several processes write.
    """
    text = f"{process}: %(message)s" if process else "%(message)s"
    stderr = Console(stderr=True)
    handler: logging.Handler
    if format == "json":
        from brokerkit.logs import JsonFormatter

        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter(fields={"process": process} if process else None))
    elif stderr.is_terminal:
        handler = RichHandler(console=stderr, show_path=False, omit_repeated_times=False)
        handler.setFormatter(_Lines(text))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(_Lines(f"%(asctime)s %(levelname)-7s %(name)s: {text}"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
