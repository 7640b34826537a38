"""Bodies of AMQP 1.0 clients, as RabbitMQ hands them to a client of AMQP 0-9-1.

A body that is a text or bytes as one AMQP value (JMS' TextMessage, and what rhea makes of a string or a buffer) arrives with
its encoding around it (AMQP 1.0, 1.6.19 and 1.6.20), and the type ``amqp-1.0``. Data sections arrive as they are.
"""

from typing import Final

ENCODED: Final = "amqp-1.0"
"""The type that RabbitMQ gives to such a message; no producer has chosen it."""

_VALUE: Final = b"\x00\x53\x77"
_LENGTHS: Final = {0xA0: 1, 0xA1: 1, 0xB0: 4, 0xB1: 4}
"""Bytes of the length, by the code of binary and string, short and long."""


def unwrapped(body: bytes) -> bytes | None:
    """Return the text or the bytes that are the value of a body, or None if the value is anything else."""
    begin = len(_VALUE) + 1
    size = _LENGTHS.get(body[begin - 1]) if body.startswith(_VALUE) and len(body) >= begin else None
    if size is None or len(body) < begin + size:
        return None
    content = body[begin + size :]
    return content if len(content) == int.from_bytes(body[begin : begin + size], "big") else None
