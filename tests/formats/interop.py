"""Messages that other programs wrote, byte for byte, and the settings that read each.

A line of ``samples/*.jsonl`` is one message: its program and version, the broker that it came through, the settings, the
event name, and what the program sent. Host names and addresses are replaced. docs/interop.md is made from these lines.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from brokerkit._messages._delivery import Delivery

FOLDER: Final = Path(__file__).parent / "samples"


@dataclass(frozen=True)
class Sample:
    """One message.

    Attributes:
        peer: the program, and which of its ways to write.
        settings: those of the source that reads it.
        payload: the event as the program writes it.
        inspected: whether ``inspect`` proposes this format. Where a program leaves no trace of itself it cannot.
    """

    peer: str
    version: str
    broker: str
    settings: Mapping[str, Any]
    name: str
    message: Mapping[str, Any]
    payload: Mapping[str, Any] = field(default_factory=lambda: {"playerId": 5, "amount": "2.50"})
    inspected: bool = True

    def __str__(self) -> str:
        return f"{self.peer} {self.version} {self.broker}"

    def delivery(self) -> Delivery:
        """The message as an adapter hands it to the core."""
        message = self.message
        headers = {
            name: base64.b64decode(value["base64"]) if isinstance(value, dict) else value
            for name, value in message.get("headers", {}).items()
        }
        return Delivery(
            body=base64.b64decode(message["body"]),
            topic=message.get("topic", "topic"),
            key=message.get("key"),
            headers=headers,
            routing_key=message.get("routing_key"),
            type=message.get("type"),
        )


def samples() -> list[Sample]:
    """All of them, by program and broker."""
    found = [Sample(**json.loads(line)) for file in FOLDER.glob("*.jsonl") for line in file.read_text().splitlines()]
    return sorted(found, key=str)
