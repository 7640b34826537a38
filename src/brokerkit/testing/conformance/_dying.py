"""A process that ends without a word, like one that is killed; its argument says where, stdin has the settings as JSON.

``publisher``: as soon as its message is confirmed. ``member``: as soon as its handler has begun.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from brokerkit import Bus, Message
from brokerkit.testing.conformance._tools import Recorder, numbered


async def _publish(settings: dict[str, Any]) -> None:
    async with Bus(settings.pop("url"), **settings) as bus:
        await bus.publish(numbered(6))
        os._exit(9)


def _die(number: int, message: Message) -> None:
    os._exit(9)


async def _consume(settings: dict[str, Any]) -> None:
    async with Recorder(_die).serving(Bus(settings.pop("url"), **settings)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run({"publisher": _publish, "member": _consume}[sys.argv[1]](json.load(sys.stdin)))
