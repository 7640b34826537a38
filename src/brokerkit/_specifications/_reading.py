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
from brokerkit._specifications._documents import ENDINGS, Bundler, Documents, Located, Place, wrong
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


def read(place: str | Path) -> Specification:
    """Read a specification or a family.

    Args:
        place: an AsyncAPI 2.x or 3.0 document or a JSON Schema (JSON or YAML), a folder of JSON Schemas, a Python file or
            module with a family (``package.module``, or ``package.module:NAME`` where it is not FAMILY), or a known
            family's name.

    Raises:
        ConfigError: it is none of these, or something in it is wrong; the message names file and place.
        MissingExtra: it is YAML, and the library for that is not installed.
    """
    path = Path(place)
    if path.is_dir():
        return _read_folder(path)
    if path.suffix == ".py" and path.is_file():
        return _read_family(_family_in(_module_of(path), "FAMILY", str(place)), str(place))
    if path.suffix in ENDINGS or path.is_file():
        return _read_file(path)
    return _read_family(_find_family(str(place)), str(place))


def _read_file(path: Path) -> Specification:
    documents = Documents()
    value, place = documents.open(path)
    if not isinstance(value, dict):
        raise wrong(place, "an AsyncAPI document or a JSON Schema is an object, this is not")
    if "asyncapi" in value:
        found = _messages(documents, cast("dict[str, Any]", value), place)
    else:
        found = _schemas(documents, [Located(value, place)])
    return _collected(str(path), _stem(path), documents, found)


def _read_folder(path: Path) -> Specification:
    documents = Documents()
    files = sorted(file for file in path.iterdir() if file.is_file() and file.suffix in ENDINGS)
    schemas = _schemas(documents, [documents.open(file) for file in files])
    return _collected(str(path), path.resolve().name, documents, schemas)


def _collected(place: str, name: str, documents: Documents, found: Iterator[tuple[str, Located]]) -> Specification:
    bundler = Bundler(documents)
    seen: dict[str, Located] = {}
    schemas: dict[str, Schema] = {}
    for event, located in found:
        try:
            schema = bundler.schema(*located)
        except RecursionError:
            raise wrong(located.place, "nested too deep") from None
        if event in schemas:
            if schemas[event] == schema:
                continue
            raise wrong(located.place, f"a second event is called {event!r}, and differs from {seen[event].place}")
        seen[event], schemas[event] = located, schema
    if not schemas:
        raise ConfigError(f"{place}: there are no events in it")
    merged, shared = bundler.merged(schemas)
    return Specification(place, name, merged, shared)


def _schemas(documents: Documents, roots: list[Located]) -> Iterator[tuple[str, Located]]:
    """Yield name and schema of each event among whole files; one that only defines what others use is none."""
    for value, place in roots:
        if not isinstance(value, dict):
            raise wrong(place, "a JSON Schema is an object, this is not")
        schema = cast("dict[str, Any]", value)
        if not schema.keys() - {"$schema", "$id", "id", "$comment", "title", "description", "$defs", "definitions"}:
            continue
        if not schema.keys() & {"$ref", "type", "properties", "allOf", "anyOf", "oneOf", "const", "enum", "$schema"}:
            raise wrong(place, "neither an AsyncAPI document nor a JSON Schema")
        title = schema.get("title")
        name = schema.get(EVENT_NAME) or (title if isinstance(title, str) and " " not in title else _stem(place.file))
        yield _checked_name(name, place), documents.followed(schema, place)


def _messages(documents: Documents, root: dict[str, Any], place: Place) -> Iterator[tuple[str, Located]]:
    """Yield name and payload of each message of an AsyncAPI document; what two channels share is there once."""
    version = str(root["asyncapi"])
    if version.partition(".")[0] not in ("2", "3"):
        raise wrong(place / "asyncapi", f"AsyncAPI {version} is not read; 2.x and 3.x are")
    seen: set[Place] = set()
    for key, located in _message_places(documents, root, place):
        if located.place not in seen:
            seen.add(located.place)
            yield _message(documents, key, located)


def _message_places(documents: Documents, root: dict[str, Any], place: Place) -> Iterator[tuple[str | None, Located]]:
    components = _object(root, "components", place)
    yield from _each(documents, components, "messages", place / "components")
    for channel_key, (channel, at) in _each(documents, root, "channels", place):
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
    message, place = _objects(located.value, located.place), located.place
    payload_place = place / "payload"
    traits = message.get("traits")
    for index, trait in enumerate(cast("Sequence[Any]", traits) if isinstance(traits, list) else []):
        message = {**_objects(*documents.followed(trait, place / "traits" / index)), **message}
    name = message.get(EVENT_NAME) or message.get("name") or message.get("messageId") or key
    payload: Any = message.get("payload", {})
    kind: object = message.get("schemaFormat")
    if isinstance(payload, dict) and "schemaFormat" in payload and "schema" in payload:
        many = cast("dict[str, Any]", payload)  # AsyncAPI 3.0's Multi Format Schema Object
        kind, payload, payload_place = many["schemaFormat"], many["schema"], payload_place / "schema"
    if kind is not None and not str(kind).startswith(_JSON_SCHEMA_FORMATS):
        raise wrong(payload_place, f"the schema format {kind!r} is not read; JSON Schema is")
    payload, payload_place = documents.followed(payload, payload_place)
    title = cast("dict[str, Any]", payload).get("title") if isinstance(payload, dict) else None
    return _checked_name(name or title, place), Located(payload, payload_place)


def _each(documents: Documents, holder: Mapping[str, Any], key: str, place: Place) -> Iterator[tuple[str, Located]]:
    for name, value in _object(holder, key, place).items():
        yield name, documents.followed(value, place / key / name)


def _object(holder: Mapping[str, Any], key: str, place: Place) -> dict[str, Any]:
    value = _objects(holder, place).get(key)
    return {} if value is None else _objects(value, place / key)


def _objects(value: Any, place: Place) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(place, f"an object is expected here, not {type(value).__name__}")
    return cast("dict[str, Any]", value)


def _checked_name(name: object, place: Place) -> str:
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise wrong(place, f"this message has no usable name: give it a `name` or an `{EVENT_NAME}`")
    return name


def _stem(path: Path) -> str:
    return path.name.removesuffix(path.suffix).removesuffix(".schema")


def _find_family(place: str) -> Family:
    if place in events.families():
        return events.get_family(place)
    module, colon, attribute = place.partition(":")
    if not all(part.isidentifier() for part in module.split(".")):
        raise ConfigError(f"{place}: there is no such file, folder, module or family")
    sys.path.insert(0, "")  # as `python -m` has it: a module beside the caller
    try:
        return _family_in(import_module(module), attribute if colon else "FAMILY", place)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{place}: there is no such file, folder, module or family ({error})") from error
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{place}: cannot be imported: {error}") from error
    finally:
        sys.path.remove("")


def _module_of(path: Path) -> ModuleType:
    # Two versions of one module are compared: each needs a name of its own.
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


def _family_in(module: ModuleType, attribute: str, place: str) -> Family:
    family = getattr(module, attribute, None)
    if not isinstance(family, Family):
        raise ConfigError(f"{place}: {attribute} is no brokerkit family there")
    return family


def _read_family(family: Family, place: str) -> Specification:
    mode: Final = "serialization"
    made, document = TypeAdapter.json_schemas(
        [(name, mode, family.adapter(model)) for name, model in family.models.items()],
        by_alias=True,
        ref_template=f"{PREFIX}{{model}}",
    )
    whole = Specification(place, family.name, {}, cast("dict[str, Schema]", document.get("$defs", {})))
    schemas = {name: whole.resolved(dict(made[name, mode])) for name in family.models}
    return Specification(place, family.name, schemas, whole.shared)
