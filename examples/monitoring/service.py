"""A service whose metrics Prometheus can read: `python examples/monitoring/service.py`, then http://127.0.0.1:9000/metrics.

Another port can be given as the only argument.
"""

from __future__ import annotations

import sys

from prometheus_client import REGISTRY, start_http_server

from brokerkit import Bus
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.metrics import PrometheusCollector

bus = Bus("sqlite:///monitoring.db", topic="evenbet.events", group="wallet", format="evenbet", provision="all")


@bus.on(OnPlayerSeatedDown)
async def seated(event: OnPlayerSeatedDown) -> None:
    print(f"player {event.player_id} sits down")


if __name__ == "__main__":
    REGISTRY.register(PrometheusCollector(bus))
    start_http_server(int(sys.argv[1]) if len(sys.argv) > 1 else 9000, addr="127.0.0.1")
    bus.run()
