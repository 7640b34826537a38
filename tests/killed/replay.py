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
from brokerkit._consuming import _rounds


async def replay(settings: dict[str, Any]) -> None:
    async with Bus(settings.pop("url"), **settings) as bus:
        await bus.replay_dead_letters()


if __name__ == "__main__":
    _rounds._LEASE = 2.0  # type: ignore[misc]
    asyncio.run(replay(json.loads(sys.argv[1])))
