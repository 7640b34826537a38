"""Headers that say which message was being handled when a message was published.

Without `brokerkit.tracing`, brokerkit makes no spans. It forwards the trace context of others (W3C Trace Context,
https://www.w3.org/TR/trace-context/, section 2.3): both headers unchanged and unread (3.2.4), and no state without its
parent (4.2).
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import CAUSATION, CORRELATION, TRACEPARENT, TRACESTATE, Headers, correlation_of

HANDLED: Final[ContextVar[Delivery | None]] = ContextVar("brokerkit_handled", default=None)
"""The delivery that the current handler handles. Tasks and threads that the handler starts see it too."""


def following(headers: Headers | None, *, trace: bool = True) -> Headers:
    """Return the headers for a message published here: the publisher's, and those that say what it follows from.

    Args:
        headers: the publisher's.
        trace: whether the trace context is forwarded; not where a span writes its own.
    """
    handled = HANDLED.get()
    if handled is None:
        return headers or {}
    found: dict[str, str | bytes] = {}
    came, origin = handled.headers, handled.origin
    # A state belongs only to the parent that it came with.
    if trace and TRACEPARENT in came and not (headers and TRACEPARENT in headers):
        found[TRACEPARENT] = came[TRACEPARENT]
        if TRACESTATE in came:
            found[TRACESTATE] = came[TRACESTATE]
    if (correlation := correlation_of(came) or origin) is not None:
        found[CORRELATION] = correlation
    if origin is not None:
        found[CAUSATION] = origin
    return {**found, **headers} if headers else found
