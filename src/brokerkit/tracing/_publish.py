"""Spans of messages that are published."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Tracer

from brokerkit._errors import BrokerkitError
from brokerkit._guard import guarded
from brokerkit._messages._headers import CORRELATION, header_text
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._metrics import _instruments as names
from brokerkit._status._spans import Results
from brokerkit.tracing._broken import Broken
from brokerkit.tracing._context import context_of, span_of, with_context
from brokerkit.tracing._process import Attributes, kafka_attributes, record

_PUBLISH: Final = "publish"
_CREATE: Final = "create"
_SEND: Final = "send"


class PublishSpans:
    """Makes the spans of one target; see `brokerkit._status._spans.TargetSpans`.

    Args:
        tracer: makes spans.
        topic: where everything is published to.
        shared: attributes that all of them have.
        propagates: whether messages carry the context of their span.
        create_spans: whether each message of a batch has a span of its own.
    """

    def __init__(
        self, tracer: Tracer, topic: str, shared: Mapping[str, str | int], *, propagates: bool, create_spans: bool
    ) -> None:
        self._start = tracer.start_span
        self._propagates = propagates
        self._create_spans = create_spans
        self._system = shared[names.SYSTEM]
        every: Attributes = {**shared, names.DESTINATION: topic}
        self._publish_name, self._create_name = f"{_PUBLISH} {topic}", f"{_CREATE} {topic}"
        self._publish: Attributes = {**every, names.OPERATION: _PUBLISH, names.OPERATION_TYPE: _SEND}
        self._broken = Broken(f"target {shared[names.TARGET]}")
        self._create: Attributes = {**every, names.OPERATION: _CREATE, names.OPERATION_TYPE: _CREATE}

    def __repr__(self) -> str:
        return f"<PublishSpans of {self._publish[names.TARGET]}>"

    def create(self, outgoing: Outgoing) -> None:
        """Make the span of a message that is kept before it is sent, and write its context into the message."""
        try:
            if self._given(outgoing) is None:
                self._created(outgoing)
        except Exception as error:  # noqa: BLE001 (a sampler or processor of the program must not touch messages)
            self._broken(error)

    def send(self, batch: Sequence[Outgoing], send: Callable[[Sequence[Outgoing]], Results]) -> Results:
        """Send messages inside a span, with its context in each that has none."""
        try:
            span = self._begin(batch)
            is_recording = span.is_recording()
        except Exception as error:  # noqa: BLE001
            self._broken(error)
            return send(batch)
        sent = send(batch)  # an error that it raises itself is one of the program: nothing was sent
        if is_recording:
            sent.add_done_callback(guarded(partial(self._end, span), self._broken))
        return sent

    def _begin(self, batch: Sequence[Outgoing]) -> Span:
        """Return the span of a call, after each of its messages has got its context."""
        given = [self._given(outgoing) for outgoing in batch]
        if len(batch) > 1 and self._create_spans:
            given = [self._created(one) if came is None else came for one, came in zip(batch, given, strict=True)]
        # A context that the call's span does not give may not be given by any.
        gives = None in given
        span = self._start(
            self._publish_name,
            None,
            SpanKind.PRODUCER if gives else SpanKind.CLIENT,
            self._publish,
            [Link(context) for context in given if context is not None and context.trace_flags.sampled],
        )
        if gives and self._propagates:
            context = span.get_span_context()
            for outgoing, came in zip(batch, given, strict=True):
                if came is None and context.is_valid:
                    outgoing.headers = with_context(outgoing.headers, context)
        if span.is_recording():
            if len(batch) == 1:
                self._describe(span, batch[0])
            else:
                span.set_attribute(names.BATCH, len(batch))
        return span

    def _given(self, outgoing: Outgoing) -> SpanContext | None:
        """Return the context that a message has already: the publisher's, or that of when it was created."""
        return span_of(context_of(outgoing.headers))

    def _created(self, outgoing: Outgoing) -> SpanContext:
        """Make the span of one message among others, and return its context."""
        span = self._start(self._create_name, None, SpanKind.PRODUCER, self._create)
        context = span.get_span_context()
        if self._propagates and context.is_valid:
            outgoing.headers = with_context(outgoing.headers, context)
        if span.is_recording():
            self._describe(span, outgoing)
            span.end()
        return context

    def _describe(self, span: Span, outgoing: Outgoing) -> None:
        found: Attributes = {names.MESSAGE_ID: outgoing.id, names.EVENT: outgoing.name}
        if (conversation := header_text(outgoing.headers, CORRELATION)) is not None:
            found[names.CONVERSATION] = conversation
        if self._system == "kafka":
            found |= kafka_attributes(outgoing.key, outgoing.body)
        elif self._system == "rabbitmq" and (routing_key := outgoing.routing_key or outgoing.name):
            found[names.ROUTING_KEY] = routing_key
        span.set_attributes(found)

    def _end(self, span: Span, sent: asyncio.Future[list[Receipt | BrokerkitError]]) -> None:
        if sent.cancelled():
            record(span, asyncio.CancelledError("the publisher was cancelled; the message may have been sent"))
        elif (error := sent.exception()) is not None:
            record(span, error)
        else:
            self._conclude(span, sent.result())
        span.end()

    def _conclude(self, span: Span, results: Sequence[Receipt | BrokerkitError]) -> None:
        errors = [result for result in results if isinstance(result, BrokerkitError)]
        if errors:
            record(span, errors[0])
        elif self._system == "kafka" and len(results) == 1:
            receipt = results[0]
            if isinstance(receipt, Receipt) and receipt.position is not None:
                partition, _, offset = receipt.position.partition("@")
                span.set_attributes({names.PARTITION: partition, names.KAFKA_OFFSET: int(offset)})
