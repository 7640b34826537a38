"""``brokerkit tail``: follow a topic."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Final

from cyclopts import Parameter
from rich.text import Text

from brokerkit import BrokerkitError
from brokerkit._inspection import known_name
from brokerkit._message import Delivery, text
from brokerkit._rules import compile_rules
from brokerkit._settings import SourceSettings
from brokerkit._transport import Capabilities
from brokerkit.cli._looking import connected, looked_at, run_until_interrupted, settings_for, what_a_look_does
from brokerkit.cli._output import UsageError, console, printable

NameOf = Callable[[Delivery], str | None]

_COLOURS: Final = ("cyan", "green", "yellow", "magenta", "blue", "bright_red", "bright_cyan", "bright_green")


def tail(
    url: str | None = None,
    /,
    *,
    topic: Annotated[list[str] | None, Parameter(negative="")] = None,
    event: Annotated[list[str] | None, Parameter(negative="")] = None,
    from_start: Annotated[bool, Parameter(negative="")] = False,
    limit: int | None = None,
    name_from: Annotated[list[str] | None, Parameter(negative="")] = None,
    endpoint: str | None = None,
) -> None:
    """Follow a topic until Ctrl-C, a line for each message: time, event name, key, body. Nothing is taken from anybody.

    Args:
        url: the broker; every other setting can stand in the query. By default `BROKERKIT_URL`.
        topic: the topic; may be given several times.
        event: show only events of this name; may be given several times.
        from_start: begin with what is there, not with what is new.
        limit: end after so many messages.
        name_from: where the event name is, such as `header:event`; may be given several times. By default the first
            place with a known name.
        endpoint: URL of an SQS or SNS emulator or private endpoint.
    """
    settings = settings_for(
        url, topic=topic, queue=None, name_from=",".join(name_from or ()) or None, endpoint=endpoint
    )
    kind, broker = what_a_look_does(settings)
    if kind == "new" and from_start:
        raise UsageError(f"{broker} shows only what is published from now on: leave out --from-start")
    try:
        run_until_interrupted(_follow(settings, frozenset(event or ()), past=from_start, limit=limit))
    except KeyboardInterrupt:
        pass  # the way to end it


async def _follow(settings: SourceSettings, wanted: frozenset[str], *, past: bool, limit: int | None) -> None:
    out = console()
    shown = 0
    async with connected(settings) as adapter:
        name_of = _names(settings, adapter.capabilities(settings.topic[0]))
        async for delivery in looked_at(adapter, settings, past=past, follow=True):
            name = name_of(delivery)
            if wanted and name not in wanted:
                continue
            line = _line(delivery, name, with_topic=len(settings.topic) > 1 or delivery.topic not in settings.topic)
            # A terminal shows one line for each message; a pipe gets all of it.
            out.print(line, no_wrap=True, overflow="ellipsis" if out.is_terminal else "ignore", crop=out.is_terminal)
            shown += 1
            if shown == limit:
                return
    raise BrokerkitError("the broker ended the look")


def _names(settings: SourceSettings, promised: Capabilities) -> NameOf:
    if not settings.name_from:
        return lambda delivery: known_name(delivery, promised.name_places)
    lookup = compile_rules(settings.name_from, what="name_from", fields_if=settings.wire.fields_if)

    def name_of(delivery: Delivery) -> str | None:
        found = text(lookup(delivery) or "")
        name = found if isinstance(found, str) else found.decode(errors="backslashreplace")
        return settings.names.get(name, name) or None

    return name_of


def _line(delivery: Delivery, name: str | None, *, with_topic: bool) -> Text:
    time = (
        ""
        if delivery.time is None
        else datetime.fromtimestamp(delivery.time).astimezone().isoformat(" ", "milliseconds")
    )
    parts = [Text(time[:23] or "no time", style="dim")]
    if with_topic:
        parts.append(Text(printable(delivery.topic), style="dim"))
    # The same colour for the same name, in every run.
    colour = "dim" if name is None else _COLOURS[zlib.crc32(name.encode(errors="replace")) % len(_COLOURS)]
    parts.append(Text("?" if name is None else printable(name), style=colour))
    if delivery.key is not None:
        parts.append(Text(f"key={printable(_readable(delivery.key))}", style="dim"))
    parts.append(Text("no body" if delivery.body is None else printable(_readable(delivery.body))))
    return Text("  ").join(parts)


def _readable(value: str | bytes) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
