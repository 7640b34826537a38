"""``brokerkit replay``: the messages of a recording onto a broker."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from brokerkit import Bus
from brokerkit._url import Url
from brokerkit.cli._output import LogLevel, console, set_up_logging
from brokerkit.cli._progress import progress, summary
from brokerkit.cli._stopping import stopping
from brokerkit.recording import Recording, Replay


def replay(
    file: Annotated[Path, Parameter(name="FILE")],
    /,
    *files: Annotated[Path, Parameter(name="FILES")],
    to: str | None = None,
    topic: str | None = None,
    speed: Annotated[float, Parameter(validator=Number(gt=0))] | Literal["max"] = 1.0,
    event: Annotated[list[str] | None, Parameter(negative="")] = None,
    from_: Annotated[datetime | None, Parameter(name="--from")] = None,
    until: datetime | None = None,
    skip: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    format: str | None = None,
    log_level: LogLevel = "warning",
) -> int:
    """Publish the messages of a recording: names, keys, headers, ids and bodies as they were, in their order.

    The exit code is 130 if it was interrupted before the end.

    Args:
        file: what `brokerkit record` has written.
        files: further recordings, which follow the first.
        to: the broker; every other setting can stand in the query. By default `BROKERKIT_URL`.
        topic: the topic. By default `BROKERKIT_TOPIC`.
        speed: 1 for the pace at which the messages were produced, 2 for twice as fast; `max` for as fast as the broker
            takes them.
        event: only events of this name; may be given several times.
        from_: only what was produced at this time or later, such as `2026-03-02T18:00`; in UTC unless it says otherwise.
        until: only what was produced before this time.
        skip: leave out so many messages at the beginning; an interrupted replay says how many.
        format: the wire format, that of the recording by default.
        log_level: what is logged to standard error.
    """
    set_up_logging(log_level)
    recording = Recording(file, *files)
    bus = Bus(to, **_settings(to, recording, topic=topic, format=format))
    replayed = Replay(
        bus,
        recording,
        speed=None if speed == "max" else speed,
        events=event or (),
        since=_unix(from_),
        until=_unix(until),
        skip=skip,
    )
    return asyncio.run(_Run(bus, replayed, recording).run())


def _settings(url: str | None, recording: Recording, *, topic: str | None, format: str | None) -> dict[str, Any]:
    """What the command says, and what the recording says where nobody else does."""
    elsewhere = {key for key, _ in (Url.parse(url).query if url is not None else ())}
    elsewhere |= {name.removeprefix("BROKERKIT_").lower() for name in os.environ if name.startswith("BROKERKIT_")}
    own = {"format": recording.format, "name_from": recording.name_from or None}
    settings = {key: value for key, value in own.items() if key not in elsewhere} | (
        {} if format is None else {"format": format}
    )
    return {key: value for key, value in {**settings, "topic": topic}.items() if value is not None}


def _unix(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class _Run:
    """One replay, with what is said about it."""

    def __init__(self, bus: Bus, replayed: Replay, recording: Recording) -> None:
        self._bus = bus
        self._replay = replayed
        self._recording = recording

    async def run(self) -> int:
        begun = time.monotonic()
        complete = False
        try:
            async with self._bus:
                begun = time.monotonic()
                with stopping(self._replay.stop):
                    async with progress("published", lambda: self._replay.published):
                        complete = await self._replay.run()
        finally:
            self._report(time.monotonic() - begun, complete=complete)
        return 0 if complete else 130

    def _report(self, seconds: float, *, complete: bool) -> None:
        def say(line: str) -> None:
            console().print(line, markup=False, soft_wrap=True)

        say(summary("published", self._replay.published + self._replay.also, seconds))
        if not complete:
            say(f"stopped behind message {self._replay.position:,}; go on with --skip {self._replay.position}")
        if self._replay.also:
            say(f"{self._replay.also:,} behind that are published already, and will be there twice")
        for path in self._recording.cut:
            print(f"warning: {path} ends in the middle of a message; what came before it is complete", file=sys.stderr)
