"""Metrics through the API of OpenTelemetry, for any exporter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

from brokerkit._bus import Bus
from brokerkit._errors import MissingExtra
from brokerkit._metrics._instruments import (
    INSTRUMENTS,
    OPERATION_DURATION,
    PROCESS_DURATION,
    SCHEMA_URL,
    Instrument,
)
from brokerkit._metrics._readings import Readings
from brokerkit._status._figures import BOUNDARIES, Timed
from brokerkit._version import __version__

try:
    from opentelemetry.metrics import CallbackOptions, Histogram, MeterProvider, Observation, get_meter_provider
except ModuleNotFoundError as error:
    raise MissingExtra(
        "metrics for OpenTelemetry need opentelemetry-api, which is not installed: pip install 'brokerkit-sdk[otel]'"
    ) from error


def instrument(bus: Bus, *, meter_provider: MeterProvider | None = None, durations: bool = True) -> None:
    """Give the metrics of a bus to OpenTelemetry; see docs/observability.md for their names.

    Counts are read when they are collected. In addition the bus measures durations, and asks the brokers for lags every
    ten seconds while it is open.

    Args:
        bus: whose metrics they are. It must not be open yet. Each bus needs a meter provider of its own.
        meter_provider: by default the global one.
        durations: whether each duration is recorded. That is a call of OpenTelemetry for each message, which costs several
            times what `brokerkit.metrics.PrometheusCollector` costs; see docs/performance.md.

    Raises:
        ConfigError: the bus is open.
    """
    readings = Readings(bus)
    meter = (meter_provider or get_meter_provider()).get_meter("brokerkit", __version__, schema_url=SCHEMA_URL)
    makers = {
        "counter": meter.create_observable_counter,
        "sum": meter.create_observable_up_down_counter,
        "gauge": meter.create_observable_gauge,
    }
    for each in INSTRUMENTS:
        if each.kind != "histogram":
            makers[each.kind](each.name, [partial(_observe, readings, each)], unit=each.unit, description=each.text)
    if durations:
        made = {
            kind: meter.create_histogram(
                each.name, unit=each.unit, description=each.text, explicit_bucket_boundaries_advisory=BOUNDARIES
            )
            for kind, each in (("source", PROCESS_DURATION), ("target", OPERATION_DURATION))
        }
        readings.figures.tell = partial(_tell, readings, made)


def _observe(readings: Readings, each: Instrument, _: CallbackOptions) -> Iterable[Observation]:
    return [
        Observation(value, {name: label for name, label in labels.items() if label})
        for labels, value in readings.values(each)
    ]


def _tell(
    readings: Readings, made: dict[str, Histogram], kind: Literal["source", "target"], name: str, timed: Timed
) -> Callable[[float], None]:
    labels = readings.duration_labels(kind, name, timed)
    return partial(made[kind].record, attributes={name: label for name, label in labels.items() if label})
