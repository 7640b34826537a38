"""Files of a specification, and the references between them. Nothing is ever fetched from a network."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, cast
from urllib.parse import unquote, urldefrag

from brokerkit._errors import ConfigError, MissingExtra
from brokerkit._specifications._model import PREFIX, Schema, class_name, escaped, mapped

YAML_ENDINGS: Final = (".yaml", ".yml")

_LARGEST: Final = 16 * 2**20
"""Bytes of a document."""
_MOST_NODES: Final = 1_000_000
"""Values of a document. A few hundred bytes of YAML can stand for billions of them, by aliases of aliases."""
_MOST_CHOICES: Final = 10_000
"""Values of an `enum`. Each becomes a member of a class, and the generator compares its name with those of all others."""
ENDINGS: Final = (".json", *YAML_ENDINGS)


_TYPES: Final = ("string", "number", "integer", "boolean", "object", "array", "null")
_FORMS: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    **dict.fromkeys(("properties", "patternProperties"), ((dict,), "an object")),
    **dict.fromkeys(("required", "enum", "allOf", "anyOf", "oneOf", "prefixItems"), ((list,), "a list")),
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), ((int, float), "a number")),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), ((int, float), "a number (draft 4's true is not read)")),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), ((int,), "a whole number")),
    **dict.fromkeys(("minProperties", "maxProperties"), ((int,), "a whole number")),
    **dict.fromkeys(("title", "description", "format", "pattern", "$ref"), ((str,), "text")),
    "type": ((str, list), "a type or a list of types"),
}


@dataclass(frozen=True, slots=True)
class Location:
    """A value inside a file.

    Attributes:
        file: the file, resolved.
        pointer: a JSON Pointer (RFC 6901), "" for all of it.
    """

    file: Path
    pointer: str = ""

    def __truediv__(self, key: object) -> Location:
        return Location(self.file, f"{self.pointer}/{escaped(key)}")

    def __str__(self) -> str:
        return f"{self.file.name}#{self.pointer}" if self.pointer else self.file.name


class Located(NamedTuple):
    """A value and its location."""

    value: Any
    location: Location


def wrong(location: Location, what: str) -> ConfigError:
    """The error for a fault at a location in a document."""
    return ConfigError(f"{location}: {what}")


class Documents:
    """Reads files once, and follows references within and between them.

    Args:
        folder: no reference leads out of it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._read: dict[Path, Any] = {}
        self._ids: dict[str, Path] = {}

    def open(self, path: Path) -> Located:
        """Read a JSON or YAML file.

        Raises:
            ConfigError: it cannot be read, or is neither.
            MissingExtra: it is YAML, and the library for that is not installed.
        """
        file = path.resolve()
        if file not in self._read:
            self._read[file] = _parsed(file)
            content = self._read[file]
            identifier = cast("dict[str, Any]", content).get("$id") if isinstance(content, dict) else None
            if isinstance(identifier, str):
                self._ids[identifier.rstrip("#")] = file
        return Located(self._read[file], Location(file))

    def at(self, location: Location) -> Located:
        """Return the value at a location.

        Raises:
            ConfigError: there is nothing.
        """
        value: Any = self.open(location.file).value
        for token in location.pointer.split("/")[1:]:
            key = token.replace("~1", "/").replace("~0", "~")
            try:
                value = _inner(value, key)
            except (LookupError, TypeError, ValueError):
                raise wrong(location, "there is nothing at this path") from None
        return Located(value, location)

    def target(self, reference: object, location: Location) -> Location:
        """Return the location that a ``$ref`` means.

        Args:
            reference: the value of the ``$ref``.
            location: the location of the ``$ref``.

        Raises:
            ConfigError: it refers to a network address, or is not a reference.
        """
        if not isinstance(reference, str):
            raise wrong(location, f"a $ref must be text, got {reference!r}")
        address, fragment = urldefrag(reference)
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            raise wrong(
                location, f"$ref {reference!r} names an anchor; only JSON Pointers such as '#/$defs/Name' are read"
            )
        if not address:
            return Location(location.file, fragment)
        if address in self._ids:
            return Location(self._ids[address], fragment)
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:|//", address):
            raise wrong(
                location,
                f"$ref {reference!r} is not a local file; nothing is fetched: save it beside this file",
            )
        file = location.file.parent / unquote(address)
        if not file.resolve().is_relative_to(self._folder):
            raise wrong(
                location, f"$ref {reference!r} leads out of the folder {self._folder.name!r}: copy the file into it"
            )
        if not file.is_file():
            raise wrong(
                location, f"$ref {reference!r}: there is no file {unquote(address)!r} beside {location.file.name}"
            )
        return Location(file.resolve(), fragment)

    def followed(self, value: Any, location: Location) -> Located:
        """Follow references until there is another value.

        Raises:
            ConfigError: one leads nowhere, or they go round in a circle.
        """
        passed: list[Location] = []
        while isinstance(value, dict) and "$ref" in value:
            if location in passed:
                raise wrong(location, "this $ref comes back to itself")
            passed.append(location)
            value, location = self.at(self.target(cast("dict[str, Any]", value)["$ref"], location))
        return Located(value, location)


class Bundler:
    """Collects the schemas of a specification's events, and all that they refer to, into one set of definitions."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._keys: dict[Location, str] = {}
        self._definitions: dict[str, Schema] = {}
        self._bases: dict[str, str] = {}

    def schema(self, value: Any, location: Location) -> Schema:
        """Copy a schema so that all its references lead to the definitions.

        Raises:
            ConfigError: the schema, or something that it refers to, is missing or is not a schema.
        """
        if isinstance(value, bool):
            return {} if value else {"not": {}}
        if not isinstance(value, dict):
            raise wrong(location, f"a schema must be an object, got {_shown(value)}")
        _check(cast("Schema", value), location)
        copy = mapped(
            cast("Schema", value),
            lambda inner, below: self.schema(inner, Location(location.file, location.pointer + below)),
        )
        if "$ref" in copy:
            copy["$ref"] = PREFIX + self._key(self._documents.target(copy["$ref"], location))
        return copy

    def _key(self, location: Location) -> str:
        if location not in self._keys:
            title = location.pointer.rpartition("/")[2] or location.file.name.partition(".")[0]
            key = f"{len(self._keys)}"
            self._keys[location] = key
            self._bases[key] = class_name(title) or "Object"
            self._definitions[key] = self.schema(*self._documents.at(location))
        return self._keys[location]

    def merged(self, events: dict[str, Schema]) -> tuple[dict[str, Schema], dict[str, Schema]]:
        """Return events and definitions. Definitions with the same name and content have become one."""
        # Definitions that refer to each other in a circle are equal if nothing tells them apart: begin with one
        # group for each name, and part what differs until nothing more does. A group is called by its first member.
        first: dict[Any, str] = {}
        group = {key: first.setdefault(base, key) for key, base in self._bases.items()}
        while True:
            first = {}
            finer = {key: first.setdefault((group[key], self._content(key, group)), key) for key in group}
            if len(set(finer.values())) == len(set(group.values())):
                break
            group = finer
        names: dict[str, str] = {}
        for key in dict.fromkeys(group.values()):
            names[key] = unique(self._bases[key], names.values())
        final = {key: names[each] for key, each in group.items()}
        definitions = {name: _renamed(self._definitions[key], final) for key, name in names.items()}
        return {name: _renamed(schema, final) for name, schema in events.items()}, definitions

    def _content(self, key: str, names: dict[str, str]) -> str:
        return json.dumps(_renamed(self._definitions[key], names), sort_keys=True, default=str)


def _check(schema: Schema, location: Location) -> None:
    """Refuse keywords whose values do not have the form that JSON Schema gives them, if this package reads them."""
    for key, (form, called) in _FORMS.items():
        if key in schema and (not isinstance(schema[key], form) or isinstance(schema[key], bool)):
            raise wrong(location / key, f"{called} is expected here, got {_shown(schema[key])}")
    if (choices := len(schema.get("enum", ()))) > _MOST_CHOICES:
        raise wrong(
            location / "enum",
            f"there are {choices:,} values; an enum may have {_MOST_CHOICES:,}: give it a type and a pattern instead",
        )
    if not all(isinstance(name, str) for name in schema.get("required", ())):
        raise wrong(location / "required", f"a list of names is expected here, got {_shown(schema['required'])}")
    types = schema.get("type", [])
    for one in [types] if isinstance(types, str) else cast("Iterable[object]", types):
        if one not in _TYPES:
            raise wrong(location / "type", f"there is no type {one!r}; there are {', '.join(_TYPES)}")


def unique(name: str, taken: Collection[str]) -> str:
    """Return the name, with a number behind it if it is taken."""
    numbers = itertools.count(2)
    found = name
    while found in taken:
        found = f"{name}{next(numbers)}"
    return found


def _renamed(schema: Schema, names: dict[str, str]) -> Schema:
    copy = mapped(schema, lambda inner, _: _renamed(inner, names))
    if "$ref" in copy:
        copy["$ref"] = PREFIX + names[copy["$ref"].removeprefix(PREFIX)]
    return copy


def _inner(value: Any, key: str) -> Any:
    return value[int(key) if isinstance(value, list) else key]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _parsed(file: Path) -> Any:
    try:
        if (size := file.stat().st_size) > _LARGEST:
            raise ConfigError(f"{file.name} has {size:,} bytes; a document may have {_LARGEST:,}")
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise ConfigError(f"{file.name}: cannot be read: {reason}") from error
    try:
        return _yaml(file, text) if file.suffix.lower() in YAML_ENDINGS else json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{file.name}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from error
    except RecursionError:
        raise ConfigError(f"{file.name}: nested too deep") from None
    except (ValueError, LookupError, AttributeError) as error:  # of numbers without end, and of tags in YAML
        raise ConfigError(f"{file.name}: a value cannot be read: {type(error).__name__}: {error}") from error


def _count_nodes(root: Any) -> int:
    """Count the values of a YAML document with all aliases written out. It does not write them out.

    An alias of something that contains it counts as too many.
    """
    counts: dict[int, int] = {}
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        node, has_counts = stack.pop()
        inner = _inner_nodes(node.value)
        if has_counts:
            counts[id(node)] = 1 + sum(counts[id(each)] for each in inner)
        elif id(node) not in counts:
            counts[id(node)] = _MOST_NODES + 1  # what is read in itself, as long as it is not counted
            stack += [(node, True), *((each, False) for each in inner)]
    return counts[id(root)]


def _inner_nodes(value: Any) -> list[Any]:
    """The nodes of a list, or the keys and values of an object; none of a scalar."""
    if not isinstance(value, list):
        return []
    pairs = cast("Iterable[Any]", value)
    return [each for item in pairs for each in (cast("Iterable[Any]", item) if isinstance(item, tuple) else (item,))]


def _yaml(file: Path, text: str) -> Any:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{file.name}: YAML needs yaml, which is not installed: pip install 'brokerkit-sdk[cli]'"
        ) from error

    class Loader(yaml.SafeLoader):
        """YAML as JSON has it: dates stay text, and `on`, `no` and `y` are text too."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if not tag.endswith((":timestamp", ":bool"))]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver(  # pyright: ignore[reportUnknownMemberType]
        "tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
    )
    try:
        loader: Any = Loader(text)
        try:
            if (node := loader.get_single_node()) is None:
                return None
            if _count_nodes(node) > _MOST_NODES:
                raise ConfigError(f"{file.name}: with its aliases written out it has more than {_MOST_NODES:,} values")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        raise ConfigError(f"{file.name}{at}: not YAML: {getattr(error, 'problem', None) or error}") from error
