"""Envelopes that other programs put around an event, and how each can be read, or that it cannot be.

Each is recognised by what its program always writes. Where settings do not find an event, the error says what the
message is instead.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from brokerkit._errors import DecodeError
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._encodings import undone
from brokerkit._messages._name_rules import parsed
from brokerkit.formats._format import Format
from brokerkit.formats._others import PEERS
from brokerkit.formats._recognition import Recognises, begins, value
from brokerkit.formats.cloudevents import CLOUDEVENTS, CLOUDEVENTS_STRUCTURED, PREFIXES


class Envelope(NamedTuple):
    """What a message is.

    Attributes:
        what: the program or protocol that writes it.
        advice: how it can be read; says so where it cannot be.
        format: the format that reads it, or None.
    """

    what: str
    advice: str
    format: Format | None = None


def _is_batch(delivery: Delivery) -> bool:
    return value(delivery, 1, "specversion") is not None


def _is_structured(delivery: Delivery) -> bool:
    one = value(delivery, 0) if isinstance(parsed(delivery), list) and not _is_batch(delivery) else value(delivery)
    return isinstance(one, dict) and {"specversion", "type", "source", "id"} <= one.keys()


def _is_binary(delivery: Delivery) -> bool:
    return any(f"{prefix}specversion" in delivery.headers for prefix in PREFIXES)


def _is_s3_pointer(delivery: Delivery) -> bool:
    kind = value(delivery, 0)
    return isinstance(kind, str) and kind.endswith("PayloadS3Pointer") and value(delivery, 1, "s3Key") is not None


def _is_registry(delivery: Delivery) -> bool:
    # A zero, four bytes of the schema's id, then Avro, Protobuf or JSON: docs.confluent.io, "Wire format".
    raw = delivery.body or b""
    return len(raw) > 5 and raw[0] == 0


_PHP: Final = re.compile(rb"(?:[aOCs]:\d+:|[ib]:-?\d+;)").match


def _is_php_serialized(delivery: Delivery) -> bool:
    return _PHP(delivery.body or b"") is not None


def _is_encoded(delivery: Delivery) -> bool:
    try:
        return undone(delivery) is not None
    except DecodeError:
        return False


_IS_COMPRESSED = begins(b"\x1f\x8b", b"\x28\xb5\x2f\xfd")

_NOT_SUPPORTED: Final = "brokerkit cannot read it"

_OTHERS: Final[tuple[tuple[Recognises, str, str, Format | None], ...]] = (
    (_is_binary, "a CloudEvent in binary mode", "", CLOUDEVENTS),
    (_is_structured, "a CloudEvent in structured mode", "", CLOUDEVENTS_STRUCTURED),
    (_is_batch, "a batch of CloudEvents", f"a message can hold one event: {_NOT_SUPPORTED}", None),
    (
        lambda delivery: value(delivery, "Event") == "s3:TestEvent",
        "the test event of an S3 notification",
        "it is not an event",
        None,
    ),
    (_is_s3_pointer, "a pointer of the SQS extended client", f"its payload stays in S3: {_NOT_SUPPORTED}", None),
    (
        _is_registry,
        "a record of a schema registry (magic byte 0)",
        'format = "avro" (or "json-schema", "protobuf") reads it, with registry = the URL of that registry',
        None,
    ),
    (
        lambda delivery: _IS_COMPRESSED(delivery) and not _is_encoded(delivery),
        "a compressed body",
        'no header says so; payload_from = "body|decompress" reads it where the name is not in the body',
        None,
    ),
    (_is_php_serialized, "a value in PHP's own serialization", _NOT_SUPPORTED, None),
)

_SHAPES: Final[tuple[tuple[Recognises, Envelope], ...]] = (
    *((peer.recognises, Envelope(peer.what, f'format = "{peer.format.name}" reads it', peer.format)) for peer in PEERS),
    *(
        (fits, Envelope(what, advice if wire is None else f'format = "{wire.name}" reads it', wire))
        for fits, what, advice, wire in _OTHERS
    ),
)


def recognised(delivery: Delivery) -> Envelope | None:
    """What a message is, if it is an envelope of another program; None if nothing says so."""
    return next((envelope for fits, envelope in _SHAPES if fits(delivery)), None)
