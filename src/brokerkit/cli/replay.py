"""``brokerkit replay``: publish the messages of a recording."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from brokerkit import Bus
from brokerkit._url import Url
from brokerkit.cli._output import LogFormat, LogLevel, say, say_aside, set_up_logging
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
    log_format: LogFormat = "text",
) -> int:
    """Publish the messages of a recording in their order, with unchanged names, keys, headers, ids and bodies.

    The exit code is 130 after an interruption before the end.

    Args:
        file: a file that `brokerkit record` has written.
        files: more recordings, which follow the first.
        to: the broker; every other setting can go into its query. By default `BROKERKIT_URL`.
        topic: the topic. By default `BROKERKIT_TOPIC`.
        speed: 1 is the pace at which the messages were produced, 2 is twice as fast, `max` is as fast as the broker accepts
            them.
        event: only events of this name; may be repeated.
        from_: only messages produced at this time or later, such as `2026-03-02T18:00`; in UTC unless it has a zone.
        until: only messages produced before this time.
        skip: leave out this number of messages at the beginning; an interrupted replay prints the number.
        format: the wire format; by default that of the recording.
        log_level: what is logged to standard error.
        log_format: `json` for one line of JSON for each record, with fields.
    """
    set_up_logging(log_level, log_format)
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
    """Return the settings of the command, and those of the recording that nothing else sets."""
    settings_of_url = {key for key, _ in (Url.parse(url).query if url is not None else ())}
    settings_of_url |= {name.removeprefix("BROKERKIT_").lower() for name in os.environ if name.startswith("BROKERKIT_")}
    own = {"format": recording.format, "name_from": recording.name_from or None}
    settings = {key: value for key, value in own.items() if key not in settings_of_url} | (
        {} if format is None else {"format": format}
    )
    return {key: value for key, value in {**settings, "topic": topic}.items() if value is not None}


def _unix(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class _Run:
    """A run of a replay, with its output."""

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
        say(summary("published", self._replay.published + self._replay.also, seconds))
        if not complete:
            say(f"stopped after message {self._replay.position:,}; go on with --skip {self._replay.position}")
        if self._replay.also:
            say(f"{self._replay.also:,} messages after that are published already; they will be published twice")
        for path in self._recording.cut:
            say_aside(f"warning: {path} ends in the middle of a message; what came before it is complete")
