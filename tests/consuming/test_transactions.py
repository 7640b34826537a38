"""Transactions on their own: answers that a broker gives only while a partition moves to another member."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from brokerkit._consuming._transactions import Transactions
from brokerkit._errors import BrokerkitError
from brokerkit._guard import start
from brokerkit._messages._delivery import ACK, Delivery, Part, RetryLater, Settled, State
from brokerkit._messages._outgoing import Outgoing
from brokerkit.adapters.kafka import CAPABILITIES

LETTER = Outgoing(topic="letters", body=b"", name="Paid", id="1")


class Scene:
    """A source whose partition is another member's, and who is told of the answers."""

    def __init__(self) -> None:
        nobody: Any = None
        self.advanced: list[Delivery] = []
        self.stored: list[Delivery] = []
        self.settled: list[tuple[Delivery, Settled]] = []
        self.committed: list[Part] = []
        self.transactions = Transactions(
            self,
            name="bus",
            adapter=nobody,
            capabilities=CAPABILITIES,
            acknowledged=nobody,
            settled=lambda delivery, _, answer: self.settled.append((delivery, answer)),
            letter_stored=self.stored.append,
            advance=self.advanced.append,
            refused=nobody,
        )

    def received(self, count: int) -> list[Delivery]:
        deliveries = [Delivery(body=b"", topic="t", token="p") for _ in range(count)]
        self.transactions.receive(deliveries)
        return deliveries

    async def run(self) -> None:
        """Commit what is ready."""
        task = start(self.transactions.run(), lambda error: None)
        async with asyncio.timeout(10):
            while self.transactions.is_busy:
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    def check(self, outgoing: Outgoing) -> None:
        """See `Transactional.check`."""

    async def commit(self, parts: Sequence[Part]) -> list[Settled | BrokerkitError]:
        """See `Transactional.commit`."""
        self.committed += parts
        return [Settled.LOST] * len(parts)


async def test_the_lane_of_a_dead_letter_that_is_lost_is_opened() -> None:
    """With a strict order it waits for the letter. The message comes again, here perhaps, and its key goes on then."""
    scene = Scene()
    [delivery] = scene.received(1)
    scene.transactions.add_letter(delivery, LETTER)
    await scene.run()
    assert scene.committed == [Part(delivery, ACK, (LETTER,))]
    assert scene.settled == [(delivery, Settled.LOST)]
    assert scene.advanced == [delivery]
    assert scene.stored == []


async def test_the_lane_of_a_message_that_was_put_off_behind_a_lost_one_is_opened() -> None:
    scene = Scene()
    lost, put_off = scene.received(2)
    scene.transactions.add(put_off, RetryLater(30.0, LETTER))
    lost.state = State.LOST
    scene.transactions.drop(lost)
    await scene.run()
    assert scene.settled == [(put_off, Settled.LOST)]
    assert scene.advanced == [put_off]
