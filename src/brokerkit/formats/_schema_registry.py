"""Messages in Confluent's framing: a schema's id, then Avro, Protobuf or JSON. Their schemas are in a registry.

The framing is described at https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html
("Wire format"): a zero and four bytes with the schema's id; Protobuf has the place of the message in its file after that.
Newer serializers may write a one and the schema's GUID instead, there or in the header ``__value_schema_id``.

The client is confluent-kafka's, with its connections, authentication and framing. Its serializers expand each schema
anew for each message, and take one schema to read with, so reading and writing is done here. Tests compare the bytes.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeVar

from brokerkit._errors import ConfigError, ConnectionLost, DecodeError, InvalidMessage, MissingExtra, describe
from brokerkit._messages._delivery import WAITING, Delivery
from brokerkit._messages._encodings import undone
from brokerkit._messages._outgoing import Outgoing, Unencoded
from brokerkit.formats._registry import Registry

_MODULES: Final[Mapping[str, tuple[str, str]]] = {
    "AVRO": ("brokerkit.formats._avro", "AvroSchema"),
    "JSON": ("brokerkit.formats._json_schema", "JsonSchema"),
    "PROTOBUF": ("brokerkit.formats._protobuf", "ProtobufSchema"),
}
_GUID_HEADER: Final = "__value_schema_id"
_ABSENT: Final = frozenset({40401, 40402, 40403})
"""Codes of "there is no such subject, version, schema". Another 404 is of a wrong URL, or of a proxy."""
_MOST: Final = 1_000
"""How many schemas are kept."""
_ABSENT_FOR: Final = 10.0
"""Seconds for which a schema that the registry does not have is not asked for again."""
_LATEST_FOR: Final = 300.0
"""Seconds for which the newest version of a subject is used before the registry is asked for a newer one."""
_CONTENT_TYPE: Final = "application/octet-stream"


class Schema(Protocol):
    """A schema, ready for use.

    What `read` and `write` raise is of any class, and becomes a `DecodeError` or an `InvalidMessage`.
    """

    def full_name(self, path: Sequence[int] = ()) -> str:
        """The name of the record, or of the message at a place in a file of Protobuf; "" if it has none."""
        ...

    def write(self, value: bytes) -> bytes:
        """Write an event that is given as JSON."""
        ...


class Found(Schema, Protocol):
    """A schema of the registry.

    Attributes:
        indexed: whether the place of the message stands before it, as in Protobuf.
    """

    indexed: ClassVar[bool]

    def read(self, body: bytes, path: Sequence[int], own: object) -> Any:
        """Read a body, as the schema of the settings has it, if there is one."""
        ...


class Own(Schema, Protocol):
    """A schema of the settings.

    Attributes:
        text: what the registry knows it by.
        path: where it is in a file of Protobuf; None elsewhere.
    """

    @property
    def text(self) -> str: ...
    @property
    def path(self) -> list[int] | None: ...


K = TypeVar("K")
V = TypeVar("V")


class SchemaRegistry:
    """The `Preparation` of one source or target.

    Args:
        registry: the settings.
        kind: what is written: ``AVRO``, ``JSON`` or ``PROTOBUF``. All three are read.

    Raises:
        ConfigError: a schema of the settings cannot be loaded.
        MissingExtra: packages are missing.
    """

    def __init__(self, registry: Registry, kind: str) -> None:
        try:
            self._confluent = import_module("confluent_kafka.schema_registry")
            self._serde = import_module("confluent_kafka.schema_registry.serde")
            for module, _ in _MODULES.values():
                import_module(module)
        except ImportError as error:
            raise MissingExtra(
                f"schema registries need packages ({error}): pip install 'brokerkit-sdk[registry]'"
            ) from None
        self._registry = registry
        self._kind = kind
        self._own = {name: self._load(name, where) for name, where in registry.schemas.items()}
        self._readers = {schema.full_name(): schema for schema in self._own.values()}
        self._known: dict[object, Found] = {}
        self._absent: dict[object, tuple[float, str]] = {}
        self._written: dict[tuple[str, str], tuple[float, bytes, Schema]] = {}
        self._client: Any = None

    def __repr__(self) -> str:
        return f"<SchemaRegistry {self._registry}: {len(self._known)} schemas>"

    def _load(self, event: str, where: str) -> Own:
        try:
            if self._kind == "PROTOBUF":
                module, _, name = where.partition(":")
                protobuf: Any = import_module("brokerkit.formats._protobuf")
                own: Own = protobuf.ProtobufClass.of(getattr(import_module(module), name))
            else:
                own = _compiled(self._kind, Path(where).read_text(encoding="utf-8"))
            return own
        except Exception as error:
            raise ConfigError(f"registry.schemas.{event}: {where!r} cannot be loaded: {describe(error)}") from error

    # ---- reading ---------------------------------------------------------------------------------------------

    async def read(self, batch: Sequence[Delivery]) -> None:
        """See `Preparation.read`."""
        for delivery in batch:
            if delivery.body is None or delivery.state is not WAITING or delivery.parsed is not None:
                continue
            try:
                await self._read(delivery, delivery.body)
            except DecodeError as error:
                delivery.parsed = error

    async def _read(self, delivery: Delivery, body: bytes) -> None:
        header = delivery.headers.get(_GUID_HEADER)
        if not header and body[:1] > b"\1":
            body = undone(delivery) or body
        # What comes after the id depends on the kind of the schema, which is not known yet.
        found = self._serde.SchemaId("")
        try:
            rest = found.from_bytes(io.BytesIO(header if isinstance(header, bytes) else body))
        except Exception as error:
            raise DecodeError(
                f"topic {delivery.topic}: not in the framing of a schema registry: it begins with {body[:5]!r}"
            ) from error
        key = found.id if found.guid is None else str(found.guid)
        what = f"topic {delivery.topic}: schema {'id' if found.guid is None else 'GUID'} {key}"
        schema = self._known.get(key) or await self._fetched(key, what)
        try:
            path: list[int] = self._serde.SchemaId._read_index_array(rest) if schema.indexed else []
            name = schema.full_name(path)
            payload = body if isinstance(header, bytes) else rest.read()
            delivery.parsed = schema.read(payload, path, self._readers.get(name))
        except Exception as error:
            raise DecodeError(f"{what}: the body cannot be read with it: {describe(error)}") from error
        delivery.schema = _simple(name)

    async def _fetched(self, key: Any, what: str) -> Found:
        if (absent := self._absent.get(key)) is not None and absent[0] > time.monotonic():
            raise DecodeError(f"{what}: {absent[1]}")
        way = "get_schema_by_guid" if isinstance(key, str) else "get_schema"
        try:
            schema = await self._ask(what, way, key, absent=DecodeError)
        except DecodeError:
            _keep(self._absent, key, (time.monotonic() + _ABSENT_FOR, f"{self._registry} does not have it"))
            raise
        return _keep(self._known, key, await self._compile(what, schema))

    async def _compile(self, what: str, schema: Any) -> Found:
        kind = schema.schema_type or "AVRO"
        references: list[str] = []
        await self._collect(what, schema, references, set())
        try:
            found: Found = _compiled(kind, schema.schema_str, references)
            return found
        except Exception as error:
            raise DecodeError(f"{what}: it cannot be used: {describe(error)}") from error

    async def _collect(self, what: str, schema: Any, texts: list[str], seen: set[tuple[str, int]]) -> None:
        """Collect the schemas that a schema refers to, each after those that it refers to itself."""
        for reference in schema.references or ():
            if (one := (reference.subject, reference.version)) not in seen:
                seen.add(one)
                found = await self._ask(what, "get_version", *one, absent=DecodeError)
                await self._collect(what, found.schema, texts, seen)
                texts.append(found.schema.schema_str)

    # ---- writing ---------------------------------------------------------------------------------------------

    async def write(self, outgoing: Outgoing) -> None:
        """See `Preparation.write`."""
        if not isinstance(outgoing.body, Unencoded):
            return
        topic, name = outgoing.topic, outgoing.name
        known = self._written.get((topic, name))
        if known is None or known[0] < time.monotonic():
            try:
                known = _keep(self._written, (topic, name), await self._writer(topic, name))
            except ConnectionLost:
                if known is None:
                    raise
                # The newest version was asked for again: what it was is good for a while longer.
        _, prefix, schema = known
        if outgoing.body.named_by_schema and (found := _simple(schema.full_name())) != name:
            raise InvalidMessage(
                f"topic {topic}: readers would take the schema's name {found!r} for the event name {name!r}"
            )
        try:
            outgoing.body = prefix + schema.write(bytes(outgoing.body))
        except InvalidMessage as error:
            raise InvalidMessage(f"topic {topic}: event {name}: {error}") from error
        except Exception as error:
            raise InvalidMessage(f"topic {topic}: event {name} does not fit its schema: {describe(error)}") from error
        outgoing.content_type = _CONTENT_TYPE

    async def _writer(self, topic: str, name: str) -> tuple[float, bytes, Schema]:
        own = self._own.get(name)
        record = name if own is None else own.full_name() or name
        subject = {"topic": f"{topic}-value", "record": record, "topic-record": f"{topic}-{record}"}[
            self._registry.subject
        ]
        what = f"topic {topic}: subject {subject}"
        until = float("inf")
        schema: Schema
        path: list[int] | None = None
        if own is None:
            if self._registry.auto_register:
                raise InvalidMessage(f"{what}: event {name} has no schema to register: add it to registry.schemas")
            found = await self._ask(what, "get_latest_version", subject, absent=InvalidMessage)
            until = time.monotonic() + _LATEST_FOR
            schema = await self._compile(what, found.schema)
        else:
            schema, path = own, own.path
            given = self._confluent.Schema(own.text, self._kind)
            way = "register_schema_full_response" if self._registry.auto_register else "lookup_schema"
            found = await self._ask(what, way, subject, given, absent=InvalidMessage)
        prefix: bytes = self._serde.SchemaId(self._kind, found.schema_id, message_indexes=path).id_to_bytes()
        return until, prefix, schema

    # ---- the client ------------------------------------------------------------------------------------------

    async def _ask(self, what: str, way: str, *arguments: Any, absent: type[DecodeError | InvalidMessage]) -> Any:
        """Ask the registry.

        Raises:
            ConnectionLost: it does not answer, or not as a registry does; trying again may help.
            absent: it does not have what was asked for, or refuses what was given.
        """
        try:
            if self._client is None:
                self._client = self._confluent.AsyncSchemaRegistryClient(self._options())
            return await getattr(self._client, way)(*arguments)
        except self._confluent.SchemaRegistryError as error:
            said = f"{self._registry} says {str(error)[:300]}"
            if error.error_code in _ABSENT or error.http_status_code in (409, 422):
                raise absent(f"{what}: {said}") from error
            raise ConnectionLost(f"{what}: schema registry {said}") from error
        except Exception as error:
            reason = f"{type(error).__name__}: {describe(error)[:300]}"
            raise ConnectionLost(f"{what}: schema registry {self._registry} does not answer ({reason})") from error

    def _options(self) -> dict[str, Any]:
        settings = self._registry
        options: dict[str, Any] = {
            "url": ",".join(settings.urls),
            "timeout": settings.timeout,
            "max.retries": 0,  # sources and targets try again themselves
            "cache.capacity": _MOST,
        }
        if settings.ca is not None:
            options["ssl.ca.location"] = settings.ca
        if settings.user is not None and settings.password is not None:
            options["basic.auth.user.info"] = f"{settings.user}:{settings.password.get_secret_value()}"
        if settings.token is not None:
            options["bearer.auth.credentials.source"] = "STATIC_TOKEN"
            options["bearer.auth.token"] = settings.token.get_secret_value()
            options["bearer.auth.logical.cluster"] = ""
        return options

    async def close(self) -> None:
        """See `Preparation.close`."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()


def _simple(full_name: str) -> str:
    return full_name.rpartition(".")[2]


def _compiled(kind: str, text: str, references: Sequence[str] = ()) -> Any:
    module, name = _MODULES[kind]
    return getattr(import_module(module), name).of(text, references)


def _keep(kept: dict[K, V], key: K, value: V) -> V:
    """Keep a value in a cache that has a limit."""
    if len(kept) >= _MOST:
        del kept[next(iter(kept))]
    kept[key] = value
    return value
