"""A worker that some messages kill: run by test_killers, again and again, until it ends in peace.

    python -m tests.adapters.crashing SETTINGS

SETTINGS is JSON: those of the bus, and ``log``, a file that all runs share, ``killers``, the numbers of the messages that
end the process, and ``messages``, how many there are in all. A line of the log says what began, what was done, or which
became a dead letter. It ends in peace when every message is one of the latter two.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from brokerkit import Bus, Message, Notice
from brokerkit.events.evenbet import OnPlayerSeatedDown

KILLED = 9


def main() -> None:
    settings = json.loads(sys.argv[1])
    log, killers, messages = Path(settings.pop("log")), settings.pop("killers"), settings.pop("messages")
    bus = Bus(settings.pop("url"), **settings)

    def note(what: str, which: object) -> None:
        with log.open("a") as file:
            file.write(f"{what} {which}\n")
        lines = log.read_text().splitlines()
        ended = {line.partition(" ")[2] for line in lines if not line.startswith("begun")}
        if len(ended) >= messages:
            os.kill(os.getpid(), signal.SIGTERM)

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        note("begun", f"{event.player_id} attempt {message.attempt}")
        if event.player_id in killers:
            os._exit(KILLED)  # no clean-up of any kind: as a kill or a crash of an extension would
        note("done", event.player_id)

    def told(notice: Notice) -> None:
        if notice.kind == "dead_letter":
            note("letter", notice.message_id)

    bus.add_hook(told)
    bus.run()


if __name__ == "__main__":
    main()
