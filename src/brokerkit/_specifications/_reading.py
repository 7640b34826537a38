"""Read a specification: an AsyncAPI document, a JSON Schema, a folder of JSON Schemas, or a family."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

from pydantic import TypeAdapter

from brokerkit import events
from brokerkit._errors import ConfigError
from brokerkit._specifications._documents import ENDINGS, Bundler, Documents, Located, Location, wrong
from brokerkit._specifications._model import PREFIX, Schema, Specification
from brokerkit.events import Family

EVENT_NAME: Final = "x-event-name"
"""Key of a message or a schema that states the event name where its own name cannot."""

_JSON_SCHEMA_FORMATS: Final = (
    "application/vnd.aai.asyncapi",
    "application/schema+json",
    "application/schema+yaml",
    "application/vnd.oai.openapi",
)


def read(origin: str | Path) -> Specification:
    """Read a specification or a family.

    Args:
        origin: an AsyncAPI 2.x or 3.0 document or a JSON Schema (JSON or YAML), a folder of JSON Schemas, a Python file or
            module with a family (``package.module``, or ``package.module:NAME`` where it is not FAMILY), or a known
            family's name.

    Raises:
        ConfigError: it is none of these, or something in it is wrong; the message names the file and where in it.
        MissingExtra: it is YAML, and the library for that is not installed.
    """
    path = Path(origin)
    if path.is_dir():
        return _read_folder(path)
    if path.suffix == ".py" and path.is_file():
        return _read_family(_family_in(_module_of(path), "FAMILY", str(origin)), str(origin))
    if path.suffix in ENDINGS or path.is_file():
        return _read_file(path)
    return _read_family(_find_family(str(origin)), str(origin))


def _read_file(path: Path) -> Specification:
    documents = Documents(path.resolve().parent)
    value, location = documents.open(path)
    if not isinstance(value, dict):
        raise wrong(location, "not an object, as an AsyncAPI document or a JSON Schema is")
    if "asyncapi" in value:
        found = _messages(documents, cast("dict[str, Any]", value), location)
    else:
        found = _schemas(documents, [Located(value, location)])
    return _collected(str(path), _stem(path), documents, found)


def _read_folder(path: Path) -> Specification:
    documents = Documents(path)
    files = sorted(file for file in path.iterdir() if file.is_file() and file.suffix in ENDINGS)
    schemas = _schemas(documents, [documents.open(file) for file in files])
    return _collected(str(path), path.resolve().name, documents, schemas)


def _collected(origin: str, name: str, documents: Documents, found: Iterator[tuple[str, Located]]) -> Specification:
    bundler = Bundler(documents)
    seen: dict[str, Located] = {}
    schemas: dict[str, Schema] = {}
    for event, located in found:
        try:
            schema = bundler.schema(*located)
        except RecursionError:
            raise wrong(located.location, "nested too deep") from None
        if event in schemas:
            if schemas[event] == schema:
                continue
            raise wrong(
                located.location, f"a second event is called {event!r}, and differs from {seen[event].location}"
            )
        seen[event], schemas[event] = located, schema
    if not schemas:
        raise ConfigError(f"{origin}: there are no events in it")
    merged, shared = bundler.merged(schemas)
    return Specification(origin, name, merged, shared)


def _schemas(documents: Documents, roots: list[Located]) -> Iterator[tuple[str, Located]]:
    """Yield name and schema of each event among whole files. A file that only has definitions for others is not an event."""
    for value, location in roots:
        if not isinstance(value, dict):
            raise wrong(location, "not an object, as a JSON Schema is")
        schema = cast("dict[str, Any]", value)
        if not schema.keys() - {"$schema", "$id", "id", "$comment", "title", "description", "$defs", "definitions"}:
            continue
        if not schema.keys() & {"$ref", "type", "properties", "allOf", "anyOf", "oneOf", "const", "enum", "$schema"}:
            raise wrong(location, "neither an AsyncAPI document nor a JSON Schema")
        title = schema.get("title")
        name = schema.get(EVENT_NAME) or (
            title if isinstance(title, str) and " " not in title else _stem(location.file)
        )
        yield _checked_name(name, location), documents.followed(schema, location)


def _messages(documents: Documents, root: dict[str, Any], location: Location) -> Iterator[tuple[str, Located]]:
    """Yield name and payload of each message of an AsyncAPI document. A message of two channels comes once."""
    version = str(root["asyncapi"])
    if version.partition(".")[0] not in ("2", "3"):
        raise wrong(location / "asyncapi", f"AsyncAPI {version} is not read; 2.x and 3.x are")
    seen: set[Location] = set()
    for key, located in _message_locations(documents, root, location):
        if located.location not in seen:
            seen.add(located.location)
            yield _message(documents, key, located)


def _message_locations(
    documents: Documents, root: dict[str, Any], location: Location
) -> Iterator[tuple[str | None, Located]]:
    components = _object(root, "components", location)
    yield from _each(documents, components, "messages", location / "components")
    for channel_key, (channel, at) in _each(documents, root, "channels", location):
        yield from _each(documents, _objects(channel, at), "messages", at)  # 3.x
        for side in ("publish", "subscribe"):  # 2.x
            operation = _object(channel, side, at)
            if "message" not in operation:
                continue
            message, where = documents.followed(operation["message"], at / side / "message")
            if isinstance(message, dict) and "oneOf" in message:
                choices = cast("Sequence[Any]", message["oneOf"])
                for index, choice in enumerate(choices):
                    yield None, documents.followed(choice, where / "oneOf" / index)
            else:
                yield channel_key, Located(message, where)


def _message(documents: Documents, key: str | None, located: Located) -> tuple[str, Located]:
    message, location = _objects(located.value, located.location), located.location
    payload_location = location / "payload"
    traits = message.get("traits")
    for index, trait in enumerate(cast("Sequence[Any]", traits) if isinstance(traits, list) else []):
        message = {**_objects(*documents.followed(trait, location / "traits" / index)), **message}
    name = message.get(EVENT_NAME) or message.get("name") or message.get("messageId") or key
    payload: Any = message.get("payload", {})
    kind: object = message.get("schemaFormat")
    if isinstance(payload, dict) and "schemaFormat" in payload and "schema" in payload:
        many = cast("dict[str, Any]", payload)  # AsyncAPI 3.0's Multi Format Schema Object
        kind, payload, payload_location = many["schemaFormat"], many["schema"], payload_location / "schema"
    if kind is not None and not str(kind).startswith(_JSON_SCHEMA_FORMATS):
        raise wrong(payload_location, f"the schema format {kind!r} is not read; JSON Schema is")
    payload, payload_location = documents.followed(payload, payload_location)
    title = cast("dict[str, Any]", payload).get("title") if isinstance(payload, dict) else None
    return _checked_name(name or title, location), Located(payload, payload_location)


def _each(
    documents: Documents, holder: Mapping[str, Any], key: str, location: Location
) -> Iterator[tuple[str, Located]]:
    for name, value in _object(holder, key, location).items():
        yield name, documents.followed(value, location / key / name)


def _object(holder: Mapping[str, Any], key: str, location: Location) -> dict[str, Any]:
    value = _objects(holder, location).get(key)
    return {} if value is None else _objects(value, location / key)


def _objects(value: Any, location: Location) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(location, f"an object is expected here, not {type(value).__name__}")
    return cast("dict[str, Any]", value)


def _checked_name(name: object, location: Location) -> str:
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise wrong(location, f"this message has no usable name: give it a `name` or an `{EVENT_NAME}`")
    return name


def _stem(path: Path) -> str:
    return path.name.removesuffix(path.suffix).removesuffix(".schema")


def _find_family(origin: str) -> Family:
    if origin in events.families():
        return events.get_family(origin)
    module, colon, attribute = origin.partition(":")
    if not all(part.isidentifier() for part in module.split(".")):
        raise ConfigError(f"{origin}: there is no such file, folder, module or family")
    sys.path.insert(0, "")  # like `python -m`: modules of the current folder are found
    try:
        return _family_in(import_module(module), attribute if colon else "FAMILY", origin)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{origin}: there is no such file, folder, module or family ({error})") from error
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{origin}: cannot be imported: {error}") from error
    finally:
        sys.path.remove("")


def _module_of(path: Path) -> ModuleType:
    # Two versions of one module may be compared, so each needs a separate name.
    name = f"_brokerkit_specification_{abs(hash(path.resolve()))}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks a model's annotations up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(f"{path}: cannot be imported: {error}") from error
    return module


def _family_in(module: ModuleType, attribute: str, origin: str) -> Family:
    family = getattr(module, attribute, None)
    if not isinstance(family, Family):
        raise ConfigError(f"{origin}: {attribute} is not a brokerkit family")
    return family


def _read_family(family: Family, origin: str) -> Specification:
    mode: Final = "serialization"
    made, document = TypeAdapter.json_schemas(
        [(name, mode, family.adapter(model)) for name, model in family.models.items()],
        by_alias=True,
        ref_template=f"{PREFIX}{{model}}",
    )
    whole = Specification(origin, family.name, {}, cast("dict[str, Schema]", document.get("$defs", {})))
    schemas = {name: whole.resolved(dict(made[name, mode])) for name in family.models}
    return Specification(origin, family.name, schemas, whole.shared)
