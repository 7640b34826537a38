"""A tracer provider that keeps its spans, and a way to look at them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler
from opentelemetry.trace import SpanContext, format_span_id, format_trace_id

from brokerkit import Bus, RetryPolicy
from brokerkit.tracing import instrument
from tests.every_broker import Broker

NAME = "OnPlayerSeatedDown"
FAST = RetryPolicy(attempts=2, first=0.01, cap=0.02)
SENDER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SENDER_TRACE, SENDER_SPAN = int(SENDER[3:35], 16), int(SENDER[36:52], 16)


class Spans:
    """A provider, and what it has exported.

    Attributes:
        provider: gives its spans to memory.
    """

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.provider = TracerProvider(
            sampler=None if sampler is None else ParentBased(sampler), shutdown_on_exit=False
        )
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def named(self, name: str) -> list[ReadableSpan]:
        """The finished spans whose names begin like this, in the order of their ends."""
        return [span for span in self._exporter.get_finished_spans() if span.name.startswith(name)]


def traced(memory: Broker, spans: Spans, *, options: dict[str, Any] | None = None, **settings: Any) -> Bus:
    bus = memory.bus(retry=FAST, **settings)
    instrument(bus, tracer_provider=spans.provider, **(options or {}))
    return bus


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def context_of(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context


def trace_of(span: ReadableSpan) -> int:
    return context_of(span).trace_id


def id_of(span: ReadableSpan) -> int:
    return context_of(span).span_id


def links(span: ReadableSpan) -> list[int]:
    """The ids of the spans that a span links to."""
    return [link.context.span_id for link in span.links]


def parent_header(span: ReadableSpan) -> str:
    """The ``traceparent`` that carries a span."""
    context = context_of(span)
    return f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{context.trace_flags:02x}"
