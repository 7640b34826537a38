"""``brokerkit demo``: what brokerkit does, in ten seconds, on the durable broker in a file or on a real one."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import time
import uuid
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from brokerkit import Bus, ConfigError, Message, Stats, adapters
from brokerkit._config._loading import ONLY, from_keywords
from brokerkit._config._settings import ConnectionSettings
from brokerkit._url import Url
from brokerkit._vendors.evenbet import OnGameDone, OnTransactionNotification
from brokerkit._vendors.simulate import evenbet
from brokerkit.cli import _demo_handlers
from brokerkit.cli._demo_handlers import Books, make_handlers
from brokerkit.cli._demo_screen import Screen
from brokerkit.cli._output import console

_INTERVAL: Final = 0.02
"""Seconds from one event to the next: slow enough to follow."""
_FAST_EVENTS: Final = 500
_FEWEST_EVENTS: Final = 40
_FILE: Final = "sqlite:///brokerkit-demo.db"
_LEASE: Final = 10.0
"""Seconds until a run gets the messages that a killed run had under way."""
_LONGEST_WAIT: Final = 30.0
"""Seconds to wait for the last messages after the end of publishing."""

_CUT_OFF: Final = b'{"gameId": 771203344, "tableId": 660091, "totalRake": 120, "participations": [{"playe'
_UNKNOWN_PLAYER: Final = OnTransactionNotification(transaction_id=1, param_player_id=0, amount=-5_000)


def demo(
    *,
    url: str = _FILE,
    seconds: Annotated[float, Parameter(validator=Number(gt=0, lte=3600))] = 8,
    seed: int = 1,
    fast: Annotated[bool, Parameter(negative="")] = False,
    topic: str | None = None,
    code: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Watch brokerkit work: it publishes a poker room's hands, tournaments and logins, and typed handlers keep its books.

    One message is cut off in the middle, one handler fails twice before it works, and one handler never works. The
    handlers stop for a while, and the room plays on. Nothing is lost. The exit code is 0 if every message is accounted for.

    The broker is a file in the current folder, unless `--url` names another place. Stop the demo at any time, or kill
    it: the next run handles what is left.

    Args:
        url: the broker: `kafka://localhost:9092`, `amqp://…`, `sqs://…`, `sns://…`, `redis://…`, `redis+pubsub://…`, or
            `memory://`. The demo creates what it needs there, and leaves it. Settings can go into the query.
        seconds: how long events are published.
        seed: the same seed gives the same events.
        fast: publish 500 events as fast as the broker accepts them.
        topic: the topic; by default a new one for each run, but always the same one in a file.
        code: print the code of the handlers, and do nothing else.
    """
    if code:
        print(inspect.getsource(_demo_handlers), end="")
        return 0
    if url == _FILE and not os.access(Path.cwd(), os.W_OK):
        raise ConfigError(
            f"{Path(Url.parse(url).path).absolute()} cannot be written; --url chooses another place, such as "
            "sqlite:////tmp/brokerkit-demo.db"
        )
    events = _FAST_EVENTS if fast else max(_FEWEST_EVENTS, round(seconds / _INTERVAL))
    return asyncio.run(_Demo(url, _settings(url, topic)).run(seed, events, interval=0.0 if fast else _INTERVAL))


def _settings(url: str, topic: str | None) -> dict[str, Any]:
    """Return the demo's settings, without those that are in the URL's query."""
    defaults: dict[str, Any] = {
        "topic": f"brokerkit-demo-{uuid.uuid4().hex[:8]}",
        "group": "demo",
        "format": "evenbet",
        "provision": "all",
    }
    if ConnectionSettings.model_validate({"url": url.partition("?")[0]}).is_bytes_only:
        defaults["envelope"] = "brokerkit"  # the demo reads what it publishes itself, and needs the keys
    if _is_file(url):
        defaults |= {"topic": "brokerkit-demo", "lease": _LEASE}
    query = dict(Url.parse(url).query)
    chosen = {key: value for key, value in defaults.items() if key not in query}
    return chosen if topic is None else {**chosen, "topic": topic}


def _is_file(url: str) -> bool:
    return url.startswith("sqlite:")


class _Demo:
    """A run: a bus that publishes to itself, with the counts of both sides."""

    def __init__(self, url: str, settings: dict[str, Any]) -> None:
        self._books = Books()
        self._bus = Bus(url, **settings)
        self._bus.include(make_handlers(self._books))
        self._source = from_keywords({"url": url, **settings}, os.environ).sources[ONLY]
        self._screen = Screen(console(), self._books)
        self._stays = _is_file(url)
        self._service = AsyncExitStack()
        self._runs: list[Stats] = []
        self._left = 0
        self._published = 0
        self._rake = 0

    async def run(self, seed: int, events: int, *, interval: float) -> int:
        """Publish events, wait for the handlers, and print the result; return the exit code."""
        connection = self._source.connection()
        [topic] = self._source.topic
        adapter = adapters.make(connection)
        promises = adapter.capabilities(topic)
        with self._screen:
            self._screen.say(f"{events} events of a simulated poker room, topic {topic} on {connection.url}")
            if not promises.at_least_once:
                self._screen.say(f"{promises.broker} delivers at most once, and cannot store dead letters")
            async with self._bus:
                try:
                    await self._play(seed, events, interval, stops=promises.at_least_once)
                except asyncio.CancelledError:
                    if self._stays:
                        self._screen.say(
                            f"stopped; {await self._waiting()} messages wait in the file: run the demo again"
                        )
                    raise
            stats = self._stats
            self._screen.show(self._published, stats)
        queue = adapter.derived(topic, self._source.group, "dlq")
        where = f"in {queue} on {connection.url}" if promises.dead_letters else "only counted and logged"
        return self._sum_up(stats, where)

    async def _play(self, seed: int, events: int, interval: float, *, stops: bool) -> None:
        if self._stays and (left := await self._waiting()):
            self._left = left
            self._screen.say(f"{left} messages were left by a run that was stopped: they come first")
        async with self._service:
            await self._start()
            refreshing = asyncio.create_task(self._refresh())
            try:
                await self._publish(seed, events, interval, stops=stops)
                await self._wait()
            finally:
                refreshing.cancel()

    async def _start(self) -> None:
        await self._service.enter_async_context(self._bus.serving())
        self._runs.append(self._bus.stats[ONLY])

    async def _stop(self) -> None:
        """Stop the handlers when they have nothing to do: Kafka would repeat what was handled and not committed."""
        await self._wait()
        await self._service.aclose()

    async def _waiting(self) -> int:
        """How many messages of the topic are in the file, which keeps those that are not settled."""
        async with aclosing(self._bus.adapter().browse(self._source.topic)) as found:
            return len([delivery async for delivery in found])

    async def _publish(self, seed: int, events: int, interval: float, *, stops: bool) -> None:
        started = time.monotonic()
        for number, (name, event, key) in enumerate(itertools.islice(evenbet.events(seed), events)):
            if number == events // 4:
                self._screen.say("published an OnGameDone that is cut off in the middle: no handler can read it")
                await self._bus.publish(Message("OnGameDone", _CUT_OFF, key="660091"))
                self._published += 1
            if number == events // 2:
                self._screen.say("published a transaction of player 0, who has no account: its handler will give up")
                await self._bus.publish(_UNKNOWN_PLAYER, key="0")
                self._published += 1
            if number == events * 5 // 8 and stops:
                await self._stop()
                self._screen.say("the handlers stop, and the room plays on")
            if number == events * 3 // 4 and stops:
                self._screen.say(f"the handlers start again: {self._missing} messages wait for them")
                await self._start()
            await self._bus.publish(name, event, key=key)
            self._published += 1
            if isinstance(event, OnGameDone) and not event.tournament_id:
                self._rake += event.total_rake or 0
            await asyncio.sleep(max(started + number * interval - time.monotonic(), 0))

    @property
    def _stats(self) -> Stats:
        """What all runs of the handlers have counted."""
        return sum(self._runs, Stats())

    @property
    def _missing(self) -> int:
        """How many messages are neither handled nor dead letters yet."""
        stats = self._stats
        return self._left + self._published - stats.handled - stats.dead_lettered

    async def _wait(self) -> None:
        give_up = time.monotonic() + _LONGEST_WAIT
        while self._missing > 0 and time.monotonic() < give_up:
            await asyncio.sleep(_INTERVAL)

    async def _refresh(self) -> None:
        while True:
            self._screen.show(self._published, self._stats)
            await asyncio.sleep(0.1)

    def _sum_up(self, stats: Stats, where: str) -> int:
        rake = sum(table.rake for table in self._books.rakes.values())
        checks = {
            "handled and dead letters are not what was published": self._missing == 0,
            "the handlers counted a different number of events": self._books.handled.total() == stats.handled,
            # What was left by another run has a rake of its own.
            "the rake in the table is not the rake that was published": rake == self._rake or self._left > 0,
        }
        wrong = [what for what, holds in checks.items() if not holds]
        say = self._screen.print
        if self._left:
            say(f"left before    {self._left:>6,}   by a run that was stopped")
        say(f"published      {self._published:>6,}")
        say(f"handled        {stats.handled:>6,}")
        say(f"retried        {stats.retried:>6,}   failed attempts that were retried")
        say(f"dead letters   {stats.dead_lettered:>6,}   {where}")
        if stats.lost:
            say(f"redelivered    {stats.lost:>6,}   taken away by the broker and delivered again")
        say(f"The numbers do not add up: {'; '.join(wrong)}." if wrong else "Every message is accounted for.")
        say("To see the handlers: brokerkit demo --code")
        return 1 if wrong else 0
