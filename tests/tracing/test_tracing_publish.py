"""Spans of what is published, and the names of all attributes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv.attributes import error_attributes, server_attributes
from opentelemetry.trace import SpanKind, StatusCode

from brokerkit import Bus, Message
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._metrics import _instruments
from brokerkit.adapters.api import BrokerkitError, ConnectionLost
from brokerkit.adapters.memory import MemoryAdapter
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
    id_of,
    links,
    trace_of,
    traced,
)


@pytest.fixture
def memory() -> Broker:
    return every_broker.memory()


@pytest.fixture
def spans() -> Spans:
    return Spans()


# ---- publishing --------------------------------------------------------------------------------------------------


async def test_each_message_of_a_batch_has_a_span_that_the_call_links_to(memory: Broker, spans: Spans) -> None:
    bus = traced(memory, spans)
    async with bus:
        with spans.provider.get_tracer("user").start_as_current_span("outer") as outer:
            await bus.publish_many([OnPlayerSeatedDown(player_id=number) for number in range(3)])
    created, [sent] = spans.named("create"), spans.named("publish")
    assert [span.kind for span in (*created, sent)] == [SpanKind.PRODUCER] * 3 + [SpanKind.CLIENT]
    assert links(sent) == [id_of(span) for span in created]
    assert attributes(sent)["messaging.batch.message_count"] == 3
    assert "messaging.message.id" not in attributes(sent)
    assert len({attributes(span)["messaging.message.id"] for span in created}) == 3
    assert {span.parent.span_id for span in (*created, sent) if span.parent} == {outer.get_span_context().span_id}


async def test_a_batch_without_spans_of_its_messages_gives_each_the_context_of_the_call(
    memory: Broker, spans: Spans
) -> None:
    bus = traced(memory, spans, options={"create_spans": False})
    bus.on(NAME)(_nothing)
    own = Message(NAME, b"{}", headers={"traceparent": SENDER})
    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish_many([OnPlayerSeatedDown(player_id=1), own, OnPlayerSeatedDown(player_id=2)])
        await until(lambda: bus.stats["bus"].handled == 3)
    [sent] = spans.named("publish")
    assert (sent.kind, links(sent)) == (SpanKind.PRODUCER, [SENDER_SPAN])
    assert not spans.named("create")
    assert sorted(map(trace_of, spans.named("process"))) == sorted([trace_of(sent), trace_of(sent), SENDER_TRACE])


async def test_a_publish_that_fails_has_its_error(memory: Broker, spans: Spans, monkeypatch: Any) -> None:
    async def send(self: MemoryAdapter, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        return [ConnectionLost("away") if one.id == "lost" else Receipt(one.topic, one.id) for one in batch]

    monkeypatch.setattr(MemoryAdapter, "send", send)
    bus = traced(memory, spans, publish_timeout=0.3)
    async with bus:
        with pytest.raises(ConnectionLost):
            await bus.publish(Message(NAME, b"{}", id="lost"))
        await bus.publish_many([Message(NAME, b"{}", id="kept"), Message(NAME, b"{}", id="lost")])
    for span in spans.named("publish"):
        assert attributes(span)["error.type"] == "ConnectionLost"
        assert span.status.status_code is StatusCode.ERROR


async def test_an_event_in_the_outbox_goes_on_in_the_trace_of_its_transaction(
    memory: Broker, spans: Spans, tmp_path: Any
) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession

    from brokerkit.outbox import Outbox

    bus = traced(memory, spans)
    bus.on(NAME)(_nothing)
    outbox = Outbox(f"sqlite+aiosqlite:///{tmp_path}/box.db", bus)
    await outbox.create_tables()
    async with asyncio.timeout(30), bus, bus.serving(), outbox:
        with spans.provider.get_tracer("user").start_as_current_span("request"):
            async with AsyncSession(outbox.engine) as session, session.begin():
                await outbox.publish(session, OnPlayerSeatedDown(player_id=1))
        await until(lambda: bus.stats["bus"].handled == 1)
    await outbox.engine.dispose()
    [request], [created], [sent] = spans.named("request"), spans.named("create"), spans.named("publish")
    [processed] = spans.named("process")
    assert trace_of(request) == trace_of(created) == trace_of(processed)
    assert (sent.kind, links(sent)) == (SpanKind.CLIENT, [id_of(created)])


# ---- the conventions ---------------------------------------------------------------------------------------------


def test_attributes_are_named_as_in_the_conventions_and_none_is_deprecated() -> None:
    known = {
        value: (module, name)
        for module in (messaging_attributes, error_attributes, server_attributes)
        for name, value in vars(module).items()
        if name.isupper()
    }
    ours = [value for name, value in vars(_instruments).items() if name.isupper() and isinstance(value, str)]
    theirs = [value for value in ours if value.startswith(("messaging.", "server.", "error."))]
    assert len(theirs) >= 15
    assert [value for value in theirs if value not in known] == []
    for value in theirs:
        module, name = known[value]
        text = (
            Path(module.__file__ or "")
            .read_text("utf-8")
            .partition(f"{name}: Final")[2]
            .partition('"""')[2]
            .partition('"""')[0]
        )
        assert "Deprecated" not in text, value


@pytest.mark.parametrize(
    ("url", "address", "port"),
    [
        ("kafka://one:9092", "one", 9092),
        ("kafka://one:9092,two:9092", None, None),
        ("redis://[::1]:6380/0", "::1", 6380),
        ("redis://[::1]/0", "::1", None),
        ("amqp://user:secret@rabbit/", "rabbit", None),
        ("sqs://KEY:SECRET@eu-west-1/?endpoint=http://127.0.0.1:1", None, None),
    ],
)
def test_a_span_names_the_server_but_no_secret(url: str, address: str | None, port: int | None) -> None:
    bus = Bus(url, topic="t", group="g", format="evenbet")
    instrument(bus)
    for kind in (bus.runtime.figures.source("bus"), bus.runtime.figures.target("bus")):
        found: Any = kind.spans
        shared = found._shared if hasattr(found, "_shared") else found._publish
        assert (shared.get("server.address"), shared.get("server.port")) == (address, port)
        assert "secret" not in f"{shared} {found!r}".lower()


async def _nothing(event: OnPlayerSeatedDown) -> None: ...
