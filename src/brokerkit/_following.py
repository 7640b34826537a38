"""What follows from what: the headers by which a message tells which one its publisher was handling.

brokerkit makes no spans. It forwards the trace context of others (W3C Trace Context, https://www.w3.org/TR/trace-context/,
section 2.3): both headers as they came, unread (3.2.4), and no state without the parent that it belongs to (4.2).
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from brokerkit._message import CAUSATION, CORRELATION, TRACEPARENT, TRACESTATE, Delivery, Headers, header_text

HANDLED: Final[ContextVar[Delivery | None]] = ContextVar("brokerkit_handled", default=None)
"""What the handler that runs here is handling. Tasks and threads that it starts see it too."""


def following(headers: Headers | None) -> Headers:
    """The headers of something that is published here: those of its publisher, and where it comes from."""
    handled = HANDLED.get()
    if handled is None:
        return headers or {}
    found: dict[str, str | bytes] = {}
    came, origin = handled.headers, handled.origin
    # A state belongs to the parent beside it, and never to another one.
    if TRACEPARENT in came and not (headers and TRACEPARENT in headers):
        found[TRACEPARENT] = came[TRACEPARENT]
        if TRACESTATE in came:
            found[TRACESTATE] = came[TRACESTATE]
    if (correlation := header_text(came, CORRELATION) or origin) is not None:
        found[CORRELATION] = correlation
    if origin is not None:
        found[CAUSATION] = origin
    return {**found, **headers} if headers else found
