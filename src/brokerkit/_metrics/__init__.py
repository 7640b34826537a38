"""Metrics: what a bus counts and measures, for Prometheus and for OpenTelemetry."""
