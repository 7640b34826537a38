"""``brokerkit dlq``: look at dead letters, replay and purge them."""

from __future__ import annotations

import re
import sys
import time
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.table import Table

from brokerkit import Bus, DeadLetter
from brokerkit._consuming._letters import Selected
from brokerkit._message import text
from brokerkit.cli._looking import agree, run_until_interrupted
from brokerkit.cli._output import UsageError, console, printable, set_up_logging
from brokerkit.cli._progress import progress, summary
from brokerkit.cli._target import find_bus

app: Final = App(name="dlq", help="Look at dead letters, replay and purge them.")

Names = Annotated[list[str] | None, Parameter(negative="")]
Limit = Annotated[int | None, Parameter(validator=Number(gt=0))]
Yes = Annotated[bool, Parameter(negative="")]

_AGE: Final = re.compile(r"(\d+)([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SHORT: Final = 60
"""Characters of an error's text in the table."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Which:
    """Which dead letters.

    Attributes:
        config: a configuration file.
        source: the source, where there are several.
        topic: the topic that the source reads, with a URL.
        queue: the queue that the source reads, with a URL.
        group: the group of the source, with a URL.
        endpoint: URL of an SQS or SNS emulator or private endpoint.
        event: only letters of this event name; may be given several times.
        error: only letters with an error of this class (`ValueError`); may be given several times.
        since: only those that failed then or later: a date and time (`2026-01-31T12:00`), or how long ago (`2h`, `7d`).
        until: only those that failed before then.
    """

    config: Path | None = None
    source: str | None = None
    topic: Names = None
    queue: Names = None
    group: str | None = None
    endpoint: str | None = None
    event: Names = None
    error: Names = None
    since: str | None = None
    until: str | None = None

    def bus(self, target: str | None) -> Bus:
        """The bus that was named."""
        given: dict[str, Any] = {
            name: value
            for name in ("topic", "queue", "group", "endpoint")
            if (value := getattr(self, name)) is not None
        }
        if target is not None and "://" not in target:
            if given:
                raise UsageError(f"--{next(iter(given))} goes with a URL; {target} says by itself what it reads")
            return find_bus(target, self.config)
        if self.config is not None:
            return Bus.from_config(self.config, **({"url": target} if target else {}), **given)  # type: ignore[arg-type]
        return Bus(target, **given)

    @property
    def selected(self) -> Selected:
        """The filters."""
        return {
            "events": self.event or (),
            "errors": self.error or (),
            "since": _moment(self.since),
            "until": _moment(self.until),
        }


_ALL: Final = Which()


@app.command(name="list")
def list_letters(bus: str | None = None, /, *, which: Which = _ALL, limit: Limit = 100, yes: Yes = False) -> None:
    """List dead letters, and take nothing out. Where a broker can show them only by handing them out (SQS, RabbitMQ), you
    are asked first.

    Args:
        which: the filters.
        bus: MODULE:BUS as for `brokerkit run`, or the URL of a broker. By default `--config`, else `BROKERKIT_URL`.
        limit: list so many at most.
        yes: do not ask.
    """
    letters = run_until_interrupted(_look(which.bus(bus), which, limit, yes=yes))
    table = Table(box=None, pad_edge=False)
    for column in ("id", "event", "handler", "error", "attempts", "last failure"):
        table.add_column(column, overflow="fold", justify="right" if column == "attempts" else "left")
    for letter in letters:
        error = f"{letter.error_type}: {letter.error}".removesuffix(": ").removeprefix(": ")
        row = [letter.message.id or "", letter.message.name, letter.handler, error[:_SHORT], str(letter.attempts)]
        table.add_row(*map(printable, row), _time(letter.last_failure))
    if letters:
        console().print(table, markup=False)
    more = f", the first {limit}" if len(letters) == limit else ""
    console().print(f"{_count(len(letters))}{more}")


@app.command
def show(
    bus: str | None = None,
    /,
    *,
    which: Which = _ALL,
    id: str | None = None,
    limit: Limit = 10,
    yes: Yes = False,
) -> None:
    """Print dead letters with headers and body. You are asked first where that touches the queue, as by `list`.

    Args:
        which: the filters.
        bus: MODULE:BUS as for `brokerkit run`, or the URL of a broker. By default `--config`, else `BROKERKIT_URL`.
        id: the one of this id, as `list` prints it.
        limit: print so many at most.
        yes: do not ask.
    """
    letters = run_until_interrupted(_look(which.bus(bus), which, limit, yes=yes, id=id))
    if not letters:
        raise UsageError("there is no such dead letter")
    out = console()
    for letter in letters:
        for line in _shown(letter):
            out.print(line, markup=False, soft_wrap=True)


@app.command
def replay(bus: str | None = None, /, *, which: Which = _ALL, limit: Limit = None) -> None:
    """Publish dead letters to their topic again, for the group that failed. Each leaves its place when the broker has
    confirmed it; a replay that is interrupted loses nothing.

    Args:
        which: the filters.
        bus: MODULE:BUS as for `brokerkit run`, or the URL of a broker. By default `--config`, else `BROKERKIT_URL`.
        limit: replay so many at most.
    """
    _go(which.bus(bus), which, "replay", "replayed", limit)


@app.command
def purge(bus: str | None = None, /, *, which: Which = _ALL, limit: Limit = None, yes: Yes = False) -> None:
    """Delete dead letters for good.

    Args:
        which: the filters.
        bus: MODULE:BUS as for `brokerkit run`, or the URL of a broker. By default `--config`, else `BROKERKIT_URL`.
        limit: delete so many at most.
        yes: do not ask.
    """
    found = which.bus(bus)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("purge deletes for good: say --yes")
        print("Delete these dead letters for good? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise UsageError("nothing was deleted")
    _go(found, which, "purge", "purged", limit)


def _go(bus: Bus, which: Which, what: Literal["replay", "purge"], done: str, limit: int | None) -> None:
    set_up_logging("warning")

    async def go() -> None:
        async with bus:
            letters = bus._letters(which.source)  # pyright: ignore[reportPrivateUsage]
            round = letters.round(what, limit=limit, **which.selected)
            begun = time.monotonic()
            try:
                async with progress(done, lambda: round.done, total=limit):
                    await letters.go_through(round)
            finally:
                console().print(summary(done, round.done, time.monotonic() - begun))
            if round.passed:
                console().print(f"{_count(round.passed)} passed and left in {printable(letters.place)}")

    run_until_interrupted(go())


async def _look(bus: Bus, which: Which, limit: int | None, *, yes: bool, id: str | None = None) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    async with bus:
        letters = bus._letters(which.source)  # pyright: ignore[reportPrivateUsage]
        if letters.looking == "touches":
            agree(letters.broker, yes=yes)
        async with aclosing(letters.look(**which.selected)) as looking:
            async for letter in looking:
                if id is None or letter.message.id == id:
                    found.append(letter)
                if len(found) == limit:
                    break
    return found


def _moment(value: str | None) -> datetime | None:
    if value is None:
        return None
    if (age := _AGE.fullmatch(value)) is not None:
        return datetime.now().astimezone() - timedelta(**{_UNITS[age[2]]: int(age[1])})
    try:
        return datetime.fromisoformat(value).astimezone()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{value!r} is no time; one looks like 2026-01-31T12:00, or like 2h for two hours ago"
        ) from None


def _shown(letter: DeadLetter) -> list[str]:
    message = letter.message
    facts = {
        "id": message.id,
        "event": message.name,
        "key": message.key,
        "topic": letter.topic,
        "group": letter.group,
        "handler": letter.handler,
        "error": f"{letter.error_type}: {letter.error}" if letter.error_type else "",
        "attempts": str(letter.attempts),
        "first failure": _time(letter.first_failure),
        "last failure": _time(letter.last_failure),
        **{f"header {name}": value for name, value in message.headers.items()},
    }
    lines = [f"{name}: {printable(_readable(value))}" for name, value in facts.items() if value]
    return [*lines, "", "no body" if message.body is None else printable(_readable(message.body)), ""]


def _readable(value: str | bytes) -> str:
    shown = text(value)
    return shown if isinstance(shown, str) else shown.decode(errors="backslashreplace")


def _time(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone().isoformat(" ", "seconds")


def _count(number: int) -> str:
    return f"{number:,} dead {'letter' if number == 1 else 'letters'}"
