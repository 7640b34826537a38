"""The bus of the curve of workers: `brokerkit run benchmarks.served:bus --workers N`, started by `benchmarks.growth`."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from brokerkit import Bus
from brokerkit.events.evenbet import OnGameDone

_settings = json.loads(os.environ["BENCHMARK_SETTINGS"])
bus = Bus(
    _settings.pop("url"),
    topic=os.environ["BENCHMARK_TOPIC"],
    group="workers",
    format="evenbet",
    order="none",
    **_settings,
)
_handled, _noted = 0, int(os.environ["BENCHMARK_NOTED"])
_notes = Path(os.environ["BENCHMARK_FOLDER"], str(os.getpid())).open("a", buffering=1)  # noqa: SIM115 - to its end


@bus.on(OnGameDone)
async def handle(_event: OnGameDone) -> None:
    """Note the time and the count, every so many messages, in a file of this process."""
    global _handled
    _handled += 1
    if _handled % _noted == 0:
        _notes.write(f"{time.time()} {_handled}\n")
