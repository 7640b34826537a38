"""``brokerkit inspect``: look at messages, and say how they are to be read."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Annotated, Final

from cyclopts import Parameter

from brokerkit import BrokerkitError
from brokerkit._inspection import Finding, inspect
from brokerkit._message import Delivery
from brokerkit._settings import SourceSettings
from brokerkit._transport import Capabilities
from brokerkit._url import Url
from brokerkit.cli._looking import agree, connected, looked_at, run_until_interrupted, settings_for, what_a_look_does
from brokerkit.cli._output import console, printable

_SHOWN: Final = 10
"""So many names are listed."""


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
) -> None:
    """Look at the first messages of a topic, and print where the event name is, whose events they are, and the
    configuration to paste. Nothing is taken from anybody; where a broker can show messages only by handing them out, you
    are asked first.

    Args:
        url: the broker; every other setting can stand in the query. By default `BROKERKIT_URL`.
        topic: the topic; may be given several times.
        queue: a queue instead of a topic (RabbitMQ).
        limit: look at so many messages at most.
        wait: wait so many seconds for messages, where a broker only shows what is published from now on.
        yes: do not ask.
        endpoint: URL of an SQS or SNS emulator or private endpoint.
    """
    settings = settings_for(url, topic=topic, queue=queue, endpoint=endpoint)
    kind, broker = what_a_look_does(settings)
    if kind == "touches":
        agree(broker, yes=yes)
    if kind == "new":
        print(f"{broker} shows only what is published from now on: waiting up to {wait:g} s", file=sys.stderr)
    deliveries, promised = run_until_interrupted(_look(settings, limit, wait if kind == "new" else None))
    where = ", ".join(settings.topic or settings.queue)
    if not deliveries:
        hint = "; a longer --wait may help" if kind == "new" else ""
        raise BrokerkitError(f"there is no message in {where} to look at{hint}")
    finding = inspect(deliveries, promised.name_places)
    out = console()
    for line in report(finding):
        out.print(line, markup=False, soft_wrap=True)
    out.print("\nThe configuration:\n", markup=False)
    out.print(toml(settings, finding, promised), markup=False, soft_wrap=True)


async def _look(settings: SourceSettings, limit: int, wait: float | None) -> tuple[list[Delivery], Capabilities]:
    deliveries: list[Delivery] = []
    async with connected(settings) as adapter:
        try:
            async with asyncio.timeout(wait):
                async for delivery in looked_at(adapter, settings, past=True, follow=wait is not None):
                    deliveries.append(delivery)
                    if len(deliveries) >= limit:
                        break
        except TimeoutError:
            pass
        return deliveries, adapter.capabilities((settings.topic or settings.queue)[0])


def report(finding: Finding) -> list[str]:
    """What was found, for people."""
    known = sum(finding.known.values())
    lines = [f"looked at {_count(finding.messages, 'message')}"]
    if finding.no_json:
        lines.append(f"{_count(finding.no_json, 'body', 'bodies')} no JSON")
    if finding.name_from:
        lines.append(f"event name: {', then '.join(map(printable, finding.name_from))}")
    else:
        lines.append("event name: not found; say with name_from where it is")
    lines.append(f"family: {finding.family or 'none of those that are known'}")
    lines.append(f"format: {finding.format}")
    lines.append(f"known names: {known} of {_count(finding.messages, 'message')}, {len(finding.known)} different")
    lines += _listed(finding.known)
    if finding.unknown:
        lines.append(f"unknown names: {_count(sum(finding.unknown.values()), 'message')}")
        lines += _listed(finding.unknown)
    if finding.nameless and finding.name_from:
        lines.append(f"without a name: {_count(finding.nameless, 'message')}")
    for name, refusal in list(finding.unreadable.items())[:_SHOWN]:
        lines.append(f"warning: the model of {printable(name)} refuses a body: {printable(refusal)}")
    for guess in finding.guesses:
        lines.append(
            f"perhaps: {printable(guess.rule)}, {_count(guess.messages, 'message')}, {guess.different} different, "
            f"such as {printable(guess.example)}"
        )
    return lines


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _listed(names: Mapping[str, int]) -> list[str]:
    shown = [f"  {count:>5}  {printable(name)}" for name, count in list(names.items())[:_SHOWN]]
    return [*shown, f"         and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else shown


def toml(settings: SourceSettings, finding: Finding, promised: Capabilities) -> str:
    """A configuration that reads these messages; without secrets, which belong into the environment."""
    url = Url.parse(settings.url.get_secret_value())
    lines = ["[bus]"]
    if url.password is not None:
        lines.append(f"# {url}: set BROKERKIT_URL, which keeps the password out of this file")
    else:
        lines.append(f"url = {_text(str(url))}")
    if settings.options:
        lines.append(f"# options of the URL's query to be added: {', '.join(sorted(settings.options))}")
    if settings.endpoint is not None:
        lines.append("# set BROKERKIT_ENDPOINT, or endpoint here")
    kind, names = ("topic", settings.topic) if settings.topic else ("queue", settings.queue)
    lines.append(f"{kind} = {_text(names[0]) if len(names) == 1 else _list(names)}")
    if promised.groups == "many" and settings.topic:
        lines.append('group = "my-service"  # the same for all processes of your service')
    if settings.body_field != "data":
        lines.append(f"body_field = {_text(settings.body_field)}")
    lines.append(f"format = {_text(finding.format)}")
    if len(finding.name_from) == 1:
        lines.append(f"name_from = {_text(finding.name_from[0])}")
    elif finding.name_from:
        lines.append(f"name_from = {_list(finding.name_from)}")
    else:
        lines.append('# name_from = "header:NAME", "key", "topic", "routing_key", "type" or "field:PATH"')
    if finding.names:
        lines += ["", "# Names that were seen; the producer may have more.", "[bus.names]"]
        lines += [f"{_text(wire)} = {_text(name)}" for wire, name in sorted(finding.names.items())]
    return "\n".join(lines)


def _text(value: str) -> str:
    # JSON's strings are TOML's where every character is written as itself.
    written = json.dumps(value, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08X}" for sign in written)


def _list(values: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_text, values))}]"
