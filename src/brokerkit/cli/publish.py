"""``brokerkit publish``: send one event."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from brokerkit import BrokerkitError, Bus, Receipt, events
from brokerkit.cli._output import UsageError


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
    config: Path | None = None,
    to: str | None = None,
) -> None:
    """Publish one event, checked against its model, and print what the broker said.

    Args:
        name: the event name, plain or with its family (`evenbet:OnUserLoggedIn`).
        data: the payload as JSON.
        file: a file with the payload as JSON; `-` is standard input.
        url: the broker; every other setting can stand in the query (`redis://localhost?provision=all`). By default
            `BROKERKIT_URL`.
        topic: the topic. By default `BROKERKIT_TOPIC`.
        format: the wire format, such as `evenbet` or `cloudevents`.
        key: messages of one key stay in order.
        header: text to travel beside the body, as `NAME=VALUE`; may be given several times.
        config: a configuration file; `--url`, `--topic` and `--format` override it.
        to: the target, where the configuration has several.
    """
    event = events.parse(name, _payload(data, file))
    if strange := sorted(getattr(event, "model_extra", None) or ()):
        print(f"warning: {name} has no field {', '.join(strange)}; published all the same", file=sys.stderr)
    headers = dict(_header(text) for text in header or ())
    settings = {"url": url, "topic": topic, "format": format}
    given = {setting: value for setting, value in settings.items() if value is not None}
    if config is not None:
        bus = Bus.from_config(config, **given)  # type: ignore[arg-type]
    else:
        bus = Bus(given.pop("url", None), **given)  # type: ignore[arg-type]

    async def send() -> Receipt:
        async with bus:
            return await bus.publish(name, event, key=key, headers=headers, to=to)

    receipt = asyncio.run(send())
    print(_shown(name, receipt))


def _payload(data: str | None, file: Path | None) -> bytes:
    if (data is None) == (file is None):
        raise UsageError("the payload is missing, or there twice: give one of --data JSON, --file FILE, --file -")
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
