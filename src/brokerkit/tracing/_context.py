"""Trace context (W3C) in the headers of messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanContext, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from brokerkit._messages._headers import TRACEPARENT, TRACESTATE, Headers

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_NOBODY: Final = Context()


class _Headers(Getter[Mapping[str, str | bytes]]):
    """Reads headers, whose values may be bytes."""

    def __repr__(self) -> str:
        return "<_Headers>"

    def get(self, carrier: Mapping[str, str | bytes], key: str) -> list[str] | None:
        """Return the values of a header; None if there is none."""
        value = carrier.get(key)
        if value is None:
            return None
        return [value.decode(errors="replace") if isinstance(value, bytes) else value]

    def keys(self, carrier: Mapping[str, str | bytes]) -> list[str]:
        """Return the names of the headers."""
        return list(carrier)


_GETTER: Final = _Headers()


def context_of(headers: Headers) -> Context:
    """Return the context that a message came with; an empty one if it came with none, or with one that is not valid."""
    return _PROPAGATOR.extract(headers, _NOBODY, _GETTER) if TRACEPARENT in headers else _NOBODY


def span_of(context: Context) -> SpanContext | None:
    """Return the span of a context; None if there is none."""
    if context is _NOBODY:
        return None
    found = get_current_span(context).get_span_context()
    return found if found.is_valid else None


def with_context(headers: Headers, span: SpanContext) -> Headers:
    """Return headers with the context of a span."""
    parent = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
    if span.trace_state:
        return {**headers, TRACEPARENT: parent, TRACESTATE: span.trace_state.to_header()}
    return {**headers, TRACEPARENT: parent}
