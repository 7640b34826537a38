"""``brokerkit inspect``: browse messages, and propose how to read them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from json import dumps
from typing import Annotated, Final

from cyclopts import Parameter

from brokerkit import BrokerkitError, formats
from brokerkit._config._settings import SourceSettings
from brokerkit._logging import escape
from brokerkit._messages._delivery import Delivery
from brokerkit._tools._inspection import inspect
from brokerkit._tools._list_direction import running
from brokerkit._tools._proposals import Finding
from brokerkit._url import Url
from brokerkit.adapters.api import Capabilities
from brokerkit.cli._browsing import agree, browse, browse_effect, connected, run_until_interrupted, settings_for
from brokerkit.cli._output import say, say_aside, say_document, say_json

_SHOWN: Final = 10
"""How many names are listed."""


def inspect_messages(
    url: str | None = None,
    /,
    *,
    topic: Annotated[list[str] | None, Parameter(negative="")] = None,
    queue: Annotated[list[str] | None, Parameter(negative="")] = None,
    limit: int = 100,
    wait: float = 10.0,
    yes: Annotated[bool, Parameter(negative="")] = False,
    endpoint: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Browse the first messages of a topic, and print where the event name is, which family the events belong to, and a
    configuration to paste. Browsing takes no message from a reader. If the broker can show messages only by delivering them,
    `inspect` asks first.

    Args:
        url: the broker; every other setting can go into its query. By default `BROKERKIT_URL`. Or MODULE:BUS, as for
            `brokerkit run`.
        topic: the topic; may be repeated.
        queue: a queue instead of a topic (RabbitMQ).
        limit: browse at most this number of messages.
        wait: seconds to wait for messages, if the broker shows only new ones.
        yes: do not ask.
        endpoint: URL of an SQS or SNS emulator or private endpoint.
        json: write one JSON object instead of text; its `configuration` is the text to paste.
    """
    settings = settings_for(url, topic=topic, queue=queue, endpoint=endpoint)
    kind, broker = browse_effect(settings)
    if kind == "touches":
        agree(broker, yes=yes)
    if kind == "new":
        say_aside(f"{broker} shows only new messages: waiting up to {wait:g} s")
    deliveries, promised = run_until_interrupted(_browse(settings, limit, wait if kind == "new" else None))
    where = ", ".join(settings.topic or settings.queue)
    if not deliveries:
        hint = "; a longer --wait may help" if kind == "new" else ""
        raise BrokerkitError(f"there is no message in {where}{hint}")
    finding = inspect(deliveries, promised.name_places, by_fields=promised.broker == "Redis Streams")
    if json:
        say_json({**asdict(finding), "configuration": "" if finding.problem else toml(settings, finding, promised)})
        return
    for line in report(finding) + report_ends(settings, deliveries):
        say(line)
    say()
    if finding.problem:
        say("No configuration is proposed.")
        return
    say("The configuration:")
    say()
    say_document(toml(settings, finding, promised) + "\n")


async def _browse(settings: SourceSettings, limit: int, wait: float | None) -> tuple[list[Delivery], Capabilities]:
    deliveries: list[Delivery] = []
    async with connected(settings) as adapter:
        try:
            async with asyncio.timeout(wait):
                async for delivery in browse(adapter, settings, past=True, follow=wait is not None):
                    deliveries.append(delivery)
                    if len(deliveries) >= limit:
                        break
        except TimeoutError:
            pass
        return deliveries, adapter.capabilities((settings.topic or settings.queue)[0])


def report(finding: Finding) -> list[str]:
    """Return the findings as lines of text."""
    known = sum(finding.known.values())
    lines = [f"looked at {_count(finding.messages, 'message')}"]
    if finding.problem:
        lines.append(f"cannot be read as it is: {escape(finding.problem)}")
    for reason, count in list(finding.undecodable.items())[:_SHOWN]:
        lines.append(
            f"warning: {_count(count, 'message')} cannot be decoded; each becomes a dead letter: {escape(reason)}"
        )
    if more := sum(list(finding.undecodable.values())[_SHOWN:]):
        lines.append(f"warning: {_count(more, 'message')} cannot be decoded for other reasons")
    if finding.not_json:
        lines.append(f"{_count(finding.not_json, 'body', 'bodies')} not JSON")
    if finding.name_from:
        lines.append(f"event name: {', then '.join(map(escape, finding.name_from))}")
    else:
        lines.append("event name: not found; set name_from")
    lines.append(f"family: {finding.family or 'none of the known families'}")
    lines.append(f"format: {finding.format}")
    lines.append(f"known names: {known} of {_count(finding.messages, 'message')}, {len(finding.known)} different")
    lines += _listed(finding.known)
    if finding.unknown:
        lines.append(f"unknown names: {_count(sum(finding.unknown.values()), 'message')}")
        lines += _listed(finding.unknown)
    if finding.nameless and finding.name_from:
        lines.append(f"without a name: {_count(finding.nameless, 'message')}")
    for name, refusal in list(finding.unreadable.items())[:_SHOWN]:
        lines.append(f"warning: the model of {escape(name)} refuses a body: {escape(refusal)}")
    for name, seen in list(finding.foreign.items())[:_SHOWN]:
        lines.append(f"warning: a body of {escape(name)} sets none of its fields: {escape(seen)}")
    for guess in finding.guesses:
        lines.append(
            f"perhaps: {escape(guess.rule)}, {_count(guess.messages, 'message')}, {guess.different} different, "
            f"such as {escape(guess.example)}"
        )
    return lines


def report_ends(settings: SourceSettings, deliveries: Sequence[Delivery]) -> list[str]:
    """Say which end of a Redis list holds the older values, as far as the values tell."""
    if not Url.parse(settings.url.get_secret_value()).scheme.endswith("+list"):
        return []
    end = settings.read_from or "left"
    other = "left" if end == "right" else "right"
    evidence = running(deliveries)
    if evidence is None:
        return [
            f'read from the {end}: the values do not tell which end is older; read_from = "{other}" reads the other'
        ]
    field, rises = escape(evidence.field), evidence.rises
    if rises:
        return [f"read from the {end}, where the older values are ({field} rises)"]
    about = f"warning: the {end} end holds the newer values ({field} falls), which are read first"
    return [f'{about}; set read_from = "{other}"']


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _listed(names: Mapping[str, int]) -> list[str]:
    shown = [f"  {count:>5}  {escape(name)}" for name, count in list(names.items())[:_SHOWN]]
    return [*shown, f"         and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else shown


def toml(settings: SourceSettings, finding: Finding, promised: Capabilities) -> str:
    """Return a configuration that reads these messages, without secrets: they belong into the environment."""
    url = Url.parse(settings.url.get_secret_value())
    lines = ["[bus]"]
    if url.password is not None:
        lines.append(f"# {url}: set BROKERKIT_URL, which keeps the password out of this file")
    else:
        lines.append(f"url = {_text(str(url))}")
    if settings.options:
        lines.append(f"# add these options of the URL's query: {', '.join(sorted(settings.options))}")
    if settings.endpoint is not None:
        lines.append("# set BROKERKIT_ENDPOINT, or endpoint here")
    kind, names = ("topic", settings.topic) if settings.topic else ("queue", settings.queue)
    lines.append(f"{kind} = {_text(names[0]) if len(names) == 1 else _list(names)}")
    if promised.groups == "many" and settings.topic:
        lines.append('group = "my-service"  # the same for all processes of your service')
    if (body_field := finding.body_field or settings.body_field) != "data":
        lines.append(f"body_field = {_text(body_field)}")
    if settings.read_from is not None:
        lines.append(f"read_from = {_text(settings.read_from)}")
    lines.append(f"format = {_text(finding.format)}")
    wire = formats.get(finding.format)
    if wire not in formats.OURS and finding.name_from == wire.name_from:
        pass  # the format of another program has all its rules
    elif len(finding.name_from) == 1:
        lines.append(f"name_from = {_text(finding.name_from[0])}")
    elif finding.name_from:
        lines.append(f"name_from = {_list(finding.name_from)}")
    else:
        lines.append('# name_from = "header:NAME", "key", "topic", "routing_key", "type" or "field:PATH"')
    if finding.names:
        lines += ["", "# Names that were seen; the producer may use more.", "[bus.names]"]
        lines += [f"{_text(wire)} = {_text(name)}" for wire, name in sorted(finding.names.items())]
    return "\n".join(lines)


def _text(value: str) -> str:
    # A JSON string is also a TOML string if no character is escaped.
    written = dumps(value, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08X}" for sign in written)


def _list(values: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_text, values))}]"
