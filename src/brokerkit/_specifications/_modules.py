"""Make a Python module of a specification: models, a family, and a typed ``on``.

The classes are made by datamodel-code-generator, which comes with the extra ``import``; what is around them, and how the
schemas must be put to it so that the models write what they read, is done here.
"""

from __future__ import annotations

import ast
import json
import keyword
import re
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, cast

from brokerkit._errors import ConfigError, MissingExtra
from brokerkit._specifications._documents import unique
from brokerkit._specifications._model import PREFIX, Schema, Specification, class_name, mapped
from brokerkit.events._typed_on import Spelled, name_lines, overloads

WIDTH: Final = 120
_BASE: Final = "_Body"

_KEPT_FORMATS: Final = ("date-time", "date", "time", "uuid")
"""Formats of text whose Python type is written as it was read; `uri`, say, would get a slash at its end."""

# What the module says in its own name; a class of an event that is called so gets another.
_RESERVED: Final = frozenset(
    [
        "Annotated",
        "Any",
        "AwareDatetime",
        "BaseModel",
        "Bus",
        "ConfigDict",
        "Dedupe",
        "Enum",
        "Event",
        "FAMILY",
        "Family",
        "Field",
        "Handlers",
        "IntEnum",
        "Literal",
        "M",
        "Name",
        "None",
        "True",
        "False",
        "On",
        "Protocol",
        "Registrar",
        "RetryPolicy",
        "RootModel",
        "StrEnum",
        "TYPE_CHECKING",
        "TypeAlias",
        "TypeVar",
        "UUID",
    ]
)

_HEAD: Final = '''"""The events of family {family}: models, `FAMILY`, and a typed `on`.

Made by ``brokerkit catalog import`` from {source}; do not edit, import again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypeVar, cast, overload
from pydantic import ConfigDict
from brokerkit.events import Event, Family
{imports}

if TYPE_CHECKING:
    from brokerkit import Bus, Handlers, Registrar, RetryPolicy
    from brokerkit.dedupe import Dedupe

__all__ = {exported}

M = TypeVar("M")


class _Body(Event):
    """An object of these events; each field states its own wire name."""

    model_config = ConfigDict(alias_generator=None)

'''

_TAIL: Final = '''

FAMILY: Final = Family({family}, {{{models}}})

Name: TypeAlias = Literal[
{names}
]
"""Every event name of the family, plain and qualified."""


class On(Protocol):
    """Registers handlers by event name or model class."""

{overloads}

def on(handlers: Handlers | Bus) -> On:
    """Give ``handlers.on``, typed for the events of this family."""
    return cast("On", handlers.on)
'''


def module_text(specification: Specification, *, family: str | None = None) -> str:
    """Return the source of a module with the events of a specification; the same for the same input.

    Args:
        specification: what was read.
        family: name of the family, by default made of the specification's own.

    Raises:
        ConfigError: no module can be made of it.
        MissingExtra: the generator is not installed.
    """
    name = family or re.sub(r"[^a-z0-9]+", "_", specification.name.lower()).strip("_")
    if not name or ":" in name:
        raise ConfigError(f"a family cannot be called {name!r}: give it another name")
    events = dict(sorted(specification.events.items()))
    classes = _classes(specification, events)
    definitions = _definitions(specification, events, classes)
    imports, body = _parted(_generated(definitions, specification.place))
    made = {node.name for node in ast.parse(body).body if isinstance(node, ast.ClassDef)}
    for event, model in classes.items():
        if model not in made:
            raise ConfigError(f"{specification.place}: no class can be made for {event!r}")
    spelled = [Spelled((event, f"{name}:{event}"), model) for event, model in classes.items()]
    head = _HEAD.format(
        family=_quoted(name),
        source=_quoted(re.split(r"[\\/]", specification.place.rstrip("/\\"))[-1]),
        imports=imports,
        exported=json.dumps(sorted({*made, "FAMILY", "Name", "On", "on"})),
    )
    tail = _TAIL.format(
        family=json.dumps(name, ensure_ascii=False),
        models=", ".join(f"{json.dumps(event, ensure_ascii=False)}: {model}" for event, model in classes.items()),
        names="\n".join(name_lines(spelled)),
        overloads="".join(overloads(spelled)),
    )
    return _formatted(head + body + tail)


def _quoted(text: str) -> str:
    """Text that can stand in a docstring."""
    return re.sub(r"[^\w .:-]", "_", text)


def _classes(specification: Specification, events: Mapping[str, Schema]) -> dict[str, str]:
    """The class name of each event: its schema's title, if that is a name that no other event has; else its own."""
    titles = {name: schema.get("title") for name, schema in events.items()}
    often = Counter(title for title in titles.values() if isinstance(title, str))
    classes: dict[str, str] = {}
    for name, title in titles.items():
        own = isinstance(title, str) and title == class_name(title) and often[title] == 1
        chosen = str(title) if own else class_name(name) or "Event1"
        chosen = f"{chosen}Event" if chosen in _RESERVED or keyword.iskeyword(chosen) else chosen
        classes[name] = unique(chosen, [*classes.values(), *(often.keys() - {title})])
    return classes


def _definitions(
    specification: Specification, events: Mapping[str, Schema], classes: Mapping[str, str]
) -> dict[str, Schema]:
    """All schemas by class name, with references to each other by class name."""
    names: dict[str, str] = {}
    bodies = {classes[event]: schema for event, schema in events.items()}
    for shared, schema in specification.shared.items():
        if bodies.get(shared) == schema:
            names[shared] = shared  # an event that others hold
            continue
        wanted = f"{shared}Object" if shared in _RESERVED else shared
        names[shared] = unique(wanted, {*bodies, *names.values()})
    reached = _reached(specification, events)
    definitions = {
        names[shared]: schema for shared, schema in specification.shared.items() if shared in reached
    } | bodies
    prepared = {name: _prepared(schema, names) for name, schema in definitions.items()}
    for event in bodies:
        if not prepared[event].keys() - {"description"}:
            prepared[event]["type"] = "object"
    return dict(sorted(prepared.items()))


def _reached(specification: Specification, events: Mapping[str, Schema]) -> set[str]:
    reached: set[str] = set()

    def visit(schema: Schema) -> Schema:
        reference = schema.get("$ref")
        if isinstance(reference, str) and (name := reference.removeprefix(PREFIX)) not in reached:
            reached.add(name)
            visit(specification.shared[name])
        return mapped(schema, lambda inner, _: visit(inner))

    for schema in events.values():
        visit(schema)
    return reached


def _prepared(schema: Schema, names: Mapping[str, str]) -> Schema:
    """Put a schema so that the generator makes of it what is meant here."""
    made = mapped(schema, lambda inner, _: _prepared(inner, names))
    made.pop("title", None)  # pydantic derives them from the names
    if made.get("additionalProperties") is True and "properties" in made:
        del made["additionalProperties"]  # the base keeps what it does not know
    if "$ref" in made:
        made["$ref"] = PREFIX + names[made["$ref"].removeprefix(PREFIX)]
    if "format" in made and not (made["format"] in _KEPT_FORMATS and "string" in _types(made)):
        made["x-format"] = made.pop("format")
    if "unit" in made:
        made["x-unit"] = made.pop("unit")
    for field in cast("dict[str, Any]", made.get("properties") or {}).values():
        # "Not sent" is None in every model; a default of null for a type without null says no more than that.
        if isinstance(field, dict) and _has_stray_null(cast("Schema", field)):
            del field["default"]
    return made


def _has_stray_null(field: Schema) -> bool:
    return field.get("default", 0) is None and isinstance(field.get("type"), str) and field["type"] != "null"


def _types(schema: Schema) -> list[str]:
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def _generated(definitions: Mapping[str, Schema], place: str) -> str:
    try:
        from datamodel_code_generator import InputFileType, LiteralType, PythonVersion, generate
        from datamodel_code_generator.enums import DataModelType, NamingStrategy
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"catalog import needs {error.name}, which is not installed: pip install 'brokerkit-sdk[import]'"
        ) from error
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": definitions}
    try:
        made = generate(
            json.dumps(document),
            input_file_type=InputFileType.JsonSchema,
            output_model_type=DataModelType.PydanticV2BaseModel,
            target_python_version=PythonVersion.PY_311,
            base_class=f"brokerkit.events.{_BASE}",
            snake_case_field=True,
            use_annotated=True,
            strict_nullable=True,
            use_schema_description=True,
            field_extra_keys_without_x_prefix={"x-format", "x-unit"},
            use_specialized_enum=True,
            enum_field_as_literal=LiteralType.One,
            use_union_operator=True,
            naming_strategy=NamingStrategy.FullPath,
            infer_union_variant_names=True,
            skip_root_model=True,
            disable_timestamp=True,
            allow_remote_refs=False,
            strict_refs=True,
            formatters=[],
        )
    except Exception as error:  # its own Error, and whatever else a strange schema makes it raise
        raise ConfigError(f"{place}: no models can be made of it: {error}") from error
    return str(made)


def _parted(source: str) -> tuple[str, str]:
    """Part a generated module into its imports, but for the base class's, and what follows them."""
    tree = ast.parse(source)
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    kept = [
        ast.unparse(node) for node in imports if getattr(node, "module", None) not in ("__future__", "brokerkit.events")
    ]
    last = max(node.end_lineno or 0 for node in imports)
    return "\n".join(kept), "\n".join(source.splitlines()[last:])


def _formatted(source: str) -> str:
    # Isolated: what is made must not depend on the settings of the project that it is made in.
    check = ["check", "--fix-only", "--select=D200,D212,F401,I,PIE790,RUF022,UP", "--target-version=py311"]
    for arguments in (check, ["format", "--config=format.skip-magic-trailing-comma=true"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--isolated", f"--line-length={WIDTH}", "--quiet"]
        done = subprocess.run(  # noqa: S603 -- our own arguments
            [*command, "--stdin-filename=events.py", "-"], input=source, capture_output=True, text=True, check=False
        )
        if done.returncode:
            if "No module named ruff" in done.stderr:
                raise MissingExtra(
                    "catalog import needs ruff, which is not installed: pip install 'brokerkit-sdk[import]'"
                )
            raise ConfigError(f"the module that was made is not Python: {textwrap.shorten(done.stderr, 200)}")
        source = done.stdout
    return source
