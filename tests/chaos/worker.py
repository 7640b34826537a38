"""A consuming process that dies at any moment: `python -m tests.chaos.worker SETTINGS`.

SETTINGS is JSON: ``bus`` (what `Bus` takes), ``log`` (a file that all workers share), ``failing`` (which part of all
attempts fails), ``spoiled`` (each message whose number is a multiple of it fails always; 0 for none), ``killer`` (the id of
a message that ends the process, or ""), ``watched`` (whether it answers over HTTP).

It writes a line for each thing that happens, with its process first: when it is ready, and for each message that is
handled (time, key, number), each attempt that fails (whether there will be another), and each message that becomes a dead
letter (id). A watched one also writes its port, and "drained" when it was told to end (SIGTERM) and has stopped; it ends
when it is told again. Each line is one write to a file opened for appending: it is there once it is written, and lines of
several processes are in the order in which they were written.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import sys
import time
from contextlib import AsyncExitStack

from brokerkit import Bus, Message, Notice
from brokerkit._http._server import answering, listener
from brokerkit.events.evenbet import OnPlayerSeatedDown

KILLED = 9
"""The return code of a process that a message ended."""


async def main(settings: dict[str, object]) -> None:
    """Consume until told to stop."""
    bus_settings: dict[str, object] = settings["bus"]  # type: ignore[assignment]
    failing: float = settings["failing"]  # type: ignore[assignment]
    spoiled: int = settings["spoiled"]  # type: ignore[assignment]
    attempts: int = bus_settings["retry"]["attempts"]  # type: ignore[index]
    file = os.open(str(settings["log"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    bus = Bus(**bus_settings)  # type: ignore[arg-type]

    def log(line: str) -> None:
        os.write(file, f"{os.getpid()} {line}\n".encode())

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        if message.id == settings["killer"]:
            os._exit(KILLED)
        await asyncio.sleep(random.random() * 0.002)
        if random.random() < failing or (spoiled and number_of(message) % spoiled == 0):
            log(f"failed {'finally' if message.attempt >= attempts else 'for-now'}")
            raise RuntimeError("this attempt fails, the next may not")
        key = message.key.decode() if isinstance(message.key, bytes) else message.key
        log(f"{time.time():.4f} {key} {event.player_id}")

    def told(notice: Notice) -> None:
        if notice.kind == "dead_letter":
            log(f"letter {notice.message_id}")

    bus.add_hook(told)
    signals: asyncio.Queue[None] = asyncio.Queue()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, signals.put_nowait, None)
    async with AsyncExitStack() as stack:
        if settings["watched"]:
            listening = listener("127.0.0.1:0", token=False)
            await stack.enter_async_context(answering(bus.http(), listening))
            log(f"port {listening.getsockname()[1]}")
        async with bus:
            async with bus.serving():
                log("ready")
                await signals.get()
            log("drained")
            await signals.get()


def number_of(message: Message) -> int:
    """The number in the id that `publish` gives a message."""
    return int(str(message.id).rpartition("-")[2])


if __name__ == "__main__":
    logging.basicConfig(filename=os.environ["CHAOS_ERRORS"], level=logging.ERROR)
    asyncio.run(main(json.loads(sys.argv[1])))
