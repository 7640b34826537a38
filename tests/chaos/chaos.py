"""Workers that are killed, and what came of it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brokerkit import Bus
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.chaos.worker import KILLED

IN_FLIGHT = 50
"""Messages that are not settled, for each worker at most."""

KEYS = 40
STALL = 60.0
"""Seconds without any message after which a run has failed."""

POLL = 0.05

COMMON: Mapping[str, Any] = {
    "format": "evenbet",
    "provision": "all",
    "lease": 3.0,
    "max_in_flight": IN_FLIGHT,
    "retry": {"attempts": 30, "first": 0.01, "cap": 0.05},
}


@dataclass(frozen=True, slots=True)
class Line:
    """One message that one worker has handled."""

    pid: int
    at: float
    key: str
    number: int


@dataclass
class Workers:
    """Some worker processes on one source, and all that they have handled.

    Args:
        bus: what `Bus` takes.
        folder: for what they write.
        count: how many run at once.
        failing: which part of all attempts fails.
        window: seconds before a death for which the broker may not know yet what was done: until the next commit, or
            behind a message that fails.
        killer: id of a message that ends each process that begins with it, or "".
        spoiled: each message whose number is a multiple of it becomes a dead letter; 0 for none.
        watched: whether they answer over HTTP, and end when they are told.

    Attributes:
        did: what each process has done, by words, as it wrote it.
        ports: where those answer that are watched.
    """

    bus: Mapping[str, Any]
    folder: Path
    count: int
    failing: float = 0.0
    window: float = 0.3
    killer: str = ""
    spoiled: int = 0
    watched: bool = False
    did: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    ports: dict[int, int] = field(default_factory=dict[int, int])
    letters: list[str] = field(default_factory=list[str])
    lines: list[Line] = field(default_factory=list[Line])
    seen: Counter[tuple[str, int]] = field(default_factory=Counter[tuple[str, int]])
    ready: set[int] = field(default_factory=set[int])
    disturbed: list[tuple[float, tuple[int, ...]]] = field(default_factory=list[tuple[float, tuple[int, ...]]])
    events: Counter[str] = field(default_factory=Counter[str])
    _processes: list[asyncio.subprocess.Process] = field(default_factory=list[asyncio.subprocess.Process])
    _read: int = 0

    async def start(self) -> None:
        """Start them all, and wait until each is consuming."""
        for _ in range(self.count):
            await self._spawn()
        async with asyncio.timeout(60):
            while len(self.ready) < self.count:
                await asyncio.sleep(POLL)
                self.browse()

    async def end(self, drained: Callable[[int], Awaitable[None]]) -> None:
        """Let the oldest stop in order, and start another in its place.

        Args:
            drained: called with the process when it has stopped consuming, and still answers.
        """
        await self._end_oldest(drained)
        await self._spawn()

    async def end_all(self, drained: Callable[[int], Awaitable[None]]) -> None:
        """Let all of them stop in order. `drained` is as for `end`."""
        while self._processes:
            await self._end_oldest(drained)

    async def _end_oldest(self, drained: Callable[[int], Awaitable[None]]) -> None:
        async with asyncio.timeout(2 * STALL):
            while self._processes[0].pid not in self.ready:
                await self.look_after()
            process = self._processes[0]
            process.terminate()
            while not self.did[process.pid]["drained"]:
                await self.look_after()
            await drained(process.pid)
            self._processes.remove(process)
            process.terminate()
            assert await process.wait() == 0, self.errors()
        self._note("ended", [process.pid])

    async def look_after(self) -> None:
        """Read what was written meanwhile, and start another in place of each that could not start.

        Raises:
            AssertionError: one that was ready has ended by itself.
        """
        await asyncio.sleep(POLL)
        self.browse()
        for ended in [process for process in self._processes if process.returncode is not None]:
            if self.killer and ended.returncode == KILLED:
                self.events["ended by the message"] += 1
                self.ready.discard(ended.pid)
            # Where the broker is away at the start, a program ends; whoever runs it starts it again.
            assert ended.pid not in self.ready, f"a worker ended by itself: {self.errors()}"
            self._processes.remove(ended)
            await self._spawn()

    async def kill(self, *, oldest: bool = False) -> None:
        """Kill one, at random or the oldest, and start another in its place, with what `bus` is by then."""
        victim = self._processes.pop(0 if oldest else random.randrange(len(self._processes)))
        if victim.returncode is None:
            victim.kill()
        self._note("killed", [victim.pid])
        await victim.wait()
        await self._spawn()

    def disturb(self, what: str) -> None:
        """Remember that all of them are about to lose their connections."""
        self._note(what, [process.pid for process in self._processes])

    async def stop(self) -> None:
        """Kill what is left."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def browse(self) -> None:
        """Read what was written since the last look."""
        path = self.folder / "handled"
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        self._read += len(data)
        for pid, word, *more in map(str.split, data.decode().splitlines()):
            match word, more:
                case "ready", []:
                    self.ready.add(int(pid))
                case "drained", []:
                    pass
                case "port", [port]:
                    self.ports[int(pid)] = int(port)
                    continue
                case "letter", [id]:
                    self.letters.append(id)
                case "failed", [when]:
                    word = f"failed {when}"
                case at, [key, number]:
                    line = Line(int(pid), float(at), key, int(number))
                    self.lines.append(line)
                    self.seen[key, line.number] += 1
                    word = "handled"
                case _:
                    raise AssertionError(f"a worker wrote {word} {more}")
            self.did[int(pid)][word] += 1

    async def until(self, count: int, letters: int = 0) -> None:
        """Wait until so many different messages were handled, and so many have become dead letters.

        Raises:
            AssertionError: nothing came for too long, or a worker ended by itself.
        """
        last, since = len(self.lines), time.monotonic()
        while len(self.seen) < count or len(set(self.letters)) < letters:
            await self.look_after()
            if len(self.lines) != last:
                last, since = len(self.lines), time.monotonic()
            assert time.monotonic() - since < STALL, f"only {len(self.seen)} of {count}: {self.errors()}"

    def errors(self) -> str:
        """The end of what the workers logged."""
        path = self.folder / "errors"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    @property
    def duplicates(self) -> int:
        """How often a message was handled again."""
        return self.seen.total() - len(self.seen)

    @property
    def most_duplicates(self) -> int:
        """How often that may be: what was in flight, or done and not known at the broker, at each disturbance."""
        done: dict[int, list[float]] = defaultdict(list)
        for line in self.lines:
            done[line.pid].append(line.at)
        most = 0
        for at, pids in self.disturbed:
            for pid in pids:
                most += IN_FLIGHT + sum(at - self.window <= one <= at for one in done[pid])
        return most

    @property
    def out_of_order(self) -> int:
        """How many messages were first handled after a later one of their key."""
        highest: dict[str, int] = defaultdict(lambda: -1)
        first: set[tuple[str, int]] = set()
        passed = 0
        for line in self.lines:
            if (line.key, line.number) in first:
                continue
            first.add((line.key, line.number))
            passed += line.number < highest[line.key]
            highest[line.key] = max(highest[line.key], line.number)
        return passed

    def _note(self, what: str, pids: Sequence[int]) -> None:
        self.events[what] += 1
        self.disturbed.append((time.time(), tuple(pids)))

    async def _spawn(self) -> None:
        settings: dict[str, Any] = {"bus": dict(self.bus), "log": str(self.folder / "handled"), "failing": self.failing}
        settings |= {"killer": self.killer, "spoiled": self.spoiled, "watched": self.watched}
        self._processes.append(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.chaos.worker", json.dumps(settings)),
                cwd=Path(__file__).parents[2],
                env={**os.environ, "CHAOS_ERRORS": str(self.folder / "errors")},
            )
        )


async def publish(
    bus: Mapping[str, Any], count: int, *, pause: float, met: Callable[[Bus], object] = lambda bus: None
) -> int:
    """Publish so many numbered messages, and go on with a key only when its last one is confirmed.

    Args:
        bus: what `Bus` takes.
        count: how many messages.
        pause: seconds after each message of every key, so that a short run lasts as long as what happens in it.
        met: called with the bus that publishes before it is opened.

    Returns:
        how many had to be published again, because it was not known whether the broker had them.
    """
    again = 0
    both = ("url", "topic", "format", "provision", "endpoint", "envelope")
    settings = {name: value for name, value in bus.items() if name in both}
    target = Bus(**settings, publish_timeout=60.0)
    met(target)
    async with target:
        for number in range(0, count, KEYS):
            missing = list(range(number, min(number + KEYS, count)))
            while missing:
                answers = await asyncio.gather(
                    *(
                        target.publish(
                            OnPlayerSeatedDown(player_id=one // KEYS), key=f"key-{one % KEYS}", id=f"message-{one}"
                        )
                        for one in missing
                    ),
                    return_exceptions=True,
                )
                missing = [one for one, answer in zip(missing, answers, strict=True) if isinstance(answer, Exception)]
                again += len(missing)
            await asyncio.sleep(pause)
    return again


Event = Callable[[], Awaitable[None]]


async def run(
    workers: Workers,
    count: int,
    events: Sequence[Event],
    *,
    pause: float,
    letters: int = 0,
    met: Callable[[Bus], object] = lambda bus: None,
    last: Event | None = None,
) -> int:
    """Publish, handle, and let the events happen one after another, evenly spread over the messages.

    Args:
        workers: who handles them.
        count: how many messages.
        events: what happens.
        pause: as for `publish`.
        letters: how many of the messages become dead letters.
        met: as for `publish`.
        last: what happens when all of them are handled, and before the workers are killed.

    Returns:
        how many messages had to be published again.
    """
    await workers.start()
    publishing = asyncio.create_task(publish(workers.bus, count, pause=pause, met=met))
    try:
        for index, event in enumerate(events):
            await workers.until((count - letters) * (index + 1) // (len(events) + 1))
            await event()
        await workers.until(count - letters, letters)
        again = await publishing
        # What comes once more comes now.
        await asyncio.sleep(0.5)
        workers.browse()
        if last is not None:
            await last()
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        await workers.stop()
    return again
