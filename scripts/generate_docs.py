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
import re
import sys
import types
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from enum import Enum, IntFlag
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from zoneinfo import ZoneInfo

from pydantic import AliasChoices, BaseModel, SecretStr
from pydantic.fields import FieldInfo

from brokerkit import RetryPolicy, _errors, formats
from brokerkit._config import BusSettings
from brokerkit._settings import ConnectionSettings, SourceSettings, TargetSettings
from brokerkit._transport import Capabilities
from brokerkit._url import Url
from brokerkit.adapters import make
from brokerkit.events import Family, get_family
from brokerkit.events._registry import BUILT_IN
from brokerkit.events._types import BoolNumber, BoolWord

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"

_BLOCK: Final = re.compile(r"(<!-- made: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
_SECTION: Final = re.compile(r"^(\S.*)\n((?:^(?: {4}.*)?\n)+)", re.MULTILINE)
_ENTRY: Final = re.compile(r"^ {4}(\w+): ((?:.*\n)(?: {8}.*\n)*)", re.MULTILINE)

ADAPTERS: Final = {
    "memory": ("memory://", ""),
    "Kafka": ("kafka://localhost", ""),
    "RabbitMQ": ("amqp://localhost", ""),
    "SQS": ("sqs://eu-west-1/", "queue"),
    "SQS FIFO": ("sqs://eu-west-1/", "queue.fifo"),
    "SNS": ("sns://eu-west-1/", "topic"),
    "SNS FIFO": ("sns://eu-west-1/", "topic.fifo"),
    "Redis Streams": ("redis://localhost", ""),
    "Redis list": ("redis+list://localhost", ""),
    "Redis Pub/Sub": ("redis+pubsub://localhost", ""),
}
"""A URL and a topic for each column of promises."""


# ---- text ------------------------------------------------------------------------------------------------------------


def markdown(text: str) -> str:
    """A docstring's text as Markdown: double backquotes become single ones, the lines of a paragraph one line."""
    paragraphs = re.split(r"\n\s*\n", dedent(text).strip())
    return "\n\n".join(_joined(paragraph) for paragraph in paragraphs).replace("``", "`")


def _joined(paragraph: str) -> str:
    if paragraph.startswith("    "):
        return "```\n" + dedent(paragraph) + "\n```"
    return " ".join(line.strip() for line in paragraph.splitlines())


def docstring(module: str) -> str:
    """The docstring of a module, read without importing it."""
    source = (ROOT / "src" / Path(*module.split("."))).with_suffix(".py")
    return ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


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
        said = attributes(RetryPolicy, "Args")
        policy = RetryPolicy()
        rows = [
            [f"`{name}`", "true or false" if name == "jitter" else "number", _shown(getattr(policy, name)), said[name]]
            for name in RetryPolicy.__dataclass_fields__
        ]
        return table(_SETTINGS_HEAD, rows)
    models = {"connection": ConnectionSettings, "source": SourceSettings, "target": TargetSettings}
    model = models[kind]
    said = attributes(model, "Attributes")
    rows = []
    for name, field in model.model_fields.items():
        if model is not ConnectionSettings and name in ConnectionSettings.model_fields:
            continue
        default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        rows.append([f"`{name}`", _setting_type(field.annotation), default, said[name]])
    return table(_SETTINGS_HEAD, rows)


_SETTINGS_HEAD: Final = ["key", "type", "default", "meaning"]

_SETTING_TYPES: Final[dict[Any, str]] = {
    str: "text",
    bool: "true or false",
    int: "whole number",
    float: "number",
    SecretStr: "URL",
    ZoneInfo: "zone name",
    RetryPolicy: "table, or a number of attempts",
}


def _setting_type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _setting_type(arguments[0])
    if origin in (Union, types.UnionType):
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
    """The promises that matter most, a line for each broker."""
    rows = []
    for name, place in ADAPTERS.items():
        each = _capabilities(*place)
        rows.append(
            [
                name,
                "at least once" if each.at_least_once else "**at most once**",
                _yes(each.confirmed_publish),
                *(_PROMISES[label](each) for label in ("groups", "order by key", "longest durable retry")),
                _yes(each.attempts == "deliveries"),
                "beside the topic" if each.dead_letters else "only where you say",
            ]
        )
    head = ["broker", "delivery", "publish is confirmed", "groups", "order by key", "retries survive a crash"]
    return table([*head, "crash loops end", "dead letters"], rows)


def _capabilities(url: str, topic: str) -> Capabilities:
    connection = ConnectionSettings.model_validate({"url": url}).connection()
    assert connection.url == Url.parse(url)
    return make(connection).capabilities(topic)


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
    "publish is confirmed": lambda each: _yes(each.confirmed_publish),
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
    "broadcast": lambda each: _yes(each.broadcast),
    "dead letters beside the topic": lambda each: _yes(each.dead_letters),
    "stable id from any producer": lambda each: _yes(each.stable_id),
    "name can be written to": lambda each: ", ".join(f"`{place}`" for place in sorted(each.name_places)),
    "`max_in_flight`": lambda each: str(each.max_in_flight),
    "`provision`": lambda each: f"`{each.default_provision}`",
}


def errors(_: str) -> str:
    """The tree of errors, as the module shows it."""
    tree = re.search(r"::\n\n((?: {4}.*\n)+)", _errors.__doc__ or "")
    assert tree is not None
    return f"```\n{dedent(tree[1]).rstrip()}\n```"


def families(_: str) -> str:
    """All built-in families with their number of events."""
    rows = []
    for name in sorted(BUILT_IN):
        family = get_family(name)
        about = _first_paragraph(inspect.getdoc(_module(name)) or "")
        rows.append([f"[{name}](events/{name}.md)", f"`{family.format}`", str(len(family.models)), about])
    return table(["family", "format", "events", "what it is"], rows)


def _module(family: str) -> types.ModuleType:
    return import_module(BUILT_IN[family].partition(":")[0])


def wire_formats(_: str) -> str:
    """All formats, with the rules that hold where a source states none."""

    def rules(of: tuple[str, ...]) -> str:
        return ", ".join(f"`{rule}`" for rule in of) or "–"

    rows = [
        [f"`{name}`", rules(one.name_from), rules(one.id_from), one.family or "any"]
        for name in formats.names()
        for one in [formats.get(name)]
    ]
    return table(["format", "the name is looked for in", "the id in", "family"], rows)


# ---- events ----------------------------------------------------------------------------------------------------------


_ABOUT_FIELDS: Final = (
    "A field that was not sent is `None`, and is not written either. The type is what a handler gets; where the wire form "
    "differs, it is in brackets."
)


def family_page(name: str) -> str:
    """The page of one family: its events, the objects in them, its enumerations."""
    family = get_family(name)
    objects: dict[str, type[BaseModel]] = {}
    enumerations: dict[str, type[Enum]] = {}
    models = {id(model) for model in family.models.values()}
    for model in family.models.values():
        for used in _used(model, set()):
            if issubclass(used, Enum):
                enumerations[used.__name__] = used
            elif id(used) not in models:
                objects[used.__name__] = used
    parts = [
        f"# Events of {name}",
        "Made from the models by scripts/generate_docs.py; do not edit.",
        markdown(inspect.getdoc(_module(name)) or ""),
        f"Format: `{family.format}`. {_ABOUT_FIELDS}",
        "## All events",
        table(
            ["event", "what it says"],
            [
                [f"[{event}](#{event.lower()})", _first_paragraph(inspect.getdoc(model) or "")]
                for event, model in sorted(family.models.items(), key=lambda item: item[0].lower())
            ],
        ),
    ]
    for event, model in sorted(family.models.items(), key=lambda item: item[0].lower()):
        parts += [f"## {event}", *_model_parts(model), *_writing(family, event)]
    if objects:
        parts.append("# Objects in events")
        for other, nested in sorted(objects.items()):
            parts += [f"## {other}", *_model_parts(nested)]
    if enumerations:
        parts.append("# Enumerations")
        parts.append("A code that is not listed is kept as a plain number.")
        for other, enumeration in sorted(enumerations.items()):
            rows = [[_code(member), f"`{member.name}`"] for member in enumeration]
            parts += [f"## {other}", markdown(inspect.getdoc(enumeration) or ""), table(["code", "name"], rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _first_paragraph(text: str) -> str:
    return markdown(text.partition("\n\n")[0])


def _code(member: Enum) -> str:
    return f"{member.value:#x}" if isinstance(member, IntFlag) else f"`{member.value}`"


def _model_parts(model: type[BaseModel]) -> Iterator[str]:
    yield markdown(inspect.getdoc(model) or "")
    rows = [_field_row(name, field) for name, field in model.model_fields.items()]
    if rows:
        yield table(["on the wire", "attribute", "type", "unit", "meaning"], rows)
    else:
        yield "No field is documented: what comes is kept as it is."


def _writing(family: Family, event: str) -> Iterator[str]:
    if family.wrapper is not None:
        yield f"Written {f'under `{family.wrapper}`' if event in family.wrapped else 'flat'}; both forms are read."


def _field_row(name: str, field: FieldInfo) -> list[str]:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    wire = field.serialization_alias or field.alias or name
    meaning = field.description or ""
    if isinstance(field.validation_alias, AliasChoices):
        others = [str(choice) for choice in field.validation_alias.choices if choice != wire]
        meaning += f"; also read: {', '.join(f'`{other}`' for other in others)}" if others else ""
    kind = _event_type(Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation)
    kind += ", required" if field.is_required() else ""
    return [f"`{wire}`", f"`{name}`", kind, str(extra.get("unit", "")), meaning]


_WIRE_FORMS: Final = {
    "_SqlDateTime": "datetime (`YYYY-MM-DD HH:MM:SS`)",
    "_Cards": "list of int (`3;28;1`)",
    "_CombinationCode": "Combination (`H.50;47.H.H`)",
}


def _event_type(annotation: Any) -> str:
    if annotation == BoolWord:
        return 'bool (`"True"` or `"False"`)'
    if annotation == BoolNumber:
        return "bool (1 or 0)"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        for note in arguments[1:]:
            if type(note).__name__ == "_Epoch":
                return f"datetime (UNIX time in {'s' if note.per_second == 1 else 'ms'})"
            if (form := _WIRE_FORMS.get(type(note).__name__)) is not None:
                return form
        return _event_type(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(_event_type(one) for one in arguments if one is not type(None))
    if origin is Literal:
        return " or ".join(f"`{value!r}`" for value in arguments)
    if origin in (list, tuple):
        return f"list of {_event_type(arguments[0])}"
    if origin is dict:
        return f"dict of {_event_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, (Enum, BaseModel)):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return {Any: "any", Decimal: "Decimal (number)", datetime: "datetime"}.get(
        annotation, getattr(annotation, "__name__", str(annotation))
    )


def _used(annotation: Any, seen: set[Any]) -> Iterator[type[BaseModel | Enum]]:
    """The models and enumerations in an annotation, and in those in turn."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        if annotation in seen:
            return
        seen.add(annotation)
        if issubclass(annotation, Enum):
            yield annotation
        elif issubclass(annotation, BaseModel):
            yield annotation
            for field in annotation.model_fields.values():
                yield from _used(field.annotation, seen)
        return
    for part in get_args(annotation):
        yield from _used(part, seen)


# ---- files -----------------------------------------------------------------------------------------------------------

_KINDS: Final[dict[str, Callable[[str], str]]] = {
    "settings": settings,
    "section": section,
    "promises": promises,
    "guarantees": guarantees,
    "errors": errors,
    "families": families,
    "formats": wire_formats,
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
