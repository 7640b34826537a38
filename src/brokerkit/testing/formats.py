"""Checks for formats and codecs of your own. They need no bus and no broker.

Call them from a test::

    from brokerkit.testing.formats import check_codec, check_format, message


    def test_my_format() -> None:
        sample = message(b'{"meta": {"kind": "Paid"}, "content": {"cents": 5}}')
        check_format(ACME, sample, name="Paid", payload={"cents": 5})
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any, Final

from brokerkit._errors import DecodeError
from brokerkit._messages._codecs import from_json
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._event_names import EventNames
from brokerkit._messages._headers import as_text
from brokerkit._messages._name_rules import compile_rules
from brokerkit._messages._outgoing import Outgoing
from brokerkit.formats import Codec, Format

_VALUES: Final[tuple[Any, ...]] = (None, True, 0, -1, 1.5, "", "text", b"", b"\xff", [], [1], {}, {"a": {"b": [None]}})


def message(
    body: bytes,
    *,
    headers: Mapping[str, str | bytes] | None = None,
    key: str | bytes | None = None,
    topic: str = "topic",
    routing_key: str | None = None,
    type: str | None = None,
) -> Delivery:
    """Make a message as an adapter would hand it to the core."""
    return Delivery(
        body=body,
        topic=topic,
        key=key,
        headers=dict(headers or {}),
        routing_key=routing_key,
        type=type,
    )


def check_format(format: Format, sample: Delivery, *, name: str, payload: Any) -> None:
    """Check that a format reads a sample, reads back what it writes, and that no bytes make it raise another error.

    Args:
        format: the format.
        sample: a message that its program wrote.
        name: the event name in the sample.
        payload: the event in the sample, as parsed JSON.

    Raises:
        AssertionError: it does not; the message says which check failed.
    """
    found = _read(format, sample)
    assert found == (name, payload), f"format {format.name}: the sample is read as {found!r}"
    for body in _bodies(sample.body or b""):
        broken = message(body, headers=sample.headers, routing_key=sample.routing_key, type=sample.type)
        try:
            _read(format, broken)
        except DecodeError:
            pass
        except Exception as error:
            raise AssertionError(f"format {format.name}: {body!r} raised {error!r} instead of DecodeError") from error
    if format.read_only or format.wrap is None:
        return
    written = Outgoing(topic="topic", body=json.dumps(payload).encode(), name=name, id="id-1")
    format.wrap(written, 0.0)
    event = (
        payload if format.payload is None else _payload(format, message(written.body or b"", headers=written.headers))
    )
    assert event == payload, f"format {format.name}: what it writes is read back as {event!r}"


def check_codec(codec: Codec, *samples: tuple[Any, Any]) -> None:
    """Check that a codec reads samples, reads back what it writes, and raises nothing but `DecodeError` for any value.

    Args:
        codec: the codec.
        samples: pairs of a value and what the codec makes of it.

    Raises:
        AssertionError: it does not; the message says which check failed.
    """
    for value, expected in samples:
        found = codec.decode(value)
        assert found == expected, f"codec {codec.name}: {value!r} is read as {found!r}"
        for broken in (*_bodies(value if isinstance(value, bytes) else b""), *_VALUES):
            try:
                codec.decode(broken)
            except DecodeError:
                pass
            except Exception as error:
                raise AssertionError(
                    f"codec {codec.name}: {broken!r} raised {error!r} instead of DecodeError"
                ) from error
        if codec.encode is not None:
            again = codec.decode(codec.encode(json.dumps(expected).encode()))
            again = from_json(again) if isinstance(again, (bytes, str)) and again != expected else again
            assert again == expected, f"codec {codec.name}: what it writes is read back as {again!r}"


def _read(format: Format, delivery: Delivery) -> tuple[str, Any]:
    found = as_text(compile_rules(format.name_from, what="name_from", fields_if=format.fields_if)(delivery) or "")
    name = found if isinstance(found, str) else found.decode(errors="backslashreplace")
    return EventNames({}, format.name_pattern).of(name), _payload(format, delivery)


def _payload(format: Format, delivery: Delivery) -> Any:
    found = format.payload(delivery) if format.payload is not None else delivery.body
    if not isinstance(found, (bytes, str)):
        return found
    try:
        return from_json(found)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not JSON: {error}") from error


def _bodies(sample: bytes) -> Iterator[bytes]:
    """The sample cut off and with single bytes changed, and bytes that have nothing to do with it."""
    chance = random.Random(0)
    yield from (b"", b"null", b"[]", b"{}", b'"text"', b"17", b"\xff\xfe", b"[" * 10_000)
    for _ in range(200):
        at = chance.randrange(len(sample) + 1)
        yield sample[:at]
        yield sample[:at] + bytes([chance.randrange(256)]) + sample[at + 1 :]
        yield chance.randbytes(chance.randrange(64))


__all__ = ["check_codec", "check_format", "message"]
