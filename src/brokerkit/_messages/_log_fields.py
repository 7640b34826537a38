"""What a log line about a message says of it, as fields beside its text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from brokerkit._logging import FIELDS
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import TRACEPARENT, header_text

Extra = dict[str, Callable[[], Mapping[str, object]]]


def about(delivery: Delivery | None, source: str = "", *, handler: str = "") -> Extra:
    """Return ``extra`` for a line about a message; see docs/observability.md. Fields are only made if the line is written.

    Args:
        delivery: the message; None where there is none, but could be.
        source: name of the source; "" where nobody knows it.
        handler: name of the handler; by default, the one that failed last.
    """
    return {FIELDS: partial(_fields, delivery, source, handler)}


def _fields(delivery: Delivery | None, source: str, handler: str) -> Mapping[str, object]:
    if delivery is None:
        return {"brokerkit_source": source}
    retry_state = delivery.retry_state
    fields: dict[str, object] = {
        "brokerkit_source": source,
        "brokerkit_topic": delivery.topic,
        "brokerkit_event": delivery.name,
        "brokerkit_id": delivery.origin,
        "brokerkit_attempt": 0 if retry_state is None else retry_state.failures,
        "brokerkit_handler": handler or (retry_state.handler if retry_state is not None else ""),
        "trace_id": (retry_state.trace_id if retry_state is not None else "") or _senders_trace(delivery),
    }
    # The position of a copy is one in a queue of brokerkit's own.
    if isinstance(position := delivery.position, tuple) and not delivery.is_ours:
        fields["brokerkit_partition"], fields["brokerkit_offset"] = position
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _senders_trace(delivery: Delivery) -> str:
    """Return the trace id that a message came with; "" if it came with none."""
    version, _, rest = (header_text(delivery.headers, TRACEPARENT) or "").partition("-")
    trace, _, _ = rest.partition("-")
    is_one = len(version) == 2 and len(trace) == 32 and trace.strip("0123456789abcdef") == "" and trace.strip("0")
    return trace if is_one else ""
