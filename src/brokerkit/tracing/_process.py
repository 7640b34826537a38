"""Spans of messages that are handled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.context import Context, attach
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, format_trace_id, set_span_in_context

from brokerkit._consuming._failure import is_failure
from brokerkit._consuming._routes import route_of
from brokerkit._errors import describe
from brokerkit._logging import excerpt
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import as_text, correlation_of
from brokerkit._metrics import _instruments as names
from brokerkit._status._spans import Outcome
from brokerkit.tracing._broken import Broken
from brokerkit.tracing._context import context_of, span_of

_NOBODY: Final = Context()
_PROCESS: Final = "process"
_MOST_TOPICS: Final = 1_000
"""How many topics have their attributes made beforehand: those of a pattern can be any number."""
_LONGEST_TRACEBACK: Final = 16_384

Attributes = dict[str, str | int]


class ProcessSpans:
    """Makes the spans of one source; see `brokerkit._status._spans.SourceSpans`.

    Args:
        tracer: makes spans.
        topics: the topics that are read, or patterns of them.
        shared: attributes that all of them have.
        same_trace: whether the sender's span is the parent.
    """

    def __init__(
        self, tracer: Tracer, topics: Sequence[str], shared: Mapping[str, str | int], *, same_trace: bool
    ) -> None:
        self._start = tracer.start_span
        self._topics = frozenset(topics)
        self._shared = {**shared, names.OPERATION: _PROCESS, names.OPERATION_TYPE: _PROCESS}
        self._system = shared[names.SYSTEM]
        self._same_trace = same_trace
        self._known: dict[str, tuple[str, Attributes]] = {}
        self._running: dict[Delivery, Span] = {}
        self._broken = Broken(f"source {shared[names.SOURCE]}")

    def __repr__(self) -> str:
        return f"<ProcessSpans of {self._shared[names.SOURCE]}: {len(self._running)} running>"

    def begin(self, delivery: Delivery) -> None:
        """Begin the span of an attempt, and make it the current one of this context."""
        try:
            sent = context_of(delivery.headers)
            name, attributes = self._known.get(delivery.topic) or self._learn(delivery.topic)
            # What is set at the beginning is there for samplers, and made once. The rest is only made if it is recorded.
            span = self._start(name, sent if self._same_trace else _NOBODY, SpanKind.CONSUMER, attributes)
            attach(set_span_in_context(span, _NOBODY))
            if span.is_recording():
                self._running[delivery] = span
                if (sender := span_of(sent)) is not None:
                    span.add_link(sender)
                self._describe(span, delivery)
        except Exception as error:  # noqa: BLE001 (a sampler or processor of the program must not touch messages)
            attach(_NOBODY)  # not that of the message before
            self._broken(error)

    def begin_many(self, deliveries: Sequence[Delivery]) -> None:
        """Begin the spans of an attempt of a batch, and make none of them the current one."""
        for delivery in deliveries:
            self.begin(delivery)
        attach(_NOBODY)

    def _learn(self, topic: str) -> tuple[str, Attributes]:
        # A name with a topic that only a pattern names could be any of a million.
        name = f"{_PROCESS} {topic}" if topic in self._topics else f"{_PROCESS} {','.join(sorted(self._topics))}"
        learnt: tuple[str, Attributes] = (name, {**self._shared, names.DESTINATION: topic})
        if len(self._known) < _MOST_TOPICS:
            self._known[topic] = learnt
        return learnt

    def _describe(self, span: Span, delivery: Delivery) -> None:
        retry_state, calls = delivery.retry_state, route_of(delivery).calls
        found: Attributes = {
            names.EVENT: delivery.name,
            names.ATTEMPT: 1 if retry_state is None else retry_state.failures + 1,
        }
        if len(calls) == 1:
            found[names.HANDLER] = calls[0].handler.name
        if (id := delivery.origin) is not None:
            found[names.MESSAGE_ID] = id
        if (conversation := correlation_of(delivery.headers)) is not None:
            found[names.CONVERSATION] = conversation
        if self._system == "kafka":
            found |= kafka_attributes(delivery.key, delivery.body)
            # The position of a retry is one in a topic of brokerkit's own.
            if isinstance(position := delivery.position, tuple) and not delivery.is_ours:
                found[names.PARTITION], found[names.KAFKA_OFFSET] = str(position[0]), position[1]
        elif self._system == "rabbitmq" and delivery.routing_key:
            found[names.ROUTING_KEY] = delivery.routing_key
        span.set_attributes(found)

    def trace_id(self, delivery: Delivery) -> str:
        """Return the trace id of the span of a running attempt, as 32 hexadecimal digits; "" where it is not recorded."""
        span = self._running.get(delivery)
        return "" if span is None else format_trace_id(span.get_span_context().trace_id)

    def end(self, delivery: Delivery) -> None:
        """End the span of an attempt that did not fail."""
        if (span := self._running.pop(delivery, None)) is not None:
            try:
                span.end()
            except Exception as error:  # noqa: BLE001
                self._broken(error)

    def fail(self, delivery: Delivery, error: BaseException, outcome: Outcome, *, wait: float | None) -> None:
        """End the span of an attempt that failed, or that was given up."""
        if (span := self._running.pop(delivery, None)) is not None:
            try:
                self._fail(span, delivery, error, outcome, wait)
            except Exception as broken:  # noqa: BLE001
                self._broken(broken)

    def _fail(self, span: Span, delivery: Delivery, error: BaseException, outcome: Outcome, wait: float | None) -> None:
        span.set_attribute(names.OUTCOME, outcome)
        if wait is not None:
            span.set_attribute(names.RETRY_WAIT, wait)
        if is_failure(error):
            if handler := delivery.need_retry_state().handler:
                span.set_attribute(names.HANDLER, handler)
            record(span, error)
        span.end()


def record(span: Span, error: BaseException) -> None:
    """Write an error into a span, with the traceback that a log would have."""
    kind, text = type(error).__qualname__, describe(error)
    event = {"exception.type": kind, "exception.message": text}
    if frames := excerpt(error, size=_LONGEST_TRACEBACK):
        event["exception.stacktrace"] = frames
    span.set_attribute(names.ERROR_TYPE, kind)
    span.add_event("exception", event)
    span.set_status(Status(StatusCode.ERROR, text))


def kafka_attributes(key: str | bytes | None, body: bytes | None) -> Attributes:
    """Return the attributes that only messages of Kafka have."""
    found: Attributes = {}
    if isinstance(text := None if key is None else as_text(key), str):
        found[names.KAFKA_KEY] = text
    if body is None:
        found[names.KAFKA_TOMBSTONE] = True
    return found
