"""``brokerkit publish``: send one event."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from brokerkit import BrokerkitError, Bus, Receipt, events
from brokerkit.cli._output import UsageError, say, say_aside
from brokerkit.cli._target import find_bus


def publish(
    name: str,
    /,
    *,
    data: str | None = None,
    file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    url: str | None = None,
    topic: str | None = None,
    format: str | None = None,
    key: str | None = None,
    header: Annotated[list[str] | None, Parameter(negative="")] = None,
    after: float | None = None,
    at: datetime | None = None,
    config: Path | None = None,
    to: str | None = None,
) -> None:
    """Check one event against its model, publish it, and print the broker's answer.

    Args:
        name: the event name, plain or with its family (`evenbet:OnUserLoggedIn`).
        data: the payload as JSON.
        file: a file with the payload as JSON; `-` is standard input.
        url: the broker; every other setting can go into its query (`redis://localhost?provision=all`). By default
            `BROKERKIT_URL`. Or MODULE:BUS, as for `brokerkit run`.
        topic: the topic. By default `BROKERKIT_TOPIC`.
        format: the wire format, such as `evenbet` or `cloudevents`.
        key: the ordering key: messages of one key stay in order.
        header: a header of the message, as `NAME=VALUE`; may be repeated.
        after: seconds from now when it is to be delivered, where the broker can keep it.
        at: the same as a time, such as `2026-11-30T12:00+01:00`; without an offset it is local time.
        config: a configuration file; `--url`, `--topic` and `--format` override it.
        to: the target, if the configuration has several.
    """
    settings = {"url": url, "topic": topic, "format": format}
    given = {setting: value for setting, value in settings.items() if value is not None}
    # The bus comes first: its module may register the event.
    if url is not None and "://" not in url and ":" in url:
        if others := given.keys() - {"url"}:
            raise UsageError(f"--{min(others)} goes with a URL; {url} has its own settings")
        bus = find_bus(url, config)
    elif config is not None:
        bus = Bus.from_config(config, **given)  # type: ignore[arg-type]
    else:
        bus = Bus(given.pop("url", None), **given)  # type: ignore[arg-type]
    event = events.parse(name, _payload(data, file))
    if strange := sorted(getattr(event, "model_extra", None) or ()):
        say_aside(f"warning: {name} has no field {', '.join(strange)}; it is published anyway")
    headers = dict(_header(text) for text in header or ())

    async def send() -> Receipt:
        async with bus:
            due = at.astimezone() if at is not None else None
            return await bus.publish(name, event, key=key, headers=headers, to=to, after=after, at=due)

    receipt = asyncio.run(send())
    say(_shown(name, receipt))


def _payload(data: str | None, file: Path | None) -> bytes:
    if (data is None) == (file is None):
        raise UsageError("the payload is missing or given twice: use one of --data JSON, --file FILE, --file -")
    if data is not None:
        return data.encode()
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file or "").read_bytes()
    except OSError as error:
        raise BrokerkitError(f"{file}: {error.strerror}") from error


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--header {text!r} is not NAME=VALUE")
    return name, value


def _shown(name: str, receipt: Receipt) -> str:
    parts = [f"published {name} to {receipt.topic}", f"id {receipt.id}"]
    if receipt.position is not None:
        parts.append(f"position {receipt.position}")
    if receipt.receivers is not None:
        parts.append(f"{receipt.receivers} subscribers")
    return ", ".join(parts)
