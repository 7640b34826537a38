"""Test a service without its broker: the wallet below reads from Kafka, the test brings everything itself.

Run it: python examples/testing_a_service.py
In a test of pytest the fixture `brokerkit_test` makes the test bus; see docs/testing.md.
"""

import asyncio

from brokerkit import Bus, Message, Reject, Retry
from brokerkit.events.evenbet import OnGameDone, OnGetCash
from brokerkit.testing import TestBus

bus = Bus("kafka://kafka.example.org:9092", topic="evenbet.events", group="wallet", format="evenbet")


@bus.on("OnGetCash")
async def pay(event: OnGetCash, message: Message) -> None:
    if message.key is None:
        raise Reject("whose cash is this?")
    if message.attempt == 1:
        raise Retry("the ledger is locked", after=1_800)
    await bus.publish(OnGameDone(game_id=77), key=message.key)


async def check_the_wallet() -> None:
    async with TestBus(bus) as test:
        await test.deliver("OnGetCash", {}, key="player-5")
        await test.deliver("OnGetCash", {})
        await test.settled()  # half an hour passes in no time
        test.assert_handled("OnGetCash", times=1)
        test.assert_published("OnGameDone", key="player-5", game_id=77)
        test.assert_dead_lettered("OnGetCash", error="whose cash", attempts=1)
        print(test.describe())


if __name__ == "__main__":
    asyncio.run(check_the_wallet())
