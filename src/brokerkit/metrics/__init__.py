"""Metrics of a bus for Prometheus (extra ``prometheus``) and OpenTelemetry (extra ``otel``); see docs/observability.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brokerkit.metrics._opentelemetry import instrument
    from brokerkit.metrics._prometheus import PrometheusCollector

__all__ = ["PrometheusCollector", "instrument"]


def __getattr__(name: str) -> Any:
    # Each needs another extra.
    if name == "PrometheusCollector":
        from brokerkit.metrics._prometheus import PrometheusCollector

        return PrometheusCollector
    if name == "instrument":
        from brokerkit.metrics._opentelemetry import instrument

        return instrument
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
