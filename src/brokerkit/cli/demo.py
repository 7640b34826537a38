"""``brokerkit demo``: the main job in ten seconds, on the embedded broker or on a real one."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import time
import uuid
from dataclasses import replace
from typing import Annotated, Any, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from brokerkit import Bus, Message, Stats, adapters
from brokerkit._config import ONLY, from_keywords
from brokerkit._url import Url
from brokerkit.cli import _demo_handlers
from brokerkit.cli._demo_handlers import Books, make_handlers
from brokerkit.cli._demo_screen import Screen
from brokerkit.cli._output import console
from brokerkit.events.evenbet import OnGameDone, OnTransactionNotification
from brokerkit.simulate import evenbet

_INTERVAL: Final = 0.02
"""Seconds from one event to the next, so that a reader can follow."""
_FAST_EVENTS: Final = 500
_FEWEST_EVENTS: Final = 40
_PATIENCE: Final = 30.0
"""Seconds to wait for the last messages after the last one is published."""

_CUT_OFF: Final = b'{"gameId": 771203344, "tableId": 660091, "totalRake": 120, "participations": [{"playe'
_NOBODYS: Final = OnTransactionNotification(transaction_id=1, param_player_id=0, amount=-5_000)


def demo(
    *,
    url: str = "memory://",
    seconds: Annotated[float, Parameter(validator=Number(gt=0, lte=3600))] = 10,
    seed: int = 1,
    fast: Annotated[bool, Parameter(negative="")] = False,
    topic: str | None = None,
    code: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """See brokerkit work: a poker room's hands, tournaments and logins are published, and typed handlers keep its books.

    One message is cut off in the middle, one handler fails twice before it works, and one never works: nothing stops,
    nothing is lost. The exit code is 0 if every message is accounted for.

    Args:
        url: the broker: `kafka://localhost:9092`, `amqp://…`, `sqs://…`, `sns://…`, `redis://…`, `redis+pubsub://…`.
            What the demo needs there is created and stays. Settings can stand in the query.
        seconds: for how long events are published.
        seed: the same seed gives the same events.
        fast: publish 500 events as fast as the broker takes them.
        topic: the topic; by default a new one for each run.
        code: print the handlers instead.
    """
    if code:
        print(inspect.getsource(_demo_handlers), end="")
        return 0
    events = _FAST_EVENTS if fast else max(_FEWEST_EVENTS, round(seconds / _INTERVAL))
    return asyncio.run(_Demo(url, _settings(url, topic)).run(seed, events, interval=0.0 if fast else _INTERVAL))


def _settings(url: str, topic: str | None) -> dict[str, Any]:
    """What the demo sets, unless the URL's query says otherwise."""
    defaults = {
        "topic": f"brokerkit-demo-{uuid.uuid4().hex[:8]}",
        "group": "demo",
        "format": "evenbet",
        "provision": "all",
    }
    query = dict(Url.parse(url).query)
    chosen = {key: value for key, value in defaults.items() if key not in query}
    return chosen if topic is None else {**chosen, "topic": topic}


class _Demo:
    """One run: a bus that publishes to itself, and the books of both sides."""

    def __init__(self, url: str, settings: dict[str, Any]) -> None:
        self._books = Books()
        self._bus = Bus(url, **settings)
        self._bus.include(make_handlers(self._books))
        self._source = from_keywords({"url": url, **settings}, os.environ).sources[ONLY]
        self._screen = Screen(console(), self._books)
        self._published = 0
        self._rake = 0

    async def run(self, seed: int, events: int, *, interval: float) -> int:
        """Publish so many events, wait for the handlers, and tell what became of them; returns the exit code."""
        connection = self._source.connection()
        [topic] = self._source.topic
        adapter = adapters.make(connection)
        promises = adapter.capabilities(topic)
        with self._screen:
            self._screen.say(f"{events} events of a simulated poker room, topic {topic} on {connection.url}")
            if not promises.at_least_once:
                self._screen.say(f"{promises.broker} delivers at most once, and has no place for dead letters")
            async with self._bus.serving():
                refreshing = asyncio.create_task(self._refresh())
                try:
                    await self._publish(seed, events, interval)
                    await self._wait()
                finally:
                    refreshing.cancel()
                stats = replace(self._stats)
            self._screen.show(self._published, stats)
        place = adapter.derived(topic, self._source.group, "dlq")
        where = f"in {place} on {connection.url}" if promises.dead_letters else "counted and logged alone"
        return self._sum_up(stats, where)

    async def _publish(self, seed: int, events: int, interval: float) -> None:
        started = time.monotonic()
        for number, (name, event, key) in enumerate(itertools.islice(evenbet.events(seed), events)):
            if number == events // 4:
                self._screen.say("published an OnGameDone that is cut off in the middle: no handler can read it")
                await self._bus.publish(Message("OnGameDone", _CUT_OFF, key="660091"))
                self._published += 1
            if number == events // 2:
                self._screen.say("published a transaction of player 0, who has no account: its handler will give up")
                await self._bus.publish(_NOBODYS, key="0")
                self._published += 1
            await self._bus.publish(name, event, key=key)
            self._published += 1
            if isinstance(event, OnGameDone) and not event.tournament_id:
                self._rake += event.total_rake or 0
            await asyncio.sleep(max(started + number * interval - time.monotonic(), 0))

    @property
    def _stats(self) -> Stats:
        return self._bus.stats[ONLY]

    async def _wait(self) -> None:
        give_up = time.monotonic() + _PATIENCE
        while self._stats.handled + self._stats.dead_lettered < self._published and time.monotonic() < give_up:
            await asyncio.sleep(_INTERVAL)

    async def _refresh(self) -> None:
        while True:
            self._screen.show(self._published, self._stats)
            await asyncio.sleep(0.1)

    def _sum_up(self, stats: Stats, where: str) -> int:
        rake = sum(table.rake for table in self._books.rakes.values())
        checks = {
            "handled and dead letters are not what was published": (
                stats.handled + stats.dead_lettered == self._published
            ),
            "the handlers saw another number of events": self._books.handled.total() == stats.handled,
            "the rake in the table is not the rake that was published": rake == self._rake,
        }
        wrong = [what for what, holds in checks.items() if not holds]
        say = self._screen.print
        say(f"published      {self._published:>6,}")
        say(f"handled        {stats.handled:>6,}")
        say(f"retried        {stats.retried:>6,}   failed attempts that were made again")
        say(f"dead letters   {stats.dead_lettered:>6,}   {where}")
        if stats.lost:
            say(f"redelivered    {stats.lost:>6,}   taken away by the broker and delivered again")
        say(f"The numbers do not add up: {'; '.join(wrong)}." if wrong else "Every message is accounted for.")
        say("The handlers are shown by: brokerkit demo --code")
        return 1 if wrong else 0
