"""``brokerkit catalog export`` and ``on-types``: the catalogue for other tools, and for type checkers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from brokerkit import ConfigError, events
from brokerkit.cli._target import import_here
from brokerkit.events import Family
from brokerkit.events._examples import example
from brokerkit.events._shapes import meaning
from brokerkit.events._typed_on import render_on

_VERSION: Final = "1.0.0"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def export(folder: Path, /, *, family: str | None = None, release: str = _VERSION) -> None:
    """Write the events as JSON Schemas, and as a folder of EventCatalog (https://www.eventcatalog.dev).

    FOLDER/schemas/FAMILY/EVENT.json holds each schema for itself. FOLDER/domains/FAMILY has a service, and in it a page
    and the schema for each event.

    Args:
        folder: where to; it is made if it is not there, and what is in it under the same names is overwritten.
        family: only the events of this family, such as `evenbet`.
        release: the version that the pages give their events.
    """
    known = events.families()
    chosen = [events.get_family(family)] if family is not None else [known[name] for name in sorted(known)]
    ambiguous = _more_than_once(chosen)
    for one in chosen:
        for file, text in _files(one, release, ambiguous):
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        print(f"{one.name}: {len(one.models)} events in {folder}")


def on_types(module: str, /, *, family: str = "FAMILY", output: Path | None = None) -> None:
    """Write a module with a typed `on` for a family of your own: mypy and pyright then know an event from its name.

    Args:
        module: the module with the family and its models, such as `acme_bonus`; those of the current folder are found.
        family: the family's name in the module.
        output: the file to write; standard output by default.
    """
    found = import_here(module)
    one = getattr(found, family, None)
    if not isinstance(one, Family):
        raise ConfigError(f"{module}:{family} is no brokerkit.events.Family")
    text = render_on(found, one)
    if output is None:
        print(text, end="")
    else:
        output.write_text(text, encoding="utf-8")


def _more_than_once(families: list[Family]) -> frozenset[str]:
    """Names whose folders or ids would be one: EventCatalog and some file systems do not tell case apart."""
    seen: set[str] = set()
    twice: set[str] = set()
    for family in families:
        for name in family.models:
            (twice if name.lower() in seen else seen).add(name.lower())
    return frozenset(twice)


def _files(family: Family, release: str, ambiguous: frozenset[str]) -> Iterator[tuple[Path, str]]:
    """Yield every file of one family: where it goes, and what is in it.

    The layout and the keys are those of https://www.eventcatalog.dev/docs/development/getting-started/project-structure.
    """
    domain = Path("domains", family.name)
    service = domain / "services" / family.name
    ids, files = _ids(family, ambiguous), _ids(family, frozenset())
    title = _first_line(_module_doc(family)) or f"Events of {family.name}."
    head = {"name": family.name, "version": release, "summary": title}
    body = f"## Overview\n\n{title}\n\n<NodeGraph />\n"
    services = [{"id": f"{family.name}-events", "version": release}]
    yield domain / "index.mdx", _page({"id": family.name, **head, "services": services}, body)
    sends = [{"id": id, "version": release} for id in ids.values()]
    yield service / "index.mdx", _page({"id": f"{family.name}-events", **head, "sends": sends}, body)
    for name, id in ids.items():
        made = family.adapter(family.models[name]).json_schema(by_alias=True, mode="serialization")
        schema = _json({"$schema": _DIALECT, "x-event-name": name, **made})
        yield Path("schemas", family.name, f"{files[name]}.json"), schema
        folder = service / "events" / id
        yield folder / "schema.json", schema
        said = meaning(family.models[name])
        about = {"id": id, "name": name, "version": release, "summary": _first_line(said), "schemaPath": "schema.json"}
        yield (
            folder / "index.mdx",
            _page({key: value for key, value in about.items() if value}, _event(family, name, said)),
        )


def _ids(family: Family, ambiguous: frozenset[str]) -> dict[str, str]:
    """An id for each event, by its name: the name itself, with family and number where others have it too."""
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(family.models):
        plain = name if name.lower() not in ambiguous else f"{family.name}.{name}"
        id, number = plain, 1
        while id.lower() in taken:
            number += 1
            id = f"{plain}.{number}"
        taken.add(id.lower())
        ids[name] = id
    return ids


def _event(family: Family, name: str, said: str) -> str:
    parts = ["## Overview", _markdown(said)] if said else []
    if family.wrapper is not None:
        written = f"under `{family.wrapper}`" if name in family.wrapped else "flat"
        parts.append(f"Written {written}; read flat and under `{family.wrapper}`.")
    if (body := example(family, name)) is not None:
        parts += ["## Example", f"```json\n{_json(json.loads(body)).rstrip()}\n```"]
    parts += ["## Schema", '<SchemaViewer file="schema.json" />', "<NodeGraph />"]
    return "\n\n".join(parts) + "\n"


def _page(head: dict[str, Any], body: str) -> str:
    # JSON is YAML: so written, any text is safe in the front matter.
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items())
    return "---\n" + "\n".join(lines) + f"\n---\n\n{body}"


def _markdown(text: str) -> str:
    """A docstring as MDX, where braces and angle brackets would be code."""
    text = text.replace("``", "`")
    for sign in "{}<>":
        text = text.replace(sign, f"\\{sign}")
    return text


def _first_line(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split()).replace("``", "`")


def _module_doc(family: Family) -> str:
    """The docstring of the package that holds a family's models."""
    module = next(iter(family.models.values())).__module__ if family.models else ""
    while module:
        package, _, last = module.rpartition(".")
        if not last.startswith("_"):
            return import_module(module).__doc__ or ""
        module = package
    return ""


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
