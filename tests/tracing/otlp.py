"""Receivers of OTLP over HTTP: one of our own, and OpenTelemetry's Collector where `make collector` has built it."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from tests.brokers._ports import free_port


class Receiver(Protocol):
    """Takes what an exporter sends to `endpoint`."""

    endpoint: str

    def received(self, signal: str) -> list[bytes]:
        """Everything that came: a message of OTLP for each request of the exporter. ``signal`` is traces or metrics."""
        ...


def traces(receiver: Receiver) -> TracesData:
    """All spans that came."""
    data = TracesData()
    for message in receiver.received("traces"):
        data.MergeFromString(message)
    return data


def metrics(receiver: Receiver) -> MetricsData:
    """All metrics that came."""
    data = MetricsData()
    for message in receiver.received("metrics"):
        data.MergeFromString(message)
    return data


@dataclass
class Own:
    """Keeps the bodies of requests, by path."""

    endpoint: str = ""
    bodies: dict[str, list[bytes]] = field(default_factory=lambda: {"/v1/traces": [], "/v1/metrics": []})

    def received(self, signal: str) -> list[bytes]:
        return self.bodies[f"/v1/{signal}"]


@asynccontextmanager
async def own() -> AsyncGenerator[Receiver]:
    """A receiver that parses what OTLP's own messages say, and refuses anything else."""
    receiver = Own()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/x-protobuf"
            receiver.bodies[self.path].append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield receiver
        finally:
            await asyncio.to_thread(server.shutdown)
            thread.join()


@dataclass(frozen=True)
class Collector:
    """Reads the files that the Collector writes: each message after its length, in four bytes."""

    endpoint: str
    folder: Path

    def received(self, signal: str) -> list[bytes]:
        path = self.folder / signal
        left = path.read_bytes() if path.exists() else b""
        found: list[bytes] = []
        while left:
            size = int.from_bytes(left[:4], "big")
            found.append(left[4 : 4 + size])
            left = left[4 + size :]
        return found


@asynccontextmanager
async def collector(program: Path, folder: Path) -> AsyncGenerator[Receiver]:
    """OpenTelemetry's Collector, with its receiver for OTLP and its exporter to files."""
    port = free_port()
    exporters = {f"file/{name}": {"path": str(folder / name), "format": "proto"} for name in ("traces", "metrics")}
    pipelines = {name: {"receivers": ["otlp"], "exporters": [f"file/{name}"]} for name in ("traces", "metrics")}
    settings = {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
        "exporters": exporters,
        "service": {"telemetry": {"metrics": {"level": "none"}}, "pipelines": pipelines},
    }
    config = folder / "collector.yaml"
    config.write_text(json.dumps(settings))
    with (folder / "collector.log").open("w") as log:
        process = subprocess.Popen([program, "--config", config], stdout=log, stderr=log)
        try:
            async with asyncio.timeout(60):
                while True:
                    assert process.poll() is None, (folder / "collector.log").read_text()
                    try:
                        socket.create_connection(("127.0.0.1", port), timeout=2).close()
                        break
                    except OSError:
                        await asyncio.sleep(0.05)
            yield Collector(f"http://127.0.0.1:{port}", folder)
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 60)
