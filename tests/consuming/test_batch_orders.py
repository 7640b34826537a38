"""Whatever comes, and however it fails: batches keep the order of each key, and every message comes to one end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from brokerkit import Bus, FailedItems, Message, Reject, RetryPolicy
from brokerkit.events.evenbet import OnGameDone, OnPlayerSeatedDown
from brokerkit.testing import TestBus

ATTEMPTS = 3


@dataclass
class Sent:
    """One message, and how it ends.

    Attributes:
        failures: how often it fails; from `ATTEMPTS` on it becomes a dead letter.
        reject: whether it fails for good at once.
    """

    key: str | None
    single: bool
    failures: int
    reject: bool

    @property
    def runs(self) -> int:
        return 1 if self.reject else min(self.failures + 1, ATTEMPTS)

    @property
    def is_dead(self) -> bool:
        return self.reject or self.failures >= ATTEMPTS


sent = st.builds(
    Sent,
    key=st.sampled_from(["a", "b", None]),
    single=st.sampled_from([False, False, False, True]),
    failures=st.sampled_from([0, 0, 0, 0, 1, 2, 3]),
    reject=st.sampled_from([False] * 7 + [True]),
)


class Model:
    """Runs the handlers, and checks that none runs too early."""

    def __init__(self, messages: list[Sent], size: int, pause: float) -> None:
        self.messages = messages
        self.size = size
        self.pause = pause
        self.runs = [0] * len(messages)
        self.running: set[int] = set()

    async def run(self, numbers: list[int]) -> dict[int, Exception]:
        assert 0 < len(numbers) <= self.size
        for position, number in enumerate(numbers):
            key = self.messages[number].key
            for earlier in range(number) if key is not None else ():
                if self.messages[earlier].key == key:
                    together = earlier in numbers[:position]
                    assert together or (self.is_over(earlier) and earlier not in self.running), (earlier, numbers)
        assert self.running.isdisjoint(numbers)
        self.running.update(numbers)
        await asyncio.sleep(self.pause)
        self.running.difference_update(numbers)
        errors: dict[int, Exception] = {}
        for position, number in enumerate(numbers):
            self.runs[number] += 1
            if self.messages[number].reject:
                errors[position] = Reject("for good")
            elif self.runs[number] <= self.messages[number].failures:
                errors[position] = RuntimeError("not yet")
        return errors

    def is_over(self, number: int) -> bool:
        return self.runs[number] == self.messages[number].runs


@settings(max_examples=60, deadline=None)
@given(
    messages=st.lists(sent, min_size=1, max_size=20),
    size=st.integers(1, 6),
    concurrency=st.integers(1, 4),
    room=st.sampled_from([3, 8, 1000]),
    pause=st.sampled_from([0.0, 0.3]),
    gap=st.sampled_from([0.0, 0.07]),
)
def test_any_messages_end_once_and_in_the_order_of_their_keys(
    messages: list[Sent], size: int, concurrency: int, room: int, pause: float, gap: float
) -> None:
    asyncio.run(one_run(messages, size, concurrency, room, pause, gap))


async def one_run(messages: list[Sent], size: int, concurrency: int, room: int, pause: float, gap: float) -> None:
    bus = Bus(
        "memory://orders",
        topic="events",
        group="wallet",
        format="evenbet",
        order="strict",
        concurrency=concurrency,
        max_in_flight=room,
        retry=RetryPolicy(attempts=ATTEMPTS, first=0.1, cap=0.4),
    )
    model = Model(messages, size, pause)
    broken = list[AssertionError]()

    async def run(numbers: list[int]) -> dict[int, Exception]:
        try:
            return await model.run(numbers)
        except AssertionError as error:
            broken.append(error)
            raise

    @bus.on_batch("OnPlayerSeatedDown", size=size, within=0.2)
    async def many(events: list[OnPlayerSeatedDown], them: list[Message]) -> FailedItems:
        return FailedItems(await run([event.player_id or 0 for event in events]))

    @bus.on("OnGameDone")
    async def one(event: OnGameDone) -> None:
        for error in (await run([event.game_id or 0])).values():
            raise error

    async with TestBus(bus) as test:
        for number, message in enumerate(messages):
            event = OnGameDone(game_id=number) if message.single else OnPlayerSeatedDown(player_id=number)
            await test.deliver(event, key=message.key)
            if gap:
                await asyncio.sleep(gap)
        await test.settled(timeout=600)
        assert not broken
        assert model.runs == [message.runs for message in messages]
        assert len(test.dead_letters) == sum(message.is_dead for message in messages)
        assert len(test.handled) == sum(not message.is_dead for message in messages)
