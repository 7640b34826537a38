"""Make a Python module of a specification: models, a family, and a typed ``on``.

datamodel-code-generator, which comes with the extra ``import``, makes the classes. This module prepares the schemas for it,
so that the models write what they read, and writes the code around the classes.
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
from brokerkit._logging import escape, get_logger
from brokerkit._specifications._documents import unique
from brokerkit._specifications._model import DEFINITIONS, PREFIX, Schema, Specification, class_name, mapped
from brokerkit.events._typed_on import Spelled, on_text

logger = get_logger(__name__)

WIDTH: Final = 120
_BASE: Final = "_Body"

_KEYWORDS: Final = frozenset(
    [
        *("$ref", "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly"),
        *("type", "enum", "const", "format", "pattern", "nullable", "discriminator", "externalDocs"),
        *("multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength"),
        *("items", "additionalItems", "prefixItems", "unevaluatedItems", "contains", "minContains", "maxContains"),
        *("minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "required", "dependentRequired"),
        *("properties", "patternProperties", "additionalProperties", "unevaluatedProperties", "propertyNames"),
        *("dependentSchemas", "allOf", "anyOf", "oneOf", "not", "if", "then", "else"),
        *("contentEncoding", "contentMediaType", "unit", "x-unit", "x-format", "x-event-name"),
    ]
)
"""Keywords of JSON Schema and AsyncAPI whose schemas are all read here, and what brokerkit writes itself. The generator has
more: some choose what the module imports and inherits from, so what somebody sends would choose what runs."""

_KEPT_FORMATS: Final = ("date-time", "date", "time", "uuid")
"""Formats of text whose Python type is written as it was read. `uri` is not among them: it would get a slash at its
end."""

# Names that the module uses itself. A class of an event with such a name gets another name.
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
        "Callable",
        "Coroutine",
        "Mapping",
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
        "Rate",
        "RetryPolicy",
        "RootModel",
        "StrEnum",
        "TYPE_CHECKING",
        "TypeAlias",
        "TypeVar",
        "UUID",
        "UnknownEventName",
    ]
)

_HEAD: Final = '''"""The events of family {family}: models, `FAMILY`, and a typed `on`.

Made by ``brokerkit catalog import`` from {source}; do not edit, import again.
"""

# The last overloads of ``on`` take what the others do not, and return something else.
# mypy: disable-error-code="overload-overlap"
# pyright: reportOverlappingOverload=false

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypeVar, cast, overload
from pydantic import ConfigDict
from brokerkit.events import Event, Family
{imports}

if TYPE_CHECKING:
    from brokerkit import Bus, Handlers, Rate, Registrar, RetryPolicy, UnknownEventName
    from brokerkit.dedupe import Dedupe

__all__ = {exported}

M = TypeVar("M")


class _Body(Event):
    """An object of these events; each field states its own wire name."""

    model_config = ConfigDict(alias_generator=None)

'''

_TAIL: Final = """

FAMILY: Final = Family({family}, {{{models}}})

"""


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
    imports, body = _parted(_generated(definitions, specification.origin))
    made = {node.name for node in ast.parse(body).body if isinstance(node, ast.ClassDef)}
    for event, model in classes.items():
        if model not in made:
            raise ConfigError(f"{specification.origin}: no class can be made for {event!r}")
    spelled = [Spelled((event, f"{name}:{event}"), model) for event, model in classes.items()]
    head = _HEAD.format(
        family=_quoted(name),
        source=_quoted(re.split(r"[\\/]", specification.origin.rstrip("/\\"))[-1]),
        imports=imports,
        exported=json.dumps(sorted({*made, "FAMILY", "Name", "On", "on"})),
    )
    tail = _TAIL.format(
        family=json.dumps(name, ensure_ascii=False),
        models=", ".join(f"{json.dumps(event, ensure_ascii=False)}: {model}" for event, model in classes.items()),
    )
    return _formatted(head + body + tail + on_text(spelled))


def _quoted(text: str) -> str:
    """Return text that is safe in a docstring."""
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
    dropped: set[str] = set()
    prepared = {name: _prepared(schema, names, dropped) for name, schema in definitions.items()}
    if dropped:
        logger.warning(
            "%s: these keywords are not those of JSON Schema or AsyncAPI, and are left out: %s",
            *(specification.origin, ", ".join(sorted(dropped))),
        )
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


def _prepared(schema: Schema, names: Mapping[str, str], dropped: set[str]) -> Schema:
    """Change a schema so that the generator makes the right models of it. Note which keywords were dropped."""
    dropped |= schema.keys() - _KEYWORDS - set(DEFINITIONS)
    known = {key: value for key, value in schema.items() if key in _KEYWORDS}
    made = mapped(known, lambda inner, _: _prepared(inner, names, dropped))
    if isinstance(said := made.get("description"), str):
        made["description"] = "\n".join(map(escape, said.split("\n")))  # it becomes a docstring
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


def _generated(definitions: Mapping[str, Schema], origin: str) -> str:
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
    except Exception as error:  # its own Error, and any other error that an unusual schema causes
        raise ConfigError(f"{origin}: no models can be made of it: {error}") from error
    return str(made)


def _parted(source: str) -> tuple[str, str]:
    """Split a generated module into its imports, without that of the base class, and the rest."""
    tree = ast.parse(source)
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    kept = [
        ast.unparse(node) for node in imports if getattr(node, "module", None) not in ("__future__", "brokerkit.events")
    ]
    last = max(node.end_lineno or 0 for node in imports)
    return "\n".join(kept), "\n".join(source.splitlines()[last:])


def _formatted(source: str) -> str:
    # Isolated: the result must not depend on the settings of the project in which it is made.
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
