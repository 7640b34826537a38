"""``brokerkit catalog``: the known events, the meaning of their fields, and their JSON Schemas."""

from __future__ import annotations

import itertools
import json
import types
from collections.abc import Iterator
from enum import Enum
from typing import Any, Final, Union, cast, get_args, get_origin

from cyclopts import App
from pydantic.fields import FieldInfo
from rich.table import Table
from rich.text import Text

from brokerkit import ConfigError, events
from brokerkit._logging import escape
from brokerkit._vendors.simulate import evenbet
from brokerkit.cli._output import console, say_json
from brokerkit.events import Found
from brokerkit.events._examples import example
from brokerkit.events._shapes import fields, is_model, meaning

app: Final = App(name="catalog", help="Look up the known events, and export them for other tools.")
app.command("brokerkit.cli._export:export", name="export", help="Write JSON Schemas and a folder of EventCatalog.")
app.command("brokerkit.cli._export:on_types", name="on-types", help="Write the typed `on` of your own family.")
app.command(
    "brokerkit.cli._specifications:import_", name="import", help="Make a module of models from a specification."
)
app.command("brokerkit.cli._specifications:diff", name="diff", help="Show what the changes between two versions break.")

_SEARCHED: Final = 2_000
"""How many simulated events are searched for an example."""


@app.command(name="list")
def list_events(*, family: str | None = None) -> None:
    """List all events, one line for each.

    Args:
        family: only the events of this family, such as `evenbet`.
    """
    known = events.families()
    chosen = [events.get_family(family)] if family is not None else [known[name] for name in sorted(known)]
    rows = [
        (each.name, name, _first_line(model))
        for each in chosen
        for name, model in sorted(each.models.items(), key=lambda item: item[0].lower())
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    out = console()
    for of_family, name, about in rows:
        line = escape(f"{of_family:<{widths[0]}}  {name:<{widths[1]}}  {about}")
        # A terminal cuts each line to its width; a pipe gets the whole line.
        out.print(line, markup=False, no_wrap=True, overflow="ellipsis" if out.is_terminal else "ignore", crop=False)


@app.command
def show(name: str, /) -> None:
    """Show an event: its fields with types, units and meaning, its codes, the source of the facts, and an example.

    Args:
        name: the event name, plain or with its family (`evenbet:OnGameDone`).
    """
    found = _find(name)
    out = console()
    out.print(escape(f"{found.family.name}:{found.name}"), style="bold", markup=False)
    out.print("\n".join(map(escape, meaning(found.model).split("\n"))), markup=False)
    models = list(dict.fromkeys(_models(found.model)))
    for model in models:
        if fields(model):
            out.print()
            out.print(_fields(model))
    for codes in dict.fromkeys(itertools.chain.from_iterable(map(_codes, models))):
        out.print(f"\n{codes.__name__}: {escape(_first_line(codes))}", markup=False)
        for code in codes:
            out.print(f"  {code.value:>4}  {code.name}", markup=False)
    if (example := _example(found)) is not None:
        out.print("\nFor example:", markup=False)
        out.print_json(example, ensure_ascii=True) if out.is_terminal else say_json(json.loads(example), indent=2)


@app.command
def schema(name: str, /) -> None:
    """Write the JSON Schema of an event's payload, in its documented form, to standard output.

    Args:
        name: the event name, plain or with its family (`evenbet:OnGameDone`).
    """
    found = _find(name)
    made = found.family.adapter(found.model).json_schema(by_alias=True, mode="serialization")
    say_json(made, indent=2)


def _find(name: str) -> Found:
    """Return the only event of a name.

    Raises:
        ConfigError: there is no such event, or more than one.
    """
    found = events.find(name)
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(f"no event is called {name!r}{events.suggest(name)}")
    choices = ", ".join(f"{each.family.name}:{each.name}" for each in found)
    raise ConfigError(f"{name!r} is an event of several families: choose one of {choices}")


def _fields(model: type[Any]) -> Table:
    table = Table(box=None, pad_edge=False, title=model.__name__, title_justify="left")
    for column in ("attribute", "on the wire", "type", "unit"):
        table.add_column(column, no_wrap=True)
    table.add_column("meaning", min_width=30)
    for attribute, field in fields(model).items():
        extra = field.json_schema_extra
        unit = cast("dict[str, object]", extra).get("unit") if isinstance(extra, dict) else None
        wire = field.serialization_alias or field.alias or attribute
        row = (attribute, wire, _type_name(field.annotation), str(unit or ""), field.description or "")
        table.add_row(*(Text("\n".join(map(escape, cell.split("\n")))) for cell in row))
    return table


def _type_name(annotation: Any) -> str:
    """Return a field's type as its reader sees it. Every field may be absent, so None is left out."""
    origin: Any = get_origin(annotation)
    arguments: tuple[Any, ...] = get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type_name(part) for part in arguments if part is not type(None)))
    if hasattr(annotation, "__metadata__"):  # Annotated[...]
        return _type_name(annotation.__origin__)
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_type_name, arguments))}]"
    return str(getattr(annotation, "__name__", annotation))


def _classes(field: FieldInfo) -> Iterator[type]:
    """Yield every class in a field's type."""
    waiting: list[Any] = [field.annotation]
    while waiting:
        part = waiting.pop()
        if isinstance(part, type) and not get_args(part):
            yield part
        waiting += get_args(part)


def _models(model: type[Any]) -> Iterator[type[Any]]:
    """Yield a model and all models nested in it."""
    yield model
    for field in fields(model).values():
        for part in _classes(field):
            if is_model(part) and part is not model:
                yield from _models(part)


def _codes(model: type[Any]) -> Iterator[type[Enum]]:
    for field in fields(model).values():
        yield from (part for part in _classes(field) if issubclass(part, Enum))


def _first_line(documented: type[Any]) -> str:
    return meaning(documented).partition("\n")[0]


def _example(found: Found) -> str | None:
    """Return an event of this name as on the wire. EvenBet's come from the simulated poker room."""
    simulated = itertools.islice(evenbet.events(seed=1), _SEARCHED) if found.family.name == "evenbet" else ()
    for one in simulated:
        if one.name == found.name:
            return found.family.write(one.event, name=found.name).decode()
    made = example(found.family, found.name)
    return None if made is None else made.decode()
