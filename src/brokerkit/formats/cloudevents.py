"""CloudEvents 1.0: the default for what brokerkit publishes itself.

Binary mode puts each attribute into a header ``ce_NAME`` and leaves the body to the payload, as the Kafka protocol binding
does (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md). The same headers
are used on every broker, because CloudEvents defines no binding for AMQP 0-9-1, SQS or Redis. Others write ``ce-NAME`` (the
HTTP binding, and the Python SDK's RabbitMQ module), ``cloudEvents:NAME`` or ``cloudEvents_NAME`` (the AMQP 1.0 binding, and
its variant for JMS). Structured mode is one JSON object that holds attributes and payload, for places without headers. All
are read, whichever is written.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, cast

from brokerkit._errors import DecodeError, InvalidMessage
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import as_text
from brokerkit._messages._name_rules import parsed
from brokerkit._messages._outgoing import Outgoing
from brokerkit.formats._format import Format, Wrap

STRUCTURED_TYPE: Final = "application/cloudevents+json"
PREFIXES: Final = ("ce_", "ce-", "cloudEvents_", "cloudEvents:")
_FIXED: Final = ("specversion", "type", "id")
"""Attributes by which readers know an event."""
_REQUIRED: Final = {"specversion", "type", "source", "id"}


def payload(delivery: Delivery) -> Any:
    """The payload: the body in binary mode; ``data`` (or ``data_base64``, decoded) in structured mode."""
    if not _is_structured(delivery):
        return delivery.body
    body = parsed(delivery)
    if (count := len(_batch(body))) > 1:
        # A message is handled, retried and acknowledged as one.
        raise DecodeError(f"a batch of {count} CloudEvents; a message can hold one event")
    event = _event(body)
    if "data_base64" in event:
        try:
            return base64.b64decode(event["data_base64"], validate=True)
        except (ValueError, TypeError) as error:
            raise DecodeError("not base64", field="data_base64", value=event["data_base64"]) from error
    return event.get("data")


def make_wrap(prefix: str) -> Wrap:
    """Return the function that adds the attributes as headers, those aside that are given."""
    fixed_headers = frozenset(prefix + name for name in _FIXED)

    def wrap_binary(outgoing: Outgoing, now: float) -> None:
        made = _attributes(outgoing, now, prefix=prefix)
        if not fixed_headers.isdisjoint(outgoing.headers):
            for fixed in fixed_headers:
                _refuse_other(outgoing, fixed, made[fixed])
        outgoing.headers = {**made, **outgoing.headers}
        outgoing.content_type = outgoing.content_type or "application/json"

    return wrap_binary


def wrap_structured(outgoing: Outgoing, now: float) -> None:
    """Put attributes and payload into one JSON object."""
    for prefix in PREFIXES:
        _refuse_other(outgoing, f"{prefix}specversion", None)  # by which readers take it for the binary mode
    declared = outgoing.content_type
    if declared and declared.partition(";")[0] not in ("application/json", STRUCTURED_TYPE):
        raise InvalidMessage(f"a CloudEvent in structured mode has no content type of its own, here {declared!r:.100}")
    head = json.dumps({**_attributes(outgoing, now), "datacontenttype": "application/json"}, ensure_ascii=False)
    try:
        json.loads(outgoing.body or b"null")
        data = b',"data":' + (outgoing.body or b"null")  # spliced, so that its numbers stay as they were written
    except (ValueError, RecursionError):
        data = b',"data_base64":"' + base64.b64encode(outgoing.body or b"") + b'"'
    outgoing.body = head.encode()[:-1] + data + b"}"
    outgoing.content_type = STRUCTURED_TYPE


def _refuse_other(outgoing: Outgoing, header: str, value: str | None) -> None:
    """Refuse a header by which readers would find something else than what is published."""
    given = outgoing.headers.get(header)
    if given is not None and as_text(given) != value:
        raise InvalidMessage(f"header {header!r} is written by the format, and cannot be {as_text(given)!r:.100} here")


def _attributes(outgoing: Outgoing, now: float, *, prefix: str = "") -> dict[str, str]:
    return {
        f"{prefix}specversion": "1.0",
        f"{prefix}type": outgoing.name,
        f"{prefix}source": f"/{outgoing.topic}",
        f"{prefix}id": outgoing.id,
        f"{prefix}time": datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z"),
    }


def _is_structured(delivery: Delivery) -> bool:
    """Whether the body is the whole event, which its required attributes say.

    The content type does not: Dapr writes text/plain, the Python SDK application/json on Kafka.
    """
    headers = delivery.headers
    if "ce_specversion" in headers or any(prefix + "specversion" in headers for prefix in PREFIXES[1:]):
        return False
    return _event(parsed(delivery)) is not None


def _event(body: Any) -> Any:
    """The event in a body: an object, or the first one in a batch; None if the body is none."""
    first: Any = next(iter(_batch(body)), body)
    is_event = isinstance(first, dict) and set(cast("dict[str, Any]", first)) >= _REQUIRED
    return cast("Any", first) if is_event else None


def _batch(body: Any) -> list[Any]:
    """The elements of a list; none of anything else."""
    return cast("list[Any]", body) if isinstance(body, list) else []  # type: ignore[redundant-cast]


CLOUDEVENTS: Final = Format(
    name="cloudevents",
    name_from=(*(f"header:{prefix}type" for prefix in PREFIXES), "field:type", "field:0.type"),
    id_from=(*(f"header:{prefix}id" for prefix in PREFIXES), "field:id", "field:0.id"),
    fields_if=_is_structured,
    payload=payload,
    wrap=make_wrap("ce_"),
    writes_name=True,
)
CLOUDEVENTS_STRUCTURED: Final = replace(
    CLOUDEVENTS,
    name="cloudevents-structured",
    name_from=("field:type", "field:0.type", *(f"header:{prefix}type" for prefix in PREFIXES)),
    id_from=("field:id", "field:0.id", *(f"header:{prefix}id" for prefix in PREFIXES)),
    wrap=wrap_structured,
)


def _first(prefix: str) -> Format:
    """The same in binary mode, with another prefix written and looked for first."""
    others = tuple(other for other in PREFIXES if other != prefix)
    return replace(
        CLOUDEVENTS,
        name=f"cloudevents-{'http' if prefix == 'ce-' else 'amqp'}",
        name_from=(*(f"header:{each}type" for each in (prefix, *others)), "field:type", "field:0.type"),
        id_from=(*(f"header:{each}id" for each in (prefix, *others)), "field:id", "field:0.id"),
        wrap=make_wrap(prefix),
    )


CLOUDEVENTS_HTTP: Final = _first("ce-")
CLOUDEVENTS_AMQP: Final = _first("cloudEvents_")
