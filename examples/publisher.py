"""Publish events: one that is waited for, and many at once with a result for each.

Run it: python examples/publisher.py [URL], such as kafka://localhost:9092; without one nothing leaves the process.
"""

import asyncio
import sys

from brokerkit import Bus, Receipt
from brokerkit.events.evenbet import OnGameDone, OnUserLoggedIn


async def main(url: str) -> None:
    """Publish to the topic evenbet-events, which is created: right for a try, seldom for production."""
    bus = Bus(url, topic="evenbet-events", format="evenbet", provision="all")
    async with bus:
        receipt = await bus.publish(OnGameDone(game_id=7, table_id=242487), key="242487")
        print(f"the broker has {receipt.id} at {receipt.position}")

        results = await bus.publish_many(
            [
                OnUserLoggedIn(player_id=1, nick="ann"),
                ("OnUserLoggedIn", {"playerId": 2, "nick": "bob"}),
                ("OnUserLoggedIn", {"playerId": "nobody"}),
            ]
        )
        # Not atomic: each item has a receipt, or the error that kept it back.
        for number, result in enumerate(results, 1):
            print(f"{number}: {f'sent as {result.id}' if isinstance(result, Receipt) else f'not sent: {result}'}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "memory://"))
