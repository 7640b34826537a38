"""Metrics as Prometheus text, by `prometheus_client` and without OpenTelemetry."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from itertools import accumulate
from typing import Any, Final

from brokerkit._errors import MissingExtra
from brokerkit._metrics._instruments import INSTRUMENTS, Instrument
from brokerkit._metrics._readings import Labels, Readings
from brokerkit._status._figures import BOUNDARIES, Timing

try:
    # It has no types of its own to speak of, so it is imported by name.
    _client: Final = import_module("prometheus_client")
    _core: Final = import_module("prometheus_client.metrics_core")
except ModuleNotFoundError as error:
    raise MissingExtra(
        "metrics for Prometheus need prometheus_client, which is not installed: pip install 'brokerkit-sdk[prometheus]'"
    ) from error

_TYPES: Final = {"counter": "counter", "sum": "gauge", "gauge": "gauge", "histogram": "histogram"}
_ENDS: Final = (*map(str, BOUNDARIES), "+Inf")


def collected(readings: Readings) -> Iterator[Any]:
    """Yield the metrics as they are now, as `prometheus_client.Metric`."""
    for instrument in INSTRUMENTS:
        metric = _core.Metric(instrument.prometheus, instrument.text, _TYPES[instrument.kind])
        if instrument.kind == "histogram":
            for labels, timing in readings.durations(instrument):
                _add_buckets(metric, _named(instrument, labels), timing)
        else:
            name = metric.name + ("_total" if instrument.kind == "counter" else "")
            for labels, value in readings.values(instrument):
                metric.add_sample(name, _named(instrument, labels), value)
        yield metric


def text_of(readings: Readings) -> str:
    """Return the metrics as they are now in Prometheus' text format 0.0.4."""
    registry = _client.CollectorRegistry(auto_describe=False)
    registry.register(_Collector(readings))
    text: bytes = _client.generate_latest(registry)
    return text.decode()


class _Collector:
    """What a registry asks."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    def __repr__(self) -> str:
        return f"<Collector of {self._readings!r}>"

    def collect(self) -> Iterator[Any]:
        """Yield the metrics."""
        return collected(self._readings)


def _named(instrument: Instrument, labels: Labels) -> dict[str, str]:
    """Return labels by Prometheus' names, without empty ones, which count as none there."""
    return {name.replace(".", "_"): label for name in instrument.attributes if (label := labels.get(name, ""))}


def _add_buckets(metric: Any, labels: dict[str, str], timing: Timing) -> None:
    counts = list(accumulate(timing.counts))
    for end, count in zip(_ENDS, counts, strict=True):
        metric.add_sample(f"{metric.name}_bucket", {**labels, "le": end}, count)
    metric.add_sample(f"{metric.name}_count", labels, counts[-1])
    metric.add_sample(f"{metric.name}_sum", labels, timing.sum)
