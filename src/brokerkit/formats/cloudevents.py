"""CloudEvents 1.0: the default for what brokerkit publishes itself.

Binary mode puts each attribute into a header ``ce_NAME`` and leaves the body to the payload, as the Kafka protocol binding
does (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md). The same headers
are used on every broker, because CloudEvents defines no binding for AMQP 0-9-1, SQS or Redis. Structured mode is one
JSON object that holds attributes and payload, for places without headers. Both are read, whichever is written.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from brokerkit._errors import DecodeError
from brokerkit._message import CONTENT_TYPE, Delivery, Outgoing, header_text
from brokerkit._rules import parsed
from brokerkit.formats._format import Format

STRUCTURED_TYPE: Final = "application/cloudevents+json"


def payload(delivery: Delivery) -> Any:
    """The payload: the body in binary mode; ``data`` (or ``data_base64``, decoded) in structured mode."""
    if not _is_structured(delivery):
        return delivery.body
    event = parsed(delivery)
    if "data_base64" in event:
        try:
            return base64.b64decode(event["data_base64"], validate=True)
        except (ValueError, TypeError) as error:
            raise DecodeError("not base64", field="data_base64", value=event["data_base64"]) from error
    return event.get("data")


def wrap_binary(outgoing: Outgoing, now: float) -> None:
    """Add the attributes as headers."""
    outgoing.headers = {**_attributes(outgoing, now, prefix="ce_"), **outgoing.headers}
    outgoing.content_type = "application/json"


def wrap_structured(outgoing: Outgoing, now: float) -> None:
    """Put attributes and payload into one JSON object."""
    head = json.dumps({**_attributes(outgoing, now), "datacontenttype": "application/json"}, ensure_ascii=False)
    try:
        json.loads(outgoing.body or b"null")
        data = b',"data":' + (outgoing.body or b"null")  # spliced, so that its numbers stay as they were written
    except (ValueError, RecursionError):
        data = b',"data_base64":"' + base64.b64encode(outgoing.body or b"") + b'"'
    outgoing.body = head.encode()[:-1] + data + b"}"
    outgoing.content_type = STRUCTURED_TYPE


def _attributes(outgoing: Outgoing, now: float, *, prefix: str = "") -> dict[str, str]:
    return {
        f"{prefix}specversion": "1.0",
        f"{prefix}type": outgoing.name,
        f"{prefix}source": f"/{outgoing.topic}",
        f"{prefix}id": outgoing.id,
        f"{prefix}time": datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z"),
    }


def _is_structured(delivery: Delivery) -> bool:
    """Whether the body is the whole event: said by the content type, else by the required attributes."""
    if "ce_specversion" in delivery.headers:
        return False
    declared = header_text(delivery.headers, CONTENT_TYPE)
    if declared is not None and not declared.lower().startswith(STRUCTURED_TYPE):
        return False
    event = parsed(delivery)
    return isinstance(event, dict) and {"specversion", "type", "source", "id"} <= event.keys()


CLOUDEVENTS: Final = Format(
    name="cloudevents",
    name_from=("header:ce_type", "field:type"),
    id_from=("header:ce_id", "field:id"),
    fields_if=_is_structured,
    payload=payload,
    wrap=wrap_binary,
    writes_name=True,
)
CLOUDEVENTS_STRUCTURED: Final = replace(
    CLOUDEVENTS,
    name="cloudevents-structured",
    name_from=("field:type", "header:ce_type"),
    id_from=("field:id", "header:ce_id"),
    wrap=wrap_structured,
)
