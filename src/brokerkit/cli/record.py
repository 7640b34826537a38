"""``brokerkit record``: write the messages of a topic into a file."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from brokerkit.cli._output import LogFormat, LogLevel, say, set_up_logging
from brokerkit.cli._progress import progress, summary
from brokerkit.cli._stopping import stopping
from brokerkit.recording import Recorder

Positive = Number(gt=0)


def record(
    url: str | None = None,
    /,
    *,
    out: Path,
    topic: str | None = None,
    group: str | None = None,
    format: str | None = None,
    take: Annotated[bool, Parameter(negative="")] = False,
    count: Annotated[int | None, Parameter(validator=Positive)] = None,
    duration: Annotated[float | None, Parameter(validator=Positive)] = None,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
) -> None:
    """Record the messages of a topic into a file, until SIGTERM or SIGINT; `brokerkit replay` publishes them again.

    Each message is kept with its name, key, headers, id, time and body, even if no handler could read it. It is acknowledged
    when the disk has it.

    Args:
        url: the broker; every other setting can go into its query (`kafka://localhost?start=latest`). By default
            `BROKERKIT_URL`.
        out: the file, which must not exist yet; it is compressed if its name ends in `.gz`.
        topic: the topic. By default `BROKERKIT_TOPIC`.
        group: a separate group for the recording, never that of a service. It remembers its position, and what it needs on
            the broker stays. Without a group, recording begins now, and nothing stays.
        format: the wire format, such as `evenbet`; it says where event names are.
        take: take the messages away from other readers. It is needed for queues, where each message has one reader.
        count: stop after this number of messages.
        duration: stop after this number of seconds.
        log_level: what is logged to standard error.
        log_format: `json` for one line of JSON for each record, with fields.
    """
    set_up_logging(log_level, log_format)
    settings = {"topic": topic, "group": group, "format": format}
    given = {setting: value for setting, value in settings.items() if value is not None}
    recorder = Recorder(out, url, take=take, **given)  # type: ignore[arg-type]
    asyncio.run(_record(recorder, out, count=count, duration=duration))


async def _record(recorder: Recorder, out: Path, *, count: int | None, duration: float | None) -> None:
    begun = time.monotonic()
    started = asyncio.create_task(_say_when_started(recorder, out, duration))
    try:
        with stopping(recorder.stop):
            async with progress("recorded", lambda: recorder.written, total=count):
                await recorder.run(count=count)
    finally:
        started.cancel()
        if recorder.started.is_set():
            say(summary("recorded", recorder.written, time.monotonic() - begun))
        if recorder.nameless:
            say(
                f"{recorder.nameless:,} of them have no event name where --format or name_from looks for it; "
                "they are recorded anyway"
            )


async def _say_when_started(recorder: Recorder, out: Path, duration: float | None) -> None:
    await recorder.started.wait()
    say(f"recording into {out}")
    if duration is not None:
        asyncio.get_running_loop().call_later(duration, recorder.stop)
