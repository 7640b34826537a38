"""What follows from what: the headers by which a message tells which one its publisher was handling.

brokerkit makes no spans. It hands on the trace context of others, as the W3C's Trace Context asks of whoever does not
take part in a trace (https://www.w3.org/TR/trace-context/, section 2.5): both headers, as they came.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from brokerkit._message import CAUSATION, CORRELATION, Delivery, Headers

HANDLED: Final[ContextVar[Delivery | None]] = ContextVar("brokerkit_handled", default=None)
"""What the handler that runs here is handling. Tasks and threads that it starts see it too."""

_TRACE: Final = ("traceparent", "tracestate")


def following(headers: Headers | None) -> Headers:
    """The headers of something that is published here: those of its publisher, and where it comes from."""
    handled = HANDLED.get()
    if handled is None:
        return headers or {}
    found: dict[str, str | bytes] = {name: handled.headers[name] for name in _TRACE if name in handled.headers}
    origin = handled.origin
    if (correlation := handled.headers.get(CORRELATION) or origin) is not None:
        found[CORRELATION] = correlation
    if origin is not None:
        found[CAUSATION] = origin
    if headers and "traceparent" in headers:
        # The state belongs to the parent beside it, and never to another one (Trace Context, section 3.3).
        found.pop("tracestate", None)
    return {**found, **headers} if headers else found
