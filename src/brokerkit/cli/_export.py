"""``brokerkit catalog export`` and ``on-types``: the catalogue for other tools, and for type checkers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from brokerkit import ConfigError, events
from brokerkit.cli._output import say, say_document, writing
from brokerkit.cli._target import import_here
from brokerkit.events import Family
from brokerkit.events._examples import example
from brokerkit.events._shapes import meaning
from brokerkit.events._typed_on import render_on

_LONGEST: Final = 120
"""Characters of a file's name: 255 bytes are the limit of most file systems."""
_DEVICES: Final = frozenset(
    ["CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10))]
)
"""Names that are no files on Windows."""

_VERSION: Final = "1.0.0"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def export(folder: Path, /, *, family: str | None = None, release: str = _VERSION) -> None:
    """Write the events as JSON Schemas, and as a folder of EventCatalog (https://www.eventcatalog.dev).

    FOLDER/schemas/FAMILY/EVENT.json holds each schema. FOLDER/domains/FAMILY holds a service, with a page and the schema
    for each event.

    Args:
        folder: the folder to write to. It is made if it does not exist; files of the same names are overwritten.
        family: only the events of this family, such as `evenbet`.
        release: the version that the pages give their events.
    """
    known = events.families()
    chosen = [events.get_family(family)] if family is not None else [known[name] for name in sorted(known)]
    ambiguous = _more_than_once(chosen)
    for one in chosen:
        for file, text in _files(one, release, ambiguous):
            path = folder / file
            if not path.resolve().is_relative_to(folder.resolve()):
                raise ConfigError(f"{path} leads out of {folder}")
            with writing(path, instead="FOLDER"):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        say(f"{one.name}: {len(one.models)} events in {folder}")


def on_types(module: str, /, *, family: str = "FAMILY", output: Path | None = None) -> None:
    """Write a module with a typed `on` for your own family: mypy and pyright then know an event from its name.

    Args:
        module: the module with the family and its models, such as `acme_bonus`; modules of the current
            folder are found.
        family: the family's name in the module.
        output: the file to write; standard output by default.
    """
    found = import_here(module)
    one = getattr(found, family, None)
    if not isinstance(one, Family):
        raise ConfigError(f"{module}:{family} is not a brokerkit.events.Family")
    text = render_on(found, one)
    if output is None:
        say_document(text)
    else:
        with writing(output, instead="--output"):
            output.write_text(text, encoding="utf-8")


def _more_than_once(families: list[Family]) -> frozenset[str]:
    """Return names whose folders or ids would collide: EventCatalog and some file systems ignore case."""
    seen: set[str] = set()
    twice: set[str] = set()
    for family in families:
        for name in family.models:
            (twice if name.lower() in seen else seen).add(name.lower())
    return frozenset(twice)


def _files(family: Family, release: str, ambiguous: frozenset[str]) -> Iterator[tuple[Path, str]]:
    """Yield the path and content of every file of a family.

    The layout and the keys follow https://www.eventcatalog.dev/docs/development/getting-started/project-structure.
    """
    folder_name = _file_name(family.name)
    domain = Path("domains", folder_name)
    service = domain / "services" / folder_name
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
        yield Path("schemas", folder_name, f"{files[name]}.json"), schema
        folder = service / "events" / id
        yield folder / "schema.json", schema
        said = meaning(family.models[name])
        about = {"id": id, "name": name, "version": release, "summary": _first_line(said), "schemaPath": "schema.json"}
        yield (
            folder / "index.mdx",
            _page({key: value for key, value in about.items() if value}, _event(family, name, said)),
        )


def _ids(family: Family, ambiguous: frozenset[str]) -> dict[str, str]:
    """Return an id for each event: its name, with family and number if other events have the same name."""
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(family.models):
        plain = _file_name(name if name.lower() not in ambiguous else f"{family.name}.{name}")
        id, number = plain, 1
        while id.lower() in taken:
            number += 1
            id = f"{plain}.{number}"
        taken.add(id.lower())
        ids[name] = id
    return ids


def _file_name(name: str) -> str:
    """Return a name as the name of a file: names come from specifications of others, and may be paths."""
    plain = re.sub(r"[^\w.-]", "_", name)[:_LONGEST].strip(".") or "_"
    return f"{plain}_" if plain.partition(".")[0].upper() in _DEVICES else plain


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
    # JSON is YAML: written as JSON, any text is safe in the front matter.
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items())
    return "---\n" + "\n".join(lines) + f"\n---\n\n{body}"


def _markdown(text: str) -> str:
    """Return a docstring as MDX, in which unescaped braces and angle brackets would be code."""
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
