"""The formats whose schemas are in a registry: Avro, JSON Schema and Protobuf in Confluent's framing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from brokerkit._errors import ConfigError, DecodeError
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._outgoing import Outgoing, Unencoded
from brokerkit.formats._format import Format
from brokerkit.formats._preparation import Preparation
from brokerkit.formats._registry import Registry

_NAME_FROM: Final = ("header:event", "header:ce_type", "schema")
_FRAMES: Final = (b"\0", b"\1")
"""What a body in the framing begins with. JSON does not."""


def _payload(delivery: Delivery) -> Any:
    if delivery.body is None:
        return None
    if isinstance(found := delivery.parsed, DecodeError):
        raise found
    if found is None:
        raise DecodeError("only a source with a schema registry can read it")
    return found


def _mark(outgoing: Outgoing, now: float) -> None:
    if outgoing.body is not None and not outgoing.body.startswith(_FRAMES):
        outgoing.body = Unencoded(outgoing.body)


def _preparation(name: str, kind: str) -> Callable[[Registry | None], Preparation]:
    def make(registry: Registry | None) -> Preparation:
        if registry is None:
            raise ConfigError(f"format {name!r} needs a schema registry: set registry to its URL")
        from brokerkit.formats._schema_registry import SchemaRegistry  # loads packages of an extra

        return SchemaRegistry(registry, kind)

    return make


def _format(name: str, kind: str) -> Format:
    return Format(name=name, name_from=_NAME_FROM, payload=_payload, wrap=_mark, preparation=_preparation(name, kind))


AVRO: Final = _format("avro", "AVRO")
"""Avro records. Where no header has the event name, it is the record's, without its namespace."""

JSON_SCHEMA: Final = _format("json-schema", "JSON")
"""JSON; the name may be the title of the schema."""

PROTOBUF: Final = _format("protobuf", "PROTOBUF")
"""Protobuf; the name may be the message's, without its package."""
