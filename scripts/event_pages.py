"""The page of one family of events, as Markdown, made from its models."""

from __future__ import annotations

import inspect
import re
import types
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum, IntFlag
from importlib import import_module
from textwrap import dedent
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

from brokerkit.events import Family, get_family
from brokerkit.events._registry import BUILT_IN
from brokerkit.events._types import BoolNumber, BoolWord


def markdown(text: str) -> str:
    """A docstring's text as Markdown: double backquotes become single ones, the lines of a paragraph one line."""
    paragraphs = re.split(r"\n\s*\n", dedent(text).strip())
    return "\n\n".join(_joined(paragraph) for paragraph in paragraphs).replace("``", "`")


def _joined(paragraph: str) -> str:
    if paragraph.startswith("    "):
        return "```\n" + dedent(paragraph) + "\n```"
    return " ".join(line.strip() for line in paragraph.splitlines())


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


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
    events = sorted(family.models.items(), key=lambda item: (item[0].lower(), item[0]))
    anchors = _anchors([event for event, _ in events])
    if clash := {other.lower() for other in (*objects, *enumerations)} & set(anchors.values()):
        raise SystemExit(f"{name}: {', '.join(clash)} is an event and an object: give the page other headings")
    parts = [
        f"# Events of {name}",
        "Made from the models by scripts/generate_docs.py; do not edit.",
        markdown(inspect.getdoc(_module(name)) or ""),
        f"Format: `{family.format}`. {_ABOUT_FIELDS}",
        "## All events",
        table(
            ["event", "what it says"],
            [
                [f"[{event}](#{anchors[event]})", _first_paragraph(inspect.getdoc(model) or "")]
                for event, model in events
            ],
        ),
    ]
    for event, model in events:
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


def _anchors(headings: list[str]) -> dict[str, str]:
    """The anchor of each heading: names that differ in case alone get a number, as GitHub counts them."""
    seen: Counter[str] = Counter()
    anchors: dict[str, str] = {}
    for heading in headings:
        plain = heading.lower()
        anchors[heading] = f"{plain}-{seen[plain]}" if seen[plain] else plain
        seen[plain] += 1
    return anchors


def about(name: str) -> str:
    """The first paragraph of a family's own docstring."""
    return _first_paragraph(inspect.getdoc(_module(name)) or "")


def _module(family: str) -> types.ModuleType:
    return import_module(BUILT_IN[family].partition(":")[0])


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
    extra: Any = field.json_schema_extra  # ours is always a dict
    wire = field.serialization_alias or field.alias or name
    meaning = field.description or ""
    if isinstance(field.validation_alias, AliasChoices):
        others = [str(choice) for choice in field.validation_alias.choices if choice != wire]
        meaning += f"; also read: {', '.join(f'`{other}`' for other in others)}" if others else ""
    kind = _event_type(Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation)
    kind += ", required" if field.is_required() else ""
    return [f"`{wire}`", f"`{name}`", kind, str(extra["unit"]) if extra else "", meaning]


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
    if annotation is Any:
        return "any"
    return "Decimal (number)" if annotation is Decimal else str(annotation.__name__)


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
