"""A publisher that is gone without a word as soon as its one message is confirmed; reads settings as JSON from stdin."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from brokerkit import Bus
from brokerkit.testing.conformance._tools import numbered


async def _main(settings: dict[str, Any]) -> None:
    async with Bus(settings.pop("url"), **settings) as bus:
        await bus.publish(numbered(6))
        os._exit(9)


if __name__ == "__main__":
    asyncio.run(_main(json.load(sys.stdin)))
