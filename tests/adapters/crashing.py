"""A worker that a message kills: run by test_retries, again and again, until it ends in peace.

The argument is JSON: the settings of the bus.
"""

import json
import os
import signal
import sys

from brokerkit import Bus, Notice
from brokerkit.events.evenbet import OnPlayerSeatedDown

KILLED = 9


def main() -> None:
    settings = json.loads(sys.argv[1])
    bus = Bus(settings.pop("url"), **settings)

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown) -> None:
        os._exit(KILLED)  # no clean-up of any kind: as a kill or a crash of an extension would

    def told(notice: Notice) -> None:
        if notice.kind == "dead_letter":
            os.kill(os.getpid(), signal.SIGTERM)

    bus.add_hook(told)
    bus.run()


if __name__ == "__main__":
    main()
