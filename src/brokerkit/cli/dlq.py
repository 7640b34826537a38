"""``brokerkit dlq``: browse, replay and purge dead letters."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from brokerkit import Bus, DeadLetter, Progress
from brokerkit._dead_letters._selection import Selected
from brokerkit._messages._headers import as_text
from brokerkit._messages._json import to_json
from brokerkit.cli._browsing import agree, run_until_interrupted
from brokerkit.cli._output import Table, UsageError, agreed, say, say_aside, say_json, set_up_logging
from brokerkit.cli._progress import progress, summary
from brokerkit.cli._target import find_bus

app: Final = App(name="dlq", help="Browse, replay and purge dead letters.")

Names = Annotated[list[str] | None, Parameter(negative="")]
Limit = Annotated[int | None, Parameter(validator=Number(gt=0))]
Yes = Annotated[bool, Parameter(negative="")]
Json = Annotated[bool, Parameter(negative="")]

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
        source: the source, if there are several.
        topic: the topic that the source reads, with a URL.
        queue: the queue that the source reads, with a URL.
        group: the group of the source, with a URL.
        endpoint: URL of an SQS or SNS emulator or private endpoint.
        dead_letter: URL of the file or broker with the dead letters, with a URL; by default they are beside the topic.
        id: only dead letters with this id, as `list` prints it; may be repeated.
        event: only dead letters with this event name; may be repeated.
        error: only dead letters with an error of this class (`ValueError`); may be repeated.
        since: only dead letters that failed at this time or later: a date and time (`2026-01-31T12:00`), or an age (`2h`,
            `7d`).
        until: only dead letters that failed before this time.
    """

    config: Path | None = None
    source: str | None = None
    topic: Names = None
    queue: Names = None
    group: str | None = None
    endpoint: str | None = None
    dead_letter: str | None = None
    id: Names = None
    event: Names = None
    error: Names = None
    since: str | None = None
    until: str | None = None

    def bus(self, target: str | None) -> Bus:
        """Return the bus that the command line names."""
        given: dict[str, Any] = {
            name: value
            for name in ("topic", "queue", "group", "endpoint", "dead_letter")
            if (value := getattr(self, name)) is not None
        }
        if target is not None and "://" not in target:
            if given:
                raise UsageError(
                    f"--{next(iter(given)).replace('_', '-')} goes with a URL; {target} has its own settings"
                )
            return find_bus(target, self.config)
        if self.config is not None:
            return Bus.from_config(self.config, **({"url": target} if target else {}), **given)  # type: ignore[arg-type]
        return Bus(target, **given)

    @property
    def selected(self) -> Selected:
        """The filters."""
        return {
            "ids": self.id or (),
            "events": self.event or (),
            "errors": self.error or (),
            "since": _moment(self.since),
            "until": _moment(self.until),
        }


_ALL: Final = Which()


@app.command(name="list")
def list_letters(
    bus: str | None = None,
    /,
    *,
    which: Which = _ALL,
    limit: Limit = 100,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """List dead letters, and remove none. If the broker can show them only by delivering them (SQS, RabbitMQ), the command
    asks first.

    Args:
        which: the filters.
        bus: MODULE:BUS as for `brokerkit run`, or the URL of a broker. By default `--config`, else `BROKERKIT_URL`.
        limit: list at most this number.
        yes: do not ask.
        json: write one line of JSON for each dead letter.
    """

    async def go() -> None:
        with Table("id", "event", "handler", "error", "attempts", "last failure", right=("attempts",)) as table:
            async with _browsed(which.bus(bus), which, limit, yes=yes) as (letters, browsed):
                async for letter in letters:
                    if json:
                        say_json(_facts(letter))
                    else:
                        table.row(*_row(letter))
        if not json:
            say(_count(browsed.last.done))
        browsed.say_limit(limit)
        browsed.say_where()

    run_until_interrupted(go())


@app.command
def show(
    bus: str | None = None,
    /,
    *,
    which: Which = _ALL,
    limit: Limit = 10,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Print dead letters with headers and body. The command asks first where `list` does.

    Args:
        which: the filters.
        bus: MODULE:BUS as for `brokerkit run`, or the URL of a broker. By default `--config`, else `BROKERKIT_URL`.
        limit: print at most this number.
        yes: do not ask.
        json: write one line of JSON for each dead letter.
    """

    async def go() -> None:
        async with _browsed(which.bus(bus), which, limit, yes=yes) as (letters, browsed):
            async for letter in letters:
                if json:
                    say_json(_facts(letter) | _contents(letter))
                else:
                    for line in _shown(letter):
                        say(line)
        browsed.say_limit(limit)
        browsed.say_where()
        if not browsed.last.done:
            raise UsageError(f"there is no such dead letter in {browsed.location}")

    run_until_interrupted(go())


@app.command
def replay(bus: str | None = None, /, *, which: Which = _ALL, limit: Limit = None, json: Json = False) -> None:
    """Publish dead letters to their topic again, for the group that failed. A dead letter is removed when the broker has
    confirmed its message. An interrupted replay loses nothing, and the next replay continues with the remaining ones.

    Args:
        which: the filters.
        bus: MODULE:BUS as for `brokerkit run`, or the URL of a broker. By default `--config`, else `BROKERKIT_URL`.
        limit: replay at most this number.
        json: write the result as one line of JSON.
    """
    _go(which.bus(bus), which, "replayed", limit, json=json)


@app.command
def purge(
    bus: str | None = None,
    /,
    *,
    which: Which = _ALL,
    limit: Limit = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Delete dead letters for good.

    Args:
        which: the filters.
        bus: MODULE:BUS as for `brokerkit run`, or the URL of a broker. By default `--config`, else `BROKERKIT_URL`.
        limit: delete at most this number.
        yes: do not ask.
        json: write the result as one line of JSON.
    """
    found = which.bus(bus)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("purge deletes for good: confirm with --yes")
        if not agreed("Delete these dead letters for good?"):
            raise UsageError("nothing was deleted")
    _go(found, which, "purged", limit, json=json)


def _go(bus: Bus, which: Which, done: Literal["replayed", "purged"], limit: int | None, *, json: bool) -> None:
    set_up_logging("warning")

    async def go() -> None:
        async with bus:
            letters = bus.dead_letters(which.source)
            told = _LastProgress(letters.location)
            work = letters.replay if done == "replayed" else letters.purge
            begun = time.monotonic()
            try:
                async with progress(done, lambda: told.last.done, total=limit):
                    await work(limit=limit, progress=told, **which.selected)
            finally:
                last = told.last
                if json:
                    say_json({done: last.done, "kept": last.kept, "unseen": last.unseen, "location": told.location})
                else:
                    say(summary(done, last.done, time.monotonic() - begun))
                    if last.kept:
                        say(f"{_count(last.kept)} looked at and left in {told.location}")
                    if last.unseen:
                        say(f"{_count(last.unseen)} not looked at")
            told.say_where()

    run_until_interrupted(go())


class _LastProgress:
    """The last reported progress, and where the dead letters are."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.last = Progress()

    def __call__(self, progress: Progress) -> None:
        self.last = progress

    def say_limit(self, limit: int | None) -> None:
        """Where the limit ended the walk, say so beside what was written: a program may read that."""
        if self.last.done == limit:
            say_aside(f"stopped at --limit {limit}: there may be more")

    def say_where(self) -> None:
        """If no dead letter was found, say where the command looked, and how many of others are there."""
        if self.last.done:
            return
        others = f": {_count(self.last.foreign)} of other topics or groups" if self.last.foreign else ""
        say_aside(f"looked in {self.location}{others}; choose the dead letters with --topic, --group and --dead-letter")


@asynccontextmanager
async def _browsed(
    bus: Bus, which: Which, limit: int | None, *, yes: bool
) -> AsyncGenerator[tuple[AsyncGenerator[DeadLetter], _LastProgress]]:
    set_up_logging("warning")
    async with bus:
        letters = bus.dead_letters(which.source)
        if letters.browse_effect == "touches":
            agree(letters.broker, yes=yes)
        told = _LastProgress(letters.location)
        async with aclosing(letters.browse(limit=limit, progress=told, **which.selected)) as found:
            yield found, told


def _moment(value: str | None) -> datetime | None:
    if value is None:
        return None
    if (age := _AGE.fullmatch(value)) is not None:
        return datetime.now().astimezone() - timedelta(**{_UNITS[age[2]]: int(age[1])})
    try:
        return datetime.fromisoformat(value).astimezone()
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{value!r} is not a time; write 2026-01-31T12:00, or 2h for two hours ago") from None


def _row(letter: DeadLetter) -> list[str]:
    error = f"{letter.error_type}: {letter.error}".removesuffix(": ").removeprefix(": ")
    message = letter.message
    return [
        *(message.id or "", message.name, letter.handler, error[:_SHORT], str(letter.attempts)),
        _time(letter.last_failure),
    ]


def _facts(letter: DeadLetter) -> dict[str, Any]:
    """Return what a line of JSON says about a letter."""
    return {
        "id": letter.message.id,
        "event": letter.message.name,
        "topic": letter.topic,
        "group": letter.group,
        "handler": letter.handler,
        "error_type": letter.error_type,
        "error": letter.error,
        "attempts": letter.attempts,
        "first_failure": letter.first_failure.isoformat() if letter.first_failure else None,
        "last_failure": letter.last_failure.isoformat() if letter.last_failure else None,
    }


def _contents(letter: DeadLetter) -> dict[str, Any]:
    """Return what it says about the message itself."""
    message = letter.message
    return {
        "time": message.time,
        "traceback": letter.traceback,
        "key": to_json(message.key),
        "headers": {name: to_json(value) for name, value in message.headers.items()},
        "body": to_json(message.body),
        "edits": [
            {"by": each.by, "at": each.at.isoformat(), "body_before": to_json(each.body)} for each in letter.edits
        ],
    }


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
        "changed": ", ".join(f"by {each.by} at {_time(each.at)}" for each in letter.edits),
        **{f"header {name}": value for name, value in message.headers.items()},
    }
    lines = [f"{name}: {_readable(value)}" for name, value in facts.items() if value]
    lines += [f"  {line}" for line in letter.traceback.splitlines()]  # none of them looks like one of the facts
    return [*lines, "", "no body" if message.body is None else _readable(message.body), ""]


def _readable(value: str | bytes) -> str:
    shown = as_text(value)
    return shown if isinstance(shown, str) else shown.decode(errors="backslashreplace")


def _time(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone().isoformat(" ", "seconds")


def _count(number: int) -> str:
    return f"{number:,} dead {'letter' if number == 1 else 'letters'}"
