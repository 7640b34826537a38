"""Traces and metrics through OpenTelemetry's own exporter over HTTP to a receiver of OTLP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from brokerkit import Message, RetryPolicy, tracing
from brokerkit import metrics as bus_metrics
from brokerkit._metrics._instruments import SCHEMA_URL
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests import every_broker
from tests.every_broker import until
from tests.tracing.otlp import Receiver, collector, metrics, own, traces

COLLECTOR = os.environ.get("BROKERKIT_COLLECTOR", "")
"""The Collector that `make collector` has built."""


@pytest.fixture(params=["own", *(["collector"] if COLLECTOR else [])])
async def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Receiver]:
    async with own() if request.param == "own" else collector(Path(COLLECTOR), tmp_path) as made:
        yield made


async def test_what_a_receiver_of_otlp_gets_is_what_happened(receiver: Receiver) -> None:
    resource = Resource({"service.name": "wallet"})
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{receiver.endpoint}/v1/traces")))
    exporter = OTLPMetricExporter(f"{receiver.endpoint}/v1/metrics")
    meters = MeterProvider([PeriodicExportingMetricReader(exporter, 3_600_000)], resource)
    bus = every_broker.memory().bus(retry=RetryPolicy(attempts=2, first=0.01, cap=0.02))
    tracing.instrument(bus, tracer_provider=tracers)
    bus_metrics.instrument(bus, meter_provider=meters)

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        if event.player_id == 2:
            raise LookupError("no luck")

    async with asyncio.timeout(100), bus, bus.serving():
        for number in (1, 2, 3):
            await bus.publish(OnPlayerSeatedDown(player_id=number), id=f"message-{number}")
        await until(lambda: bus.stats["bus"].handled == 2 and bus.stats["bus"].dead_lettered == 1)
        await until(lambda: bus.runtime.consumers["bus"].state.in_flight == 0)
        # Each waits until the receiver has answered.
        assert await asyncio.to_thread(tracers.force_flush)
        assert await asyncio.to_thread(meters.force_flush)
        await until(lambda: len(_spans(receiver)) == 7 and bool(_points(receiver, "brokerkit.handled.messages")))
    await asyncio.to_thread(tracers.shutdown)
    await asyncio.to_thread(meters.shutdown)

    spans = _spans(receiver)
    sent = {_attributes(span)["messaging.message.id"]: span for span in spans if span.kind == Span.SPAN_KIND_PRODUCER}
    processed = [span for span in spans if span.kind == Span.SPAN_KIND_CONSUMER]
    assert sent.keys() == {"message-1", "message-2", "message-3"}
    assert len(processed) == 4
    for span in processed:
        parent = sent[_attributes(span)["messaging.message.id"]]
        assert (span.trace_id, span.parent_span_id) == (parent.trace_id, parent.span_id)
        assert [link.span_id for link in span.links] == [parent.span_id]
    failed = [span for span in processed if span.status.code == Status.STATUS_CODE_ERROR]
    assert [_attributes(span)["brokerkit.outcome"] for span in failed] == ["retry", "dead_letter"]
    assert {_attributes(span)["error.type"] for span in failed} == {"LookupError"}

    counted = {
        "brokerkit.handled.messages": 2,
        "brokerkit.failed.attempts": 2,
        "brokerkit.retried.attempts": 1,
        "brokerkit.dead_lettered.messages": 1,
        "messaging.client.sent.messages": 3,
    }
    assert {name: sum(_points(receiver, name)) for name in counted} == counted
    assert sum(_points(receiver, "messaging.process.duration")) == 4
    for group in (*traces(receiver).resource_spans, *metrics(receiver).resource_metrics):
        assert _attributes(group.resource)["service.name"] == "wallet"
    for each in metrics(receiver).resource_metrics:
        assert {scope.schema_url for scope in each.scope_metrics} == {SCHEMA_URL}


def _spans(receiver: Receiver) -> list[Span]:
    """All spans, in the order in which they began."""
    found = [span for each in traces(receiver).resource_spans for scope in each.scope_spans for span in scope.spans]
    return sorted(found, key=lambda span: span.start_time_unix_nano)


def _points(receiver: Receiver, name: str) -> list[int]:
    """What a metric said in the first export that has it: its values, or how many durations each histogram has."""
    for each in metrics(receiver).resource_metrics:
        for scope in each.scope_metrics:
            for metric in scope.metrics:
                if metric.name == name:
                    return _values(metric)
    return []


def _values(metric: Metric) -> list[int]:
    if metric.WhichOneof("data") == "histogram":
        return [point.count for point in metric.histogram.data_points]
    return [int(getattr(point, point.WhichOneof("value") or "")) for point in metric.sum.data_points]


def _attributes(has: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in has.attributes}
