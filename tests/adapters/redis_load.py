"""Numbered events that flow while Redis servers move, fail and come back."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any, Self

from brokerkit import Bus, Message, RetryPolicy
from brokerkit.events.evenbet import OnPlayerSeatedDown


class Load:
    """Numbered events on some topics: each is published once the one before it is confirmed, and all are handled."""

    def __init__(self, url: str, topics: list[str], **settings: Any) -> None:
        self.topics = topics
        self.handled: Counter[tuple[str, int]] = Counter()
        self.order: dict[str, list[int]] = {topic: [] for topic in topics}
        usual: dict[str, Any] = {
            "group": "wallet",
            "provision": "all",
            "format": "evenbet",
            "lease": 3,
            "publish_timeout": 60,
            "hold": 0,
            "retry": RetryPolicy(attempts=20, first=0.1, cap=1.0),
        }
        if "+list" in url:
            usual["envelope"] = "brokerkit"
        self.bus = Bus(url, topic=topics, **usual | settings)
        self._publishers = [Bus(url, topic=topic, **usual | settings) for topic in topics]
        self._published = 0

        @self.bus.on("OnPlayerSeatedDown")
        async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
            # Every seventh fails at first, and waits at the broker.
            if event.player_id % 7 == 0 and message.attempt == 1:
                raise RuntimeError("not yet")
            self.handled[message.topic, event.player_id] += 1
            self.order[message.topic].append(event.player_id)

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        for each in (*self._publishers, self.bus):
            await self._stack.enter_async_context(each)
        await self._stack.enter_async_context(self.bus.serving())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def publish(self, count: int) -> None:
        """Publish so many more to each topic; all of them are confirmed."""
        first, self._published = self._published, self._published + count

        async def each(bus: Bus) -> None:
            for number in range(first, first + count):
                await bus.publish(OnPlayerSeatedDown(player_id=number))

        await asyncio.gather(*map(each, self._publishers))

    async def has_handled_everything(self, *, bounded: float = 60) -> None:
        """Wait until everything that was published was handled: nothing is lost."""
        wanted = {(topic, number) for topic in self.topics for number in range(self._published)}
        try:
            async with asyncio.timeout(bounded):
                while wanted - self.handled.keys():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"lost: {sorted(wanted - self.handled.keys())}") from None
