"""Follow ThrillConnect's WebSocket: typed events as they come, and a request with its answer.

Run it:

    export THRILLCONNECT_TOKEN=...
    python examples/jackpots.py 'thrillconnect+wss://HOST/v1/events/OPERATOR/BRAND?currency=EUR' PLAYER
"""

import asyncio
import os
import sys

from brokerkit import Bus, Handlers
from brokerkit.events.thrillconnect import JackpotUpdate, RaffleTicketQuestion, RaffleWinEvent
from brokerkit.thrillconnect import RequestFailed, client_of

handlers = Handlers()
drawn: asyncio.Queue[str] = asyncio.Queue()


async def token() -> str:
    """Asked for at each connect: a real one gets a fresh token of the player's session."""
    return os.environ["THRILLCONNECT_TOKEN"]


@handlers.on("JackpotUpdate", source="bus")
async def follow(event: JackpotUpdate) -> None:
    for pot in event.data.pots or []:
        print(f"{event.brand_id}: {pot.id} is worth {pot.current_value} {event.data.currency}")


@handlers.on("thrillconnect:RaffleWinEvent")
async def celebrate(event: RaffleWinEvent) -> None:
    print(f"{event.data.jackpot_name} is drawn")
    drawn.put_nowait(event.data.instance_id or "")


async def main(url: str, player: str) -> None:
    """Wait for a raffle to be drawn, and ask how many tickets the player had."""
    bus = Bus(url, topic=["thrillpots", "thrillgate"], format="thrillconnect", options={"token": token})
    bus.include(handlers)
    async with bus.serving():
        raffle = await drawn.get()
        client = client_of(bus)
        brand = ":".join(url.partition("?")[0].split("/")[-2:])
        try:
            tickets = await client.raffle_tickets(
                RaffleTicketQuestion(player_id=player, instance_id=raffle, brand_id=brand), timeout=5
            )
            print(f"{player} had {tickets.data.model_extra}")
        except RequestFailed as error:
            print(error)
        print(f"{client.received} messages, {client.dropped} dropped, {client.gaps} gaps")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
