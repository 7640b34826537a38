"""``brokerkit tail``: follow a topic."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final

from cyclopts import Parameter
from rich.text import Text

from brokerkit import BrokerkitError
from brokerkit._config._settings import SourceSettings, event_names
from brokerkit._logging import escape
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import as_text
from brokerkit._messages._json import to_json
from brokerkit._messages._name_rules import compile_rules
from brokerkit._tools._inspection import known_name, undecodable
from brokerkit.adapters.api import Capabilities
from brokerkit.cli._browsing import browse, browse_effect, connected, run_until_interrupted, settings_for
from brokerkit.cli._output import UsageError, console, say_json

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
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Follow a topic until Ctrl-C: one line for each message with time, event name, key and body. It takes no message from
    a reader.

    Args:
        url: the broker; every other setting can go into its query. By default `BROKERKIT_URL`. Or MODULE:BUS, as for
            `brokerkit run`.
        topic: the topic; may be repeated.
        event: show only events of this name; may be repeated.
        from_start: begin with the oldest message that is kept, not with new ones.
        limit: end after this number of messages.
        name_from: where the event name is, such as `header:event`; may be repeated. By default the first known name,
            wherever it is.
        endpoint: URL of an SQS or SNS emulator or private endpoint.
        json: write one line of JSON for each message, with its headers.
    """
    settings = settings_for(
        url, topic=topic, queue=None, name_from=",".join(name_from or ()) or None, endpoint=endpoint
    )
    if not settings.topic:
        raise UsageError("tail follows topics, but this source reads a queue: use brokerkit inspect")
    kind, broker = browse_effect(settings)
    if kind == "new" and from_start:
        raise UsageError(f"{broker} shows only new messages: leave out --from-start")
    try:
        run_until_interrupted(_follow(settings, frozenset(event or ()), past=from_start, limit=limit, as_json=json))
    except KeyboardInterrupt:
        pass  # Ctrl-C is the way to end it


async def _follow(
    settings: SourceSettings, wanted: frozenset[str], *, past: bool, limit: int | None, as_json: bool
) -> None:
    out = console()
    shown = 0
    async with connected(settings) as adapter:
        name_of = _names(settings, adapter.capabilities(settings.topic[0]))
        async for delivery in browse(adapter, settings, past=past, follow=True):
            name = name_of(delivery)
            if wanted and name not in wanted:
                continue
            if as_json:
                say_json(_facts(delivery, name))
            else:
                line = _line(delivery, name, with_topic=len(settings.topic) > 1 or delivery.topic not in settings.topic)
                # A terminal cuts each line to its width; a pipe gets the whole line.
                out.print(
                    line, no_wrap=True, overflow="ellipsis" if out.is_terminal else "ignore", crop=out.is_terminal
                )
            shown += 1
            if shown == limit:
                return
    raise BrokerkitError("the broker ended the browsing")


def _names(settings: SourceSettings, promised: Capabilities) -> NameOf:
    if not settings.name_from:
        return lambda delivery: known_name(delivery, promised.name_places)
    names = event_names(settings)
    lookup = compile_rules(settings.name_from, what="name_from", fields_if=settings.wire.fields_if)

    def name_of(delivery: Delivery) -> str | None:
        found = as_text(lookup(delivery) or "")
        name = found if isinstance(found, str) else found.decode(errors="backslashreplace")
        return names.of(name) or None

    return name_of


def _facts(delivery: Delivery, name: str | None) -> dict[str, Any]:
    return {
        "time": delivery.time,
        "topic": delivery.topic,
        "event": name,
        "id": delivery.id,
        "key": to_json(delivery.key),
        "headers": {header: to_json(value) for header, value in delivery.headers.items()},
        "body": to_json(delivery.body),
        "undecodable": undecodable(delivery),
    }


def _line(delivery: Delivery, name: str | None, *, with_topic: bool) -> Text:
    time = (
        ""
        if delivery.time is None
        else datetime.fromtimestamp(delivery.time).astimezone().isoformat(" ", "milliseconds")
    )
    parts = [Text(time[:23] or "no time", style="dim")]
    if with_topic:
        parts.append(Text(escape(delivery.topic), style="dim"))
    # A name has the same colour in every run.
    colour = "dim" if name is None else _COLOURS[zlib.crc32(name.encode(errors="replace")) % len(_COLOURS)]
    parts.append(Text("?" if name is None else escape(name), style=colour))
    if delivery.key is not None:
        parts.append(Text(f"key={escape(_readable(delivery.key))}", style="dim"))
    if (reason := undecodable(delivery)) is not None:
        parts.append(Text(f"cannot be decoded: {escape(reason)}", style="red"))
    parts.append(Text("no body" if delivery.body is None else escape(_readable(delivery.body))))
    return Text("  ").join(parts)


def _readable(value: str | bytes) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
