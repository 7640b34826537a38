"""Write what in docs/ follows from the code: settings, what adapters say and promise, errors, and the events.

A page about one family (docs/events/NAME.md) is made as a whole. In the other pages, and in README.md, blocks are made:

    <!-- made: settings source -->
    ...
    <!-- end -->

Run it after a change of what the blocks show (`make docs`); ``--check`` only says which files are out of step.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Annotated, Any, Final, Literal, Union, cast, get_args, get_origin
from zoneinfo import ZoneInfo

from event_pages import about, family_page, markdown, table
from pydantic import BaseModel, SecretStr

from brokerkit import Breaker, Rate, RetryPolicy, _errors, formats
from brokerkit._config._loading import BusSettings
from brokerkit._config._settings import ConnectionSettings, SourceSettings, TargetSettings
from brokerkit.adapters import make
from brokerkit.adapters.api import Capabilities
from brokerkit.dedupe import Dedupe
from brokerkit.events import get_family
from brokerkit.events._registry import BUILT_IN
from brokerkit.formats import Registry
from brokerkit.formats._others import PEERS
from brokerkit.gateway import GatewaySettings

ROOT: Final = Path(__file__).parent.parent
sys.path.append(str(ROOT))

from benchmarks import results  # noqa: E402 - the checkout itself is no package that is installed
from tests.adapters import aws_roles, kafka_roles, rabbit_roles, redis_roles  # noqa: E402
from tests.brokers import aws_case, aws_cases, aws_sns_cases, aws_sqs_cases, matrix  # noqa: E402
from tests.formats.interop import samples  # noqa: E402

DOCS: Final = ROOT / "docs"

_BLOCK: Final = re.compile(r"(<!-- made: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
_SECTION: Final = re.compile(r"^(\S.*)\n((?:^(?: {4}.*)?\n)+)", re.MULTILINE)
_ENTRY: Final = re.compile(r"^ {4}(\w+): ((?:.*\n)(?: {8}.*\n)*)", re.MULTILINE)

ADAPTERS: Final = {
    "memory": ("memory://", ""),
    "SQLite": ("sqlite:///broker.db", ""),
    "Kafka": ("kafka://localhost", ""),
    "Kafka share groups": ("kafka+share://localhost", ""),
    "RabbitMQ": ("amqp://localhost", ""),
    "SQS": ("sqs://eu-west-1/", "queue"),
    "SQS FIFO": ("sqs://eu-west-1/", "queue.fifo"),
    "SNS": ("sns://eu-west-1/", "topic"),
    "SNS FIFO": ("sns://eu-west-1/", "topic.fifo"),
    "Redis Streams": ("redis://localhost", ""),
    "Redis list": ("redis+list://localhost", ""),
    "Redis Pub/Sub": ("redis+pubsub://localhost", ""),
    "ThrillConnect": ("thrillconnect+wss://localhost", ""),
}
"""A URL and a topic for each column of promises."""


# ---- docstrings ------------------------------------------------------------------------------------------------------


def docstring(module: str) -> str:
    """The docstring of a module, read without importing it."""
    place = ROOT / "src" / Path(*module.split("."))
    source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""


def attributes(owner: type, heading: str) -> dict[str, str]:
    """What a class's docstring says of its attributes, by name."""
    text = inspect.cleandoc(owner.__doc__ or "") + "\n"
    block = re.search(rf"^{heading}:\n((?:(?: .*)?\n)+)", text, re.MULTILINE)
    if block is None:
        return {}
    return {name: markdown(meaning) for name, meaning in _ENTRY.findall(block[1])}


# ---- settings --------------------------------------------------------------------------------------------------------


def settings(kind: str) -> str:
    """The table of one kind of settings."""
    if kind == "bus":
        meaning = attributes(BusSettings, "Attributes")["stop_timeout"]
        return table(_SETTINGS_HEAD, [["`stop_timeout`", "number", f"{BusSettings().stop_timeout:g}", meaning]])
    if kind == "retry":
        return _retry_settings()
    models: dict[str, type[BaseModel]] = {
        "connection": ConnectionSettings,
        "source": SourceSettings,
        "target": TargetSettings,
        "gateway": GatewaySettings,
    }
    model = models[kind]
    said = attributes(model, "Attributes")
    rows: list[list[str]] = []
    for name, field in model.model_fields.items():
        if kind in ("source", "target") and name in ConnectionSettings.model_fields:
            continue
        default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        rows.append([f"`{name}`", _setting_type(field.annotation), default, said[name]])
    return table(_SETTINGS_HEAD, rows)


def _retry_settings() -> str:
    said = attributes(RetryPolicy, "Args")
    policy = RetryPolicy()
    rows = [
        [f"`{name}`", _RETRY_TYPES.get(name, "number"), _shown(getattr(policy, name)), said[name]]
        for name in RetryPolicy.__dataclass_fields__
    ]
    return table(_SETTINGS_HEAD, rows)


_RETRY_TYPES: Final = {"jitter": "true or false", "by_error": "table"}
_SETTINGS_HEAD: Final = ["key", "type", "default", "meaning"]

_SETTING_TYPES: Final[dict[Any, str]] = {
    str: "text",
    bool: "true or false",
    int: "whole number",
    float: "number",
    SecretStr: "URL",
    Path: "file",
    Callable: "URL or function",
    ZoneInfo: "zone name",
    RetryPolicy: "table, or a number of attempts",
    Breaker: "table",
    Rate: "number or table",
    Dedupe: "URL or table",
    Registry: "URL or table",
}


def _setting_type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _setting_type(arguments[0])
    if origin is Callable:
        return _SETTING_TYPES[Callable]
    if origin in (Union, types.UnionType):
        if SecretStr in arguments:  # alone it is a URL that may have a password
            return "text"
        return _setting_type(next(one for one in arguments if one is not type(None)))
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return "text or list of text"
    return "table" if origin is dict else _SETTING_TYPES[annotation]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, RetryPolicy):
        return "see below"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple) and value:
        return ", ".join(f"`{one}`" for one in cast("tuple[str, ...]", value))
    return "–" if value in (None, (), {}) else f"`{value}`" if isinstance(value, str) else str(value)


# ---- adapters --------------------------------------------------------------------------------------------------------


def section(argument: str) -> str:
    """One section of a module's docstring: ``adapters.kafka / Order``."""
    module, _, heading = argument.partition(" / ")
    found = dict(_SECTION.findall(docstring(f"brokerkit.{module}") + "\n"))
    return markdown(found[heading])


def promises(argument: str) -> str:
    """What adapters promise, one column for each; ``all`` for every one."""
    names = list(ADAPTERS) if argument == "all" else argument.split(", ")
    columns = [_capabilities(*ADAPTERS[name]) for name in names]
    rows = [[label, *(show(column) for column in columns)] for label, show in _PROMISES.items()]
    return table(["promise", *names], rows)


def guarantees(_: str) -> str:
    """The promises that matter most, a line for each broker that outlives the process."""
    rows: list[list[str]] = []
    for name, place in ADAPTERS.items():
        if name == "memory":
            continue
        each = _capabilities(*place)
        rows.append(
            [
                name,
                "at least once" if each.at_least_once else "**at most once**",
                _confirmed(each),
                *(_PROMISES[label](each) for label in ("groups", "order by key", "longest durable retry")),
                _yes(each.attempts == "deliveries"),
                "beside the topic" if each.dead_letters else "only with `dead_letter`",
            ]
        )
    head = ["broker", "delivery", "publish is confirmed", "groups", "order by key", "retries survive a crash"]
    return table([*head, "crash loops end", "dead letters"], rows)


def _capabilities(url: str, topic: str) -> Capabilities:
    connection = ConnectionSettings.model_validate({"url": url}).connection()
    return make(connection).capabilities(topic)


def _confirmed(each: Capabilities) -> str:
    return _yes(each.confirmed_publish) if each.publishes else "nothing is published"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _duration(seconds: float | None) -> str:
    if seconds is None or seconds == float("inf"):
        return "no limit"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:g} s"


_PROMISES: Final[dict[str, Callable[[Capabilities], str]]] = {
    "at least once": lambda each: _yes(each.at_least_once),
    "publish is confirmed": lambda each: _confirmed(each),
    "groups": lambda each: {"many": "many", "one": "one: the topic", "none": "none"}[each.groups],
    "order by key": lambda each: {
        "group": "across the group",
        "process": "within a process",
        "none": "not at the broker",
    }[each.order],
    "deliveries are counted": lambda each: _yes(each.attempts == "deliveries"),
    "lease": lambda each: "for as long as connected" if each.lease is None else "yes, extended",
    "longest hold": lambda each: _duration(each.max_hold),
    "longest durable retry": lambda each: _duration(each.durable_retry) if each.durable_retry else "none",
    "publishing later": lambda each: _duration(each.delays) if each.delays else "with the outbox",
    "priorities": lambda each: _yes(each.priorities),
    "broadcast": lambda each: _yes(each.broadcast),
    "dead letters beside the topic": lambda each: _yes(each.dead_letters),
    "results and acknowledgement in one transaction": lambda each: _yes(each.transactions),
    "stable id from any producer": lambda each: _yes(each.stable_id),
    "name can be written to": lambda each: ", ".join(f"`{place}`" for place in sorted(each.name_places)),
    "browsing a topic": lambda each: _BROWSING[each.browse],
    "browsing a queue": lambda each: _BROWSING[each.browse_queue],
    "`max_in_flight`": lambda each: str(each.max_in_flight),
    "`provision`": lambda each: f"`{each.default_provision}`",
}


_BROWSING: Final = {
    "free": "changes nothing",
    "touches": "counts as a delivery",
    "new": "new messages only",
    "none": "not possible",
}


def errors(_: str) -> str:
    """The tree of errors, as the module shows it."""
    tree = re.search(r"::\n\n((?: {4}.*\n)+)", _errors.__doc__ or "")
    assert tree is not None
    return f"```\n{dedent(tree[1]).rstrip()}\n```"


def families(_: str) -> str:
    """All built-in families with their number of events."""
    rows: list[list[str]] = []
    for name in sorted(BUILT_IN):
        family = get_family(name)
        rows.append([f"[{name}](events/{name}.md)", f"`{family.format}`", str(len(family.models)), about(name)])
    return table(["family", "format", "events", "what it is"], rows)


def wire_formats(_: str) -> str:
    """All formats, with the rules that hold where a source states none."""

    def rules(of: tuple[str, ...]) -> str:
        return ", ".join(f"`{rule}`" for rule in of) or "–"

    rows = [
        [f"`{one.name}`", rules(one.name_from), rules(one.id_from), one.family or "any"]
        for one in sorted(formats.OURS, key=lambda one: one.name)
    ]
    return table(["format", "the name is looked for in", "the id in", "family"], rows)


def peers(_: str) -> str:
    """The formats of other programs."""
    rows = [
        [f"`{peer.format.name}`", peer.what, "only read" if peer.format.read_only else "read and written"]
        for peer in sorted(PEERS, key=lambda peer: peer.format.name)
    ]
    return table(["format", "reads", "use"], rows)


def interop(_: str) -> str:
    """What other programs wrote, and what reads it."""
    rows = []
    for one in samples():
        settings = ", ".join(f'`{name} = "{value}"`' for name, value in one.settings.items())
        rows.append([one.peer, one.version, one.broker, settings, "yes" if one.inspected else "no"])
    return table(["program", "version", "through", "configuration", "`inspect` proposes it"], rows)


# ---- benchmarks ------------------------------------------------------------------------------------------------------


_COMPARED: Final = {
    "kafka": ("confluent-kafka", "faststream", "asyncfast", "amgi-aiokafka", "pydantic"),
    "redis": ("redis", "faststream", "pydantic"),
    "kafka-share": ("confluent-kafka", "pydantic"),
    "redis-list": ("redis", "kombu", "pydantic"),
    "rabbitmq": ("aio-pika", "aiormq", "faststream", "kombu", "pydantic"),
    "sqs": ("aiobotocore", "asyncfast", "amgi-aiobotocore", "pydantic"),
}
"""The libraries whose versions matter for a comparison."""


def comparison(broker: str) -> str:
    """The table of the last comparison at one broker."""
    return _measured("brokers", broker, "make bench")


def curve(name: str) -> str:
    """The table of one curve of growth."""
    return _measured("curves", name, "make bench B=curves")


def _measured(part: str, name: str, command: str) -> str:
    found = results.read()[part].get(name)
    if found is None:
        return f"Nothing is kept here yet: `{command}` measures and writes it."
    head, rows = results.table(part, name, found)
    if part == "curves":
        return table(head, rows)
    versions = ", ".join(f"{library} {found['versions'][library]}" for library in _COMPARED[name])
    taken = (
        f"{found['day']}: median of {found['rounds']} turns (smallest to largest), {found['scale']:g} times the messages of "
        f"`benchmarks/plan.py`; {found['processors']} processors, "
        f"load {found['load']} before the run, Python {found['python']}; {versions}."
    )
    return f"{table(head, rows)}\n\n{taken}"


def chart(file: str) -> str:
    """A chart, once there is one."""
    return f"![{Path(file).stem}]({file})" if (DOCS / file).exists() else "No chart is kept here yet."


def brokers(_: str) -> str:
    """The table of what `make matrix` found, and why some of it failed."""
    rows: list[list[str]] = []
    reasons: dict[str, list[str]] = {}
    for version, kept in matrix.read().items():
        cells = [f"{version} ({kept['exact']})"]
        for suite in matrix.SUITES:
            result = kept["suites"][suite]
            for test in result["failed"]:
                why = matrix.explanation(version, test) or "Nobody has explained this yet."
                reasons.setdefault(why, []).append(f"{version}: `{test}`")
            failed = f", {len(result['failed'])} failed" if result["failed"] else ""
            again = f" ({len(found)} when tried again)" if (found := result.get("passed again")) else ""
            cells.append(f"{result['passed']} passed{again}{failed}")
        rows.append(cells)
    explained = [f"- {why} ({'; '.join(tests)})" for why, tests in reasons.items()]
    return "\n\n".join([table(["broker", *matrix.SUITES], rows), "\n".join(explained) or "Nothing failed."])


def stand_ins(group: str) -> str:
    """What the stand-ins for AWS do in a group of cases, beside what AWS documents."""
    kept: dict[str, dict[str, Any]] = json.loads(aws_cases.RESULTS.read_text(encoding="utf-8"))
    groups = {"sqs": aws_sqs_cases.SQS_CASES, "limits": aws_sqs_cases.SQS_LIMITS, "sns": aws_sns_cases.SNS_CASES}
    cases: Sequence[aws_case.Case] = groups[group]
    shown = {name: found for name, found in kept.items() if cases[0].name in found["answers"]}
    rows = [
        [f"[{case.name}]({case.source})", case.documented, *(found["answers"][case.name] for found in shown.values())]
        for case in cases
    ]
    return table(["case", "AWS documents", *(f"{name} {found['version']}" for name, found in shown.items())], rows)


def rights(service: str) -> str:
    """What each role needs on a broker; on AWS, the IAM actions of a service."""
    if service in ("kafka", "kafka share"):
        roles_of_kafka = kafka_roles.ROLES if service == "kafka" else kafka_roles.SHARE_ROLES
        return table(
            ["role", "needs", "uses, but works without"],
            [[role.name, *(", ".join(map(str, some)) for some in (role.needs, role.uses))] for role in roles_of_kafka],
        )
    if service in ("redis streams", "redis list", "redis pubsub"):
        found: dict[str, Sequence[redis_roles.Role]] = {
            "redis streams": redis_roles.STREAMS,
            "redis list": redis_roles.LISTS,
            "redis pubsub": redis_roles.PUBSUB,
        }
        return table(
            ["role", "commands", "keys and channels"],
            [[role.name, f"`{role.commands_rule}`", f"`{role.names_rule}`"] for role in found[service]],
        )
    if service == "rabbitmq":
        return table(
            ["role", "configure", "write", "read", "read from 4.3 on, too"],
            [
                [role.name, *(", ".join(f"`{name}`" for name in some) for some in role.permissions)]
                for role in rabbit_roles.ROLES
            ],
        )
    roles: Sequence[aws_roles.Role] = getattr(aws_roles, f"{service.upper()}_ROLES")
    rows = [
        [role.name, *(", ".join(f"`{each}`" for each in sorted(some)) for some in (role.needs, role.uses))]
        for role in roles
    ]
    return table(["role", "needs", "calls, but works without"], rows)


# ---- files -----------------------------------------------------------------------------------------------------------

_KINDS: Final[dict[str, Callable[[str], str]]] = {
    "settings": settings,
    "section": section,
    "promises": promises,
    "guarantees": guarantees,
    "errors": errors,
    "families": families,
    "formats": wire_formats,
    "peers": peers,
    "interop": interop,
    "comparison": comparison,
    "curve": curve,
    "chart": chart,
    "brokers": brokers,
    "stand-ins": stand_ins,
    "rights": rights,
}


def render(page: str) -> str:
    """A page with its blocks made anew."""

    def made(block: re.Match[str]) -> str:
        kind, _, argument = block[2].partition(" ")
        return f"{block[1]}\n{_KINDS[kind](argument)}\n\n{block[3]}"

    return _BLOCK.sub(made, page)


def pages() -> Iterator[tuple[Path, str]]:
    """Every file that holds something made, with the text it should have."""
    for file in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]:
        if file.parent != DOCS / "events":
            text = file.read_text(encoding="utf-8")
            yield file, render(text)
    for name in sorted(BUILT_IN):
        yield DOCS / "events" / f"{name}.md", family_page(name)


def main() -> int:
    """Write the files, or with --check return 1 if one is out of step."""
    stale = [(file, text) for file, text in pages() if not file.exists() or file.read_text(encoding="utf-8") != text]
    for file, text in stale:
        if "--check" in sys.argv[1:]:
            print(f"{file.relative_to(ROOT)} is out of step: run make docs", file=sys.stderr)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            print(f"wrote {file.relative_to(ROOT)}")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    raise SystemExit(main())
