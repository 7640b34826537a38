"""Traces of a bus for OpenTelemetry (extra ``otel``); see docs/observability.md."""

from __future__ import annotations

from brokerkit.tracing._opentelemetry import instrument

__all__ = ["instrument"]
