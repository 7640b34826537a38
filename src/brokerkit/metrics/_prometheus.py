"""Metrics of a bus as a collector of `prometheus_client`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from brokerkit._bus import Bus
from brokerkit._metrics._readings import Readings
from brokerkit._metrics._text import collected, text_of


class PrometheusCollector:
    """The metrics of a bus as a collector of `prometheus_client`; see docs/observability.md for their names.

    It reads what the bus counts anyway. In addition the bus measures durations, and asks the brokers for lags every ten
    seconds while it is open.

    Example::

        bus = Bus("kafka://localhost:9092", topic="evenbet.events", group="wallet", format="evenbet")
        REGISTRY.register(PrometheusCollector(bus))
        start_http_server(9000, addr="127.0.0.1")

    Args:
        bus: whose metrics they are. It must not be open yet. Each bus needs a registry of its own.

    Raises:
        ConfigError: the bus is open.
    """

    def __init__(self, bus: Bus) -> None:
        self._readings = Readings(bus)

    def __repr__(self) -> str:
        return f"<PrometheusCollector {self._readings!r}>"

    def collect(self) -> Iterator[Any]:
        """Yield the metrics as they are now, as `prometheus_client.Metric`. Any thread may call it."""
        return collected(self._readings)

    def text(self) -> str:
        """Return the metrics as they are now in Prometheus' text format 0.0.4. Any thread may call it."""
        return text_of(self._readings)
