"""Which spans a bus makes, how they belong together, and that their names are those of the conventions."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from brokerkit import Bus, ConfigError, Message, Reject
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.tracing import instrument
from tests import every_broker
from tests.every_broker import Broker, until
from tests.tracing.spans import (
    NAME,
    SENDER,
    SENDER_SPAN,
    SENDER_TRACE,
    Spans,
    attributes,
    context_of,
    id_of,
    links,
    parent_header,
    trace_of,
    traced,
)


@pytest.fixture
def memory() -> Broker:
    return every_broker.memory()


@pytest.fixture
def spans() -> Spans:
    return Spans()


async def handled(bus: Bus, *published: Any, count: int = 1, **options: Any) -> list[Message]:
    """Publish to a bus whose handler notes messages; return them when as many are handled or dead letters."""
    got: list[Message] = []

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        got.append(message)

    async with asyncio.timeout(30), bus, bus.serving():
        for each in published or [OnPlayerSeatedDown(player_id=1)]:
            await bus.publish(each, **options)
        await until(lambda: bus.stats["bus"].handled + bus.stats["bus"].dead_lettered == count)
    return got


# ---- one message -------------------------------------------------------------------------------------------------


async def test_a_publish_and_the_handling_of_its_message_are_one_trace(memory: Broker, spans: Spans) -> None:
    bus = traced(memory, spans)
    [message] = await handled(bus, key="k")
    [sent], [processed] = spans.named("publish"), spans.named("process")
    assert (sent.name, sent.kind) == (f"publish {memory.topic()}", SpanKind.PRODUCER)
    assert (processed.name, processed.kind) == (f"process {memory.topic()}", SpanKind.CONSUMER)
    assert message.headers["traceparent"] == parent_header(sent)
    assert trace_of(sent) == trace_of(processed)
    assert processed.parent is not None
    assert processed.parent.span_id == id_of(sent)
    assert links(processed) == [id_of(sent)]
    both = {"messaging.system": "memory", "messaging.destination.name": memory.topic(), "brokerkit.event": NAME}
    assert attributes(sent) == {
        **both,
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.message.id": message.id,
        "brokerkit.target": "bus",
    }
    assert attributes(processed) == {
        **both,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": message.id,
        "messaging.consumer.group.name": "wallet",
        "brokerkit.source": "bus",
        "brokerkit.handler": f"{__name__}.handled.<locals>.handle",
        "brokerkit.attempt": 1,
    }


async def test_a_handler_may_begin_a_trace_of_its_own_that_links_to_the_sender(memory: Broker, spans: Spans) -> None:
    await handled(traced(memory, spans, options={"same_trace": False}))
    [sent], [processed] = spans.named("publish"), spans.named("process")
    assert processed.parent is None
    assert trace_of(sent) != trace_of(processed)
    assert links(processed) == [id_of(sent)]


@pytest.mark.parametrize("sender", ["", "00-0-0-00", "ff" + SENDER[2:], b"\xff"], ids=repr)
async def test_a_sender_without_a_valid_context_is_no_parent(memory: Broker, spans: Spans, sender: Any) -> None:
    [message] = await handled(
        traced(memory, spans, propagate=False), Message(NAME, b"{}", headers={"traceparent": sender} if sender else {})
    )
    assert message.headers.get("traceparent", "") == (sender if sender != b"\xff" else b"\xff")
    [processed] = spans.named("process")
    assert (processed.parent, links(processed)) == (None, [])


async def test_a_context_that_the_publisher_gives_is_kept_and_linked(memory: Broker, spans: Spans) -> None:
    headers = {"traceparent": SENDER, "tracestate": "congo=t61"}
    [message] = await handled(traced(memory, spans), headers=headers)
    assert {name: message.headers[name] for name in headers} == headers
    [sent], [processed] = spans.named("publish"), spans.named("process")
    assert (sent.kind, sent.parent, links(sent)) == (SpanKind.CLIENT, None, [SENDER_SPAN])
    assert trace_of(processed) == SENDER_TRACE
    state = context_of(processed).trace_state
    assert state.to_header() == "congo=t61"


@pytest.mark.parametrize("plain", [False, True], ids=["coroutine", "thread"])
async def test_the_span_is_current_in_the_handler_and_is_the_parent_of_what_it_publishes(
    memory: Broker, spans: Spans, plain: bool
) -> None:
    bus = traced(memory, spans)
    current: list[trace.Span] = []

    def note(event: OnPlayerSeatedDown) -> None:
        current.append(trace.get_current_span())

    if plain:

        @bus.on(NAME)
        def handle(event: OnPlayerSeatedDown) -> None:
            note(event)
    else:

        @bus.on(NAME)
        async def handle_async(event: OnPlayerSeatedDown, message: Message) -> None:
            note(event)
            if event.player_id == 1:
                with spans.provider.get_tracer("user").start_as_current_span("inner"):
                    await bus.publish(OnPlayerSeatedDown(player_id=2))

    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1))
        await until(lambda: bus.stats["bus"].handled == (1 if plain else 2))
    processed = spans.named("process")
    ids = [id_of(span) for span in processed]
    assert [span.get_span_context().span_id for span in current] == ids
    if not plain:
        [inner], [first, second] = spans.named("inner"), spans.named("publish")
        assert second.parent is not None
        assert second.parent.span_id == id_of(inner)
        assert inner.parent is not None
        assert inner.parent.span_id == ids[0]
        assert {trace_of(span) for span in (*processed, inner, first, second)} == {trace_of(first)}
        assert (
            attributes(processed[1])["messaging.message.conversation_id"] == attributes(first)["messaging.message.id"]
        )


async def test_no_span_of_a_message_is_left_for_the_next_one(memory: Broker, spans: Spans) -> None:
    published = [Message(NAME, b"{}", headers={"traceparent": SENDER}), Message(NAME, b"{}")]
    await handled(traced(memory, spans, propagate=False, concurrency=1), *published, count=2)
    first, second = spans.named("process")
    assert (trace_of(first), second.parent) == (SENDER_TRACE, None)


# ---- failures ----------------------------------------------------------------------------------------------------


async def test_failed_attempts_have_their_error_and_what_becomes_of_the_message(memory: Broker, spans: Spans) -> None:
    bus = traced(memory, spans)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        raise LookupError("no \nluck")

    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1))
        await until(lambda: bus.stats["bus"].dead_lettered == 1)
    first, second = spans.named("process")
    for number, (span, outcome) in enumerate(((first, "retry"), (second, "dead_letter")), 1):
        found = attributes(span)
        assert found["error.type"] == "LookupError"
        assert (found["brokerkit.attempt"], found["brokerkit.outcome"]) == (number, outcome)
        assert found["brokerkit.handler"].endswith("handle")
        assert ("brokerkit.retry.wait" in found) == (outcome == "retry")
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "no \nluck")
        [event] = span.events
        assert event.name == "exception"
        assert event.attributes is not None
        assert event.attributes["exception.type"] == "LookupError"
        assert "raise LookupError" in str(event.attributes["exception.stacktrace"])
        assert "_executor.py" not in str(event.attributes["exception.stacktrace"])
    assert trace_of(first) == trace_of(second)
    assert links(first) == links(second)


async def test_a_dead_letter_that_is_replayed_is_in_the_trace_of_its_message(memory: Broker, spans: Spans) -> None:
    bus, mended = traced(memory, spans), asyncio.Event()

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        if not mended.is_set():
            raise Reject("not yet")

    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1))
        await until(lambda: bus.stats["bus"].dead_lettered == 1)
        mended.set()
        await bus.dead_letters().replay()
        await until(lambda: bus.stats["bus"].handled == 1)
    [sent], processed = spans.named("publish"), spans.named("process")
    assert [attributes(span).get("brokerkit.outcome") for span in processed] == ["dead_letter", None]
    assert {trace_of(span) for span in processed} == {trace_of(sent)}
    assert attributes(processed[1])["messaging.message.id"] == attributes(sent)["messaging.message.id"]


async def test_a_body_that_does_not_fit_is_an_error_of_the_span(memory: Broker, spans: Spans) -> None:
    await handled(traced(memory, spans), Message(NAME, b"no json"))
    [processed] = spans.named("process")
    assert attributes(processed)["error.type"] == "DecodeError"
    assert attributes(processed)["brokerkit.outcome"] == "dead_letter"


async def test_a_handler_that_a_stop_ends_has_released_its_message(memory: Broker, spans: Spans) -> None:
    bus, begun = traced(memory, spans, stop_timeout=0.1), asyncio.Event()

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1))
        await begun.wait()
    [processed] = spans.named("process")
    assert attributes(processed)["brokerkit.outcome"] == "released"
    assert processed.status.status_code is StatusCode.UNSET


async def test_several_handlers_share_the_span_of_their_message(memory: Broker, spans: Spans) -> None:
    bus, ran = traced(memory, spans), list[str]()

    @bus.on(NAME)
    async def one(event: OnPlayerSeatedDown) -> None:
        ran.append("one")

    @bus.on(NAME)
    async def two(event: OnPlayerSeatedDown) -> None:
        ran.append("two")
        if len(ran) < 3:
            raise LookupError("no luck")

    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1))
        await until(lambda: bus.stats["bus"].handled == 1)
    assert ran == ["one", "two", "two"]
    first, second = spans.named("process")
    assert attributes(first)["brokerkit.handler"].endswith("two")
    assert "brokerkit.handler" not in attributes(second)


# ---- sampling, and without ---------------------------------------------------------------------------------------


async def test_a_message_that_is_not_sampled_is_only_looked_at(
    memory: Broker, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brokerkit.tracing._process import ProcessSpans
    from brokerkit.tracing._publish import PublishSpans

    for each in (ProcessSpans, PublishSpans):
        monkeypatch.setattr(each, "_describe", _never)
    bus = traced(memory, spans)
    headers = list[str]()
    ambient = trace.NonRecordingSpan(trace.SpanContext(SENDER_TRACE, SENDER_SPAN, is_remote=True))

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        headers.append(str(message.headers["traceparent"]))
        assert not trace.get_current_span().is_recording()
        if len(headers) == 1:
            raise LookupError("no luck")
        if len(headers) == 2:
            await bus.publish(OnPlayerSeatedDown(player_id=2))

    async with asyncio.timeout(30), bus, bus.serving():
        with trace.use_span(ambient):
            await bus.publish(OnPlayerSeatedDown(player_id=1))
            await bus.publish_many([OnPlayerSeatedDown(player_id=3), OnPlayerSeatedDown(player_id=4)])
        await until(lambda: bus.stats["bus"].handled == 4)
    assert {(each[:35], each[-3:]) for each in headers} == {(SENDER[:35], "-00")}
    assert spans.named("") == []


async def test_a_sampler_that_takes_nothing_lets_everything_through(memory: Broker) -> None:
    spans = Spans(ALWAYS_OFF)
    [message] = await handled(traced(memory, spans))
    assert not int(str(message.headers["traceparent"])[-2:], 16) & trace.TraceFlags.SAMPLED
    assert spans.named("") == []


async def test_without_an_sdk_the_trace_of_others_goes_on(memory: Broker) -> None:
    bus, headers = memory.bus(), list[str]()
    instrument(bus, tracer_provider=trace.NoOpTracerProvider())

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        headers.append(str(message.headers.get("traceparent")))
        if len(headers) == 1:
            await bus.publish(OnPlayerSeatedDown(player_id=2))

    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1), headers={"traceparent": SENDER})
        await until(lambda: bus.stats["bus"].handled == 2)
    assert headers == [SENDER, SENDER]


async def test_a_target_that_writes_no_headers_has_spans_but_no_context(memory: Broker, spans: Spans) -> None:
    [message] = await handled(traced(memory, spans, propagate=False))
    assert "traceparent" not in message.headers
    assert len(spans.named("publish")) == 1


@pytest.mark.parametrize("breaks", ["on_start", "on_end"])
async def test_a_span_processor_that_raises_does_not_touch_messages(
    memory: Broker, spans: Spans, breaks: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Raising(SpanProcessor):
        pass

    def fail(*_: Any, **__: Any) -> None:
        raise LookupError("no exporter")

    setattr(Raising, breaks, fail)
    spans.provider.add_span_processor(Raising())
    bus = traced(memory, spans)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        if event.player_id == 2:
            raise LookupError("no luck")

    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1))
        await bus.publish_many([OnPlayerSeatedDown(player_id=2), OnPlayerSeatedDown(player_id=3)])
        await until(lambda: (bus.stats["bus"].handled, bus.stats["bus"].dead_lettered) == (2, 1))
    said = [record.getMessage() for record in caplog.records if "broken" in record.getMessage()]
    assert said == [f"{one} bus: its traces are broken: LookupError: no exporter" for one in ("target", "source")]


async def test_traces_go_on_when_the_bus_is_opened_again(memory: Broker, spans: Spans) -> None:
    bus = traced(memory, spans)
    bus.on(NAME)(_nothing)
    for _ in range(2):
        async with asyncio.timeout(30), bus, bus.serving():
            await bus.publish(OnPlayerSeatedDown(player_id=1))
            await until(lambda: bus.stats["bus"].handled == 1)
    assert (len(spans.named("publish")), len(spans.named("process"))) == (2, 2)


async def test_an_open_bus_is_refused(memory: Broker) -> None:
    async with memory.bus() as bus:
        with pytest.raises(ConfigError, match="add traces before it is opened"):
            instrument(bus)


def test_brokerkit_does_not_import_opentelemetry() -> None:
    code = "import brokerkit, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [module for module in loaded.split() if module.startswith(("opentelemetry", "brokerkit.tracing"))]


def test_without_opentelemetry_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["opentelemetry"] = None
from brokerkit import MissingExtra
try:
    import brokerkit.tracing
except MissingExtra as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'brokerkit-sdk[otel]'" in said


async def _nothing(event: OnPlayerSeatedDown) -> None: ...


def _never(*_: Any) -> None:
    raise AssertionError("a message that is not sampled is described")
