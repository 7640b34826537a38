"""A text in PHP's own serialization: ``s:5:"hello";``.

The Redis extension of PHP writes values so when it is told to serialize them, as Symfony Messenger does for its JSON.
Other types are left alone: an object could only be read with its class.
"""

from __future__ import annotations

import re
from typing import Any, Final

from brokerkit._errors import DecodeError
from brokerkit._messages._codecs import Codec

_HEAD: Final = re.compile(rb's:([0-9]{1,10}):"').match


def decode(value: Any) -> Any:
    """Return the bytes of the text, or the value unchanged if it is not serialized text.

    Raises:
        DecodeError: its length is wrong, so it was cut off or changed.
    """
    if not isinstance(value, bytes) or (head := _HEAD(value)) is None:
        return value
    end = head.end() + int(head[1])
    if value[end:] != b'";':
        raise DecodeError("PHP's serialized text has another length than it says", value=value)
    return value[head.end() : end]


PHP_TEXT: Final = Codec(name="php-text", decode=decode)
