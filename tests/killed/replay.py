"""A replay of dead letters that may be killed: run as a program by test_replay_killed.py.

    python -m tests.killed.replay SETTINGS

SETTINGS are those of a bus, as JSON. What a killed replay had in hand is with the next one after two seconds, not thirty.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from brokerkit import Bus
from brokerkit.adapters.aws import _cursor


async def replay(settings: dict[str, Any]) -> None:
    async with Bus(settings.pop("url"), **settings) as bus:
        await bus.dead_letters().replay()


if __name__ == "__main__":
    _cursor._HIDDEN, _cursor._RENEW = 2.0, 1.0  # type: ignore[misc]
    asyncio.run(replay(json.loads(sys.argv[1])))
