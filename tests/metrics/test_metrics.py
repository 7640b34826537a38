"""What the metrics of a bus say, and that their names are those of the conventions."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv._incubating.metrics import messaging_metrics
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.semconv.schemas import Schemas
from prometheus_client import CollectorRegistry, generate_latest

from brokerkit import Bus, ConfigError, Message, RetryPolicy
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit._metrics import _instruments
from brokerkit._metrics._instruments import INSTRUMENTS, Instrument
from brokerkit._status._figures import BOUNDARIES, Figures, Timing
from brokerkit.adapters.api import BrokerkitError, ConnectionLost
from brokerkit.adapters.memory import MemoryAdapter
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.metrics import PrometheusCollector, instrument
from tests import every_broker
from tests.every_broker import Broker, until
from tests.metrics.text import samples, total

NAME = "OnPlayerSeatedDown"
FAST = RetryPolicy(attempts=2, first=0.01, cap=0.02)


@pytest.fixture
def memory() -> Broker:
    return every_broker.memory()


# ---- the conventions ---------------------------------------------------------------------------------------------


def test_the_release_of_the_conventions_is_the_one_that_the_tests_check_against() -> None:
    assert list(Schemas)[-1].value == _instruments.SCHEMA_URL


@pytest.mark.parametrize(
    "ours", [each for each in INSTRUMENTS if each.name.startswith("messaging.")], ids=lambda each: each.name
)
def test_a_metric_of_the_conventions_has_their_name_kind_and_unit(ours: Instrument) -> None:
    class Meter:
        """Notes what the package creates."""

        def create_counter(self, name: str, *, unit: str, description: str) -> None:
            made.append(("counter", name, unit, description))

        def create_histogram(self, name: str, *, unit: str, description: str) -> None:
            made.append(("histogram", name, unit, description))

    made: list[tuple[str, str, str, str]] = []
    create: Any = getattr(messaging_metrics, f"create_{ours.name.replace('.', '_')}")
    create(Meter())
    [(kind, name, unit, text)] = made
    assert (ours.kind, ours.name, ours.unit) == (kind, name, unit)
    assert "Deprecated" not in text


def test_attributes_of_the_conventions_are_named_as_they_are_and_none_is_deprecated() -> None:
    known = {
        value: name
        for module in (messaging_attributes, error_attributes)
        for name, value in vars(module).items()
        if name.isupper()
    }
    used = {attribute for each in INSTRUMENTS for attribute in each.attributes}
    theirs = {attribute for attribute in used if not attribute.startswith("brokerkit.")}
    assert theirs <= known.keys()
    systems = {each.value for each in messaging_attributes.MessagingSystemValues}
    schemes = ["kafka", "kafka+share", "amqp", "amqps", "sqs", "sns"]
    assert {_instruments.system_of(scheme) for scheme in schemes} <= systems
    assert _instruments.system_of("rediss+cluster+list") == "redis"
    operations = {each.value for each in messaging_attributes.MessagingOperationTypeValues}
    assert "send" in operations


def test_every_metric_and_attribute_is_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "observability.md").read_text("utf-8")
    words = {word for each in INSTRUMENTS for word in (each.name, *each.attributes)}
    # The names of an outbox or a gateway, and the conventions' own word for what a publish is.
    words -= {"brokerkit.outbox", "brokerkit.gateway", "messaging.operation.type"}
    assert [word for word in sorted(words) if f"`{word}`" not in page] == []


def test_no_name_is_given_twice() -> None:
    assert len({each.prometheus for each in INSTRUMENTS}) == len(INSTRUMENTS)


@pytest.mark.parametrize(
    ("library", "name", "extra"),
    [("prometheus_client", "PrometheusCollector", "prometheus"), ("opentelemetry", "instrument", "otel")],
)
def test_a_missing_library_is_one_line_with_the_command_that_installs_it(library: str, name: str, extra: str) -> None:
    code = f"""
import sys
sys.modules[{library!r}] = None
from brokerkit import MissingExtra
try:
    from brokerkit.metrics import {name}
except MissingExtra as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert f"pip install 'brokerkit-sdk[{extra}]'" in done.stdout
    assert done.stdout.count("\n") == 1


def test_a_bus_without_metrics_loads_neither_library() -> None:
    code = "import brokerkit, brokerkit.metrics, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not {"prometheus_client", "opentelemetry"} & set(done.stdout.split())


def test_the_module_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        importlib.import_module("brokerkit.metrics").nothing  # noqa: B018


# ---- what is counted ---------------------------------------------------------------------------------------------


async def test_failures_have_handler_and_type_of_error_and_durations_have_the_event(memory: Broker) -> None:
    bus = memory.bus(retry=FAST)
    collector = PrometheusCollector(bus)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        if event.player_id == 2:
            raise LookupError("no luck")

    handler = f"{__name__}.{handle.__qualname__}"
    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1))
        await bus.publish(OnPlayerSeatedDown(player_id=2))
        await until(lambda: bus.stats["bus"].dead_lettered == 1 and bus.stats["bus"].handled == 1)
        found = samples(collector.text())
    which = {
        "messaging_system": "memory",
        "messaging_destination_name": memory.topic(),
        "messaging_consumer_group_name": "wallet",
        "brokerkit_source": "bus",
    }
    failed = {"brokerkit_handler": handler, "error_type": "LookupError"}
    assert found["brokerkit_failed_attempts_total"] == [({**which, **failed}, 2.0)]
    assert found["brokerkit_dead_lettered_messages_total"] == [(which, 1.0)]
    took = "messaging_process_duration_seconds"
    event = {"brokerkit_event": NAME, "messaging_operation_name": "process"}
    assert total(found, f"{took}_count", **which, **event, brokerkit_handler=handler, error_type="") == 1
    assert total(found, f"{took}_count", **which, **event, **failed) == 2
    assert total(found, f"{took}_bucket", le="+Inf") == 3
    assert total(found, f"{took}_sum") > 0
    assert found["brokerkit_ready"] == [
        (which, 1.0),
        ({"messaging_system": "memory", "messaging_destination_name": memory.topic(), "brokerkit_target": "bus"}, 1.0),
    ]
    assert total(found, "messaging_client_operation_duration_seconds_count", messaging_operation_type="send") == 2


async def test_names_that_somebody_invents_are_one_label_value(memory: Broker) -> None:
    bus = memory.bus(format="json")
    collector = PrometheusCollector(bus)

    @bus.on("*")
    async def handle(event: object) -> None: ...

    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish_many([Message(f"Invented{number}", b"{}") for number in range(50)])
        await bus.publish(Message(NAME, b'{"player_id": 1}'))
        await until(lambda: bus.stats["bus"].handled == 51)
        found = samples(collector.text())
    counts = {labels["brokerkit_event"]: value for labels, value in found["messaging_process_duration_seconds_count"]}
    assert counts == {"_OTHER": 50.0, NAME: 1.0}


def test_types_of_errors_that_somebody_invents_are_one_label_value() -> None:
    figures = Figures().source("s")
    for number in range(1000):
        figures.failed("h", type(f"Error{number}", (Exception,), {})())
    assert len(figures.failures) == 101
    assert figures.failures["h", "_OTHER"] == 900


async def test_counts_go_on_where_consuming_begins_anew(memory: Broker) -> None:
    bus = memory.bus()
    collector = PrometheusCollector(bus)
    bus.on(NAME)(_nothing)
    for number in range(1, 3):
        async with asyncio.timeout(30), bus, bus.serving():
            await bus.publish(OnPlayerSeatedDown(player_id=1))
            await until(lambda: bus.stats["bus"].handled == 1)
        found = samples(collector.text())
        assert total(found, "brokerkit_handled_messages_total") == number
        assert total(found, "messaging_client_sent_messages_total") == number
        assert total(found, "messaging_process_duration_seconds_count") == number
        assert total(found, "brokerkit_ready") == 0


async def test_a_message_that_waits_for_its_next_attempt_is_held_in_flight_and_has_an_age(memory: Broker) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=2, first=60.0, cap=60.0), hold=120.0, stop_timeout=1.0)
    collector = PrometheusCollector(bus)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        raise LookupError("not yet")

    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1))
        await until(lambda: bus.stats["bus"].failed == 1)
        found = samples(await asyncio.to_thread(collector.text))
    assert total(found, "brokerkit_in_flight_messages") == 1
    assert total(found, "brokerkit_held_messages") == 1
    assert 0 < total(found, "brokerkit_oldest_message_age_seconds") < 30
    assert total(found, "brokerkit_retried_attempts_total") == 1


async def test_publishes_that_fail_have_the_type_of_their_error(memory: Broker, monkeypatch: Any) -> None:
    async def send(self: MemoryAdapter, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        return [ConnectionLost("away") if one.id == "lost" else Receipt(one.topic, one.id) for one in batch]

    monkeypatch.setattr(MemoryAdapter, "send", send)
    bus = memory.bus(publish_timeout=0.3)
    collector = PrometheusCollector(bus)
    async with bus:
        await bus.publish(Message(NAME, b"{}", id="kept"))
        with pytest.raises(ConnectionLost):
            await bus.publish(Message(NAME, b"{}", id="lost"))
        found = samples(collector.text())
        sent = {labels.get("error_type"): value for labels, value in found["messaging_client_sent_messages_total"]}
        assert sent == {None: 1.0, "ConnectionLost": 1.0}
        assert total(found, "brokerkit_ready", brokerkit_target="bus") == 0
        took = "messaging_client_operation_duration_seconds"
        assert total(found, f"{took}_count", error_type="ConnectionLost") == 1
        await bus.publish(Message(NAME, b"{}", id="kept"))
        found = samples(collector.text())
    assert total(found, "brokerkit_reconnects_total", brokerkit_target="bus") == 1


async def test_nothing_is_measured_where_nobody_reads_it(memory: Broker) -> None:
    bus = memory.bus()
    bus.on(NAME)(_nothing)
    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1))
        await until(lambda: bus.stats["bus"].handled == 1)
    figures = bus.runtime.figures
    assert [sum(timing.counts) for timing in figures.source("bus").durations.timings.values()] == [0]
    assert not figures.target("bus").sent
    assert figures.health is None


async def test_an_open_bus_is_refused(memory: Broker) -> None:
    bus = memory.bus()
    async with bus:
        with pytest.raises(ConfigError, match="add metrics before it is opened"):
            PrometheusCollector(bus)


def test_a_duration_is_in_the_bucket_whose_upper_end_it_does_not_exceed() -> None:
    timing = Timing()
    for seconds in (0.0, 0.005, 0.0051, 0.01, 9.0, 10.0, 11.0):
        timing.add(seconds)
    assert timing.counts == [2, 2, *[0] * (len(BOUNDARIES) - 3), 2, 1]


async def test_a_registry_of_the_program_takes_the_collector_too(memory: Broker) -> None:
    bus = memory.bus()
    registry = CollectorRegistry(auto_describe=True)
    collector = PrometheusCollector(bus)
    registry.register(collector)  # type: ignore[arg-type]
    assert generate_latest(registry).decode() == collector.text()


# ---- OpenTelemetry -----------------------------------------------------------------------------------------------


async def test_opentelemetry_and_prometheus_say_the_same(memory: Broker) -> None:
    bus = memory.bus(retry=FAST)
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    instrument(bus, meter_provider=provider)
    collector = PrometheusCollector(bus)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown) -> None:
        if event.player_id == 2:
            raise LookupError("no luck")

    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish_many([OnPlayerSeatedDown(player_id=number) for number in range(1, 4)])
        await until(lambda: bus.stats["bus"].dead_lettered == 1 and bus.stats["bus"].handled == 2)
        await until(lambda: bus.runtime.consumers["bus"].state.in_flight == 0)
        found, told = samples(collector.text()), _told(reader)
    provider.shutdown()
    counters = {each.prometheus + "_total": each for each in INSTRUMENTS if each.kind == "counter"}
    steady = {each.prometheus: each for each in INSTRUMENTS if each.kind == "sum"}
    for name, each in {**counters, **steady}.items():
        theirs = {(*sorted(labels.items()),): value for labels, value in found.get(name, [])}
        ours = {
            (*sorted((label.replace(".", "_"), str(value)) for label, value in labels.items()),): value
            for labels, value in told.get(each.name, [])
        }
        assert ours == theirs, name
    took = told["messaging.process.duration"]
    assert {labels.get("error.type"): point.count for labels, point in took} == {"LookupError": 2, None: 2}
    assert all(tuple(point.explicit_bounds) == BOUNDARIES for _, point in took)


async def test_durations_can_be_left_out_of_opentelemetry(memory: Broker) -> None:
    bus = memory.bus()
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    instrument(bus, meter_provider=provider, durations=False)
    bus.on(NAME)(_nothing)
    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1))
        await until(lambda: bus.stats["bus"].handled == 1)
        told = _told(reader)
    provider.shutdown()
    assert "messaging.process.duration" not in told
    assert told["brokerkit.handled.messages"][0][1] == 1


def _told(reader: InMemoryMetricReader) -> dict[str, list[tuple[Mapping[str, Any], Any]]]:
    """The points that a reader collects, by metric, each with its attributes: numbers, or whole points of histograms."""
    data = reader.get_metrics_data()
    assert data is not None
    [scope] = data.resource_metrics[0].scope_metrics
    assert scope.schema_url == _instruments.SCHEMA_URL
    return {
        metric.name: [
            (point.attributes or {}, point if isinstance(point, HistogramDataPoint) else point.value)
            for point in metric.data.data_points
        ]
        for metric in scope.metrics
    }


async def _nothing(event: OnPlayerSeatedDown) -> None: ...


# ---- the outbox and the gateway ----------------------------------------------------------------------------------


async def test_an_outbox_that_relays_has_a_backlog(memory: Broker, tmp_path: Any) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession

    from brokerkit.outbox import Outbox

    bus = memory.bus()
    collector = PrometheusCollector(bus)
    outbox = Outbox(f"sqlite+aiosqlite:///{tmp_path}/box.db", bus)
    await outbox.create_tables()
    async with bus, outbox:
        async with AsyncSession(outbox.engine) as session, session.begin():
            await outbox.publish(session, OnPlayerSeatedDown(player_id=1), after=600)
        await bus.runtime.figures.ask(bus.health)
        assert samples(collector.text())["brokerkit_outbox_messages"] == [
            ({"brokerkit_outbox": "brokerkit_outbox"}, 1.0)
        ]
    async with bus:
        await bus.runtime.figures.ask(bus.health)
        assert "brokerkit_outbox_messages" not in samples(collector.text())
    await outbox.engine.dispose()


async def test_a_gateway_says_how_many_clients_it_has() -> None:
    from brokerkit.gateway import Gateway, Player

    async def check(credentials: Any) -> Player | None:
        return None

    bus = Bus("memory://", topic="t", broadcast=True, format="evenbet")
    collector = PrometheusCollector(bus)
    gateway = Gateway(bus, check=check, host="127.0.0.1", port=1)
    gateway.stats.connected = 7
    assert samples(collector.text())["brokerkit_gateway_clients"] == [({"brokerkit_gateway": "127.0.0.1:1"}, 7.0)]
