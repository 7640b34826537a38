"""kombu's typed values: what JSON has no type for, written as an object (kombu 5.7, `kombu.utils.json`).

``{"__type__": "decimal", "__value__": "2.50"}`` is a decimal number. Celery writes the arguments of its tasks so.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from brokerkit._errors import DecodeError
from brokerkit._messages._codecs import Codec

TYPE: Final = "__type__"
VALUE: Final = "__value__"
_KEYS: Final = {TYPE, VALUE}


def decode(value: Any) -> Any:
    """Return parsed JSON with the values instead of the objects around them.

    Decimal numbers, dates, times and UUIDs become text, as models take them from JSON. A type that an application has
    registered itself becomes what it has written as the value.

    Raises:
        DecodeError: base64 is broken, or the JSON is nested too deep.
    """
    try:
        return _plain(value)
    except RecursionError as error:
        raise DecodeError("the JSON is nested too deep") from error


def _plain(value: Any) -> Any:
    if value.__class__ is list:
        return [_plain(each) for each in value]
    if value.__class__ is not dict:
        return value
    if value.keys() != _KEYS:
        return {name: _plain(each) for name, each in value.items()}
    match value[TYPE], value[VALUE]:
        case "uuid", {"hex": found}:
            return found
        case "base64", str(text):
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error as error:
                raise DecodeError(f"not base64: {error}", value=text) from error
        case _, found:
            return _plain(found)


KOMBU: Final = Codec(name="kombu", decode=decode)
