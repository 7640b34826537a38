"""A consuming process that dies at any moment: `python -m tests.chaos.worker SETTINGS`.

SETTINGS is JSON: ``bus`` (what `Bus` takes), ``log`` (a file that all workers share), ``failing`` (which part of all
attempts fails), ``killer`` (the id of a message that ends the process, or ""). It writes a line when it is ready, one for
each message that is handled: process, time, key, number, and one for each that becomes a dead letter: process, id.
Each line is one write to a file opened for appending: it is there once it is written, and lines of several
processes are in the order in which they were written.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import sys
import time

from brokerkit import Bus, Message, Notice
from brokerkit.events.evenbet import OnPlayerSeatedDown

KILLED = 9
"""The return code of a process that a message ended."""


async def main(settings: dict[str, object]) -> None:
    """Consume until told to stop."""
    bus_settings: dict[str, object] = settings["bus"]  # type: ignore[assignment]
    failing: float = settings["failing"]  # type: ignore[assignment]
    killer: str = settings["killer"]  # type: ignore[assignment]
    log = os.open(str(settings["log"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    pid = os.getpid()
    bus = Bus(**bus_settings)  # type: ignore[arg-type]

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        if message.id == killer:
            os._exit(KILLED)
        await asyncio.sleep(random.random() * 0.002)
        if random.random() < failing:
            raise RuntimeError("this attempt fails, the next may not")
        key = message.key.decode() if isinstance(message.key, bytes) else message.key
        os.write(log, f"{pid} {time.time():.4f} {key} {event.player_id}\n".encode())

    def told(notice: Notice) -> None:
        if notice.kind == "dead_letter":
            os.write(log, f"{pid} letter {notice.message_id}\n".encode())

    bus.add_hook(told)
    async with bus, bus.serving():
        os.write(log, f"{pid} ready\n".encode())
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    logging.basicConfig(filename=os.environ["CHAOS_ERRORS"], level=logging.ERROR)
    asyncio.run(main(json.loads(sys.argv[1])))
