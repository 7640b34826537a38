"""Kafka Connect's JSON with a schema: what JSON has no type for is written as the schema says.

A decimal number is the base64 of its digits, a date is a number of days (`JsonConverter` of Kafka 4.1 with `schemas.enable`
and `decimal.format` BASE64, its default). The base64 of a number may look like another number.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from brokerkit._errors import DecodeError
from brokerkit._messages._codecs import Codec

_NAMES: Final = "org.apache.kafka.connect.data."
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


def decode(value: Any) -> Any:
    """Return the payload of ``{"schema": …, "payload": …}`` as models take it from JSON; another value unchanged.

    Decimal numbers, dates and times become text, and bytes are decoded.

    Raises:
        DecodeError: the payload is not what the schema says, or nested too deep.
    """
    if value.__class__ is not dict or "payload" not in value or "schema" not in value:
        return value
    schema, payload = value["schema"], value["payload"]
    try:
        return payload if schema is None else _read(schema, payload)
    except RecursionError as error:
        raise DecodeError("the record is nested too deep") from error
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"the payload of the record is not what its schema says: {error}", value=payload) from error


def _read(schema: Mapping[str, Any], value: Any) -> Any:
    if value is None:
        return None
    if (logical := _LOGICAL.get(schema.get("name") or "")) is not None:
        return logical(schema, value)
    match schema["type"]:
        case "struct":
            fields = {field["field"]: field for field in schema["fields"]}
            return {name: _read(fields[name], each) if name in fields else each for name, each in value.items()}
        case "array":
            return [_read(schema["items"], each) for each in value]
        case "map":
            # Keys that are not text make it a list of pairs.
            pairs = value.items() if value.__class__ is dict else value
            return {str(_read(schema["keys"], key)): _read(schema["values"], each) for key, each in pairs}
        case "bytes":
            return base64.b64decode(value, validate=True)
        case _:
            return value


def _decimal(schema: Mapping[str, Any], value: Any) -> Any:
    if not isinstance(value, str):
        return value  # with `decimal.format` NUMERIC
    digits = int.from_bytes(base64.b64decode(value, validate=True), "big", signed=True)
    sign, numerals = int(digits < 0), tuple(map(int, str(abs(digits))))
    # Made of its digits: arithmetic would round to the precision of the context.
    return str(Decimal((sign, numerals, -int(schema["parameters"]["scale"]))))


def _date(schema: Mapping[str, Any], value: Any) -> str:
    return (date(1970, 1, 1) + timedelta(days=value)).isoformat()


def _time(schema: Mapping[str, Any], value: Any) -> str:
    return (_START + timedelta(milliseconds=value)).time().isoformat()


def _timestamp(schema: Mapping[str, Any], value: Any) -> str:
    return (_START + timedelta(milliseconds=value)).isoformat()


_LOGICAL: Final[Mapping[str, Callable[[Mapping[str, Any], Any], Any]]] = {
    f"{_NAMES}Decimal": _decimal,
    f"{_NAMES}Date": _date,
    f"{_NAMES}Time": _time,
    f"{_NAMES}Timestamp": _timestamp,
}

CONNECT: Final = Codec(name="connect", decode=decode)
