"""What ``brokerkit demo`` shows: tables that change on a terminal, lines of text elsewhere."""

from __future__ import annotations

import logging
import re
from collections import deque
from types import TracebackType
from typing import Final, Self

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from brokerkit import Stats
from brokerkit._logging import get_logger
from brokerkit.cli._demo_handlers import Books, make_handlers

_LINES: Final = 6
_PLAYERS: Final = 8
_LONG_NAMES: Final = re.compile(rf"{re.escape(make_handlers.__module__)}\.{make_handlers.__qualname__}\.<locals>\.")
_LONG_IDS: Final = re.compile(r"\b[0-9a-f]{32}-")

_PACKAGE: Final = get_logger("brokerkit")


class Screen:
    """Shows the books and a log, which includes brokerkit's own log."""

    def __init__(self, console: Console, books: Books) -> None:
        self._console = console
        self._books = books
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._handler = _ToScreen(self)

    def __enter__(self) -> Self:
        _PACKAGE.addHandler(self._handler)
        _PACKAGE.propagate = False
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
        elif kind is None:
            for table in (_rakes(self._books), _balances(self._books)):
                self._console.print(table)
        _PACKAGE.removeHandler(self._handler)
        _PACKAGE.propagate = True

    def say(self, line: str) -> None:
        """Add a line to the log."""
        self._lines.append(line)
        if self._live is None:
            self.print(line)

    def print(self, line: str) -> None:
        """Write a line that stays on the screen."""
        self._console.print(line, markup=False, soft_wrap=True)

    def show(self, published: int, stats: Stats) -> None:
        """Update the tables, if there is a terminal."""
        if self._live is not None:
            counts = (
                f"published {published:,}   handled {stats.handled:,}   retried {stats.retried:,}   "
                f"dead letters {stats.dead_lettered:,}"
            )
            log = [Text(line, style="dim") for line in self._lines]
            tables = Columns([_rakes(self._books), _balances(self._books)], padding=(0, 6))
            parts: list[RenderableType] = [tables, Text(counts, style="bold"), *log]
            self._live.update(Group(*parts), refresh=True)


class _ToScreen(logging.Handler):
    """Shows the log with short handler names and message ids, so that a record fits on a line."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.say(_LONG_IDS.sub("#", _LONG_NAMES.sub("", record.getMessage())))


def _rakes(books: Books) -> Table:
    table = Table("table", "game", title="Rake", box=None, title_justify="left")
    for column in ("hands", "turnover", "rake"):
        table.add_column(column, justify="right")
    for number, row in sorted(books.rakes.items()):
        table.add_row(str(number), row.game, f"{row.hands:,}", _money(row.turnover), _money(row.rake))
    return table


def _balances(books: Books) -> Table:
    table = Table("player", title=f"Balances of {_PLAYERS} players", box=None, title_justify="left")
    for column in ("account", "at tables", "won or lost"):
        table.add_column(column, justify="right")
    for number, row in sorted(books.balances.items())[:_PLAYERS]:
        nick = books.nicks.get(number, str(number))
        table.add_row(nick, _money(row.account), _money(row.at_tables), f"{row.result / 100:+,.2f}")
    return table


def _money(cents: int) -> str:
    return f"{cents / 100:,.2f}"
