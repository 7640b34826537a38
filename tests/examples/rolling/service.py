"""The service of the rolling update: it says the number of each event that it has handled."""

import asyncio
import os

from brokerkit import Bus
from brokerkit.events.evenbet import OnUserLoggedIn

bus = Bus(
    os.environ["ROLLING_URL"],
    endpoint=os.environ.get("ROLLING_ENDPOINT"),
    topic=os.environ["ROLLING_TOPIC"],
    group="wallet",
    format="evenbet",
    provision="all",
)


@bus.on("OnUserLoggedIn")
async def handle(event: OnUserLoggedIn) -> None:
    """Work for some milliseconds, as a query of a database would."""
    await asyncio.sleep(0.005)
    os.write(1, f"{event.player_id}\n".encode())
