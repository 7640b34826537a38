"""What each source did in the last quarter of an hour, in steps of ten seconds. It is read from the figures."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from brokerkit import _clock
from brokerkit._status._figures import Figures, SourceFigures

STEP: Final = 10.0
"""Seconds. Steps begin at multiples of it, in Unix time, so those of several processes are the same."""
STEPS: Final = 90
_EARLY: Final = STEP / 4


@dataclass(frozen=True, slots=True)
class Step:
    """What one source did in one step.

    Attributes:
        handled: messages.
        failed: attempts.
        seconds: that all attempts took together.
        durations: how many attempts are in each bucket, by its number.
    """

    handled: int
    failed: int
    seconds: float
    durations: Mapping[int, int]

    def __sub__(self, other: Step) -> Step:
        found = {bucket: count - other.durations.get(bucket, 0) for bucket, count in self.durations.items()}
        return Step(
            self.handled - other.handled,
            self.failed - other.failed,
            self.seconds - other.seconds,
            {bucket: count for bucket, count in found.items() if count},
        )

    def __add__(self, other: Step) -> Step:
        return Step(
            self.handled + other.handled,
            self.failed + other.failed,
            self.seconds + other.seconds,
            dict(Counter(self.durations) + Counter(other.durations)),
        )


NOTHING: Final = Step(0, 0, 0.0, {})


class History:
    """The last steps. Sources that did nothing in a step are not in it.

    Args:
        figures: of the bus.
    """

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._steps: deque[tuple[int, Mapping[str, Step]]] = deque(maxlen=STEPS)
        self._before: dict[str, Step] | None = None

    def __repr__(self) -> str:
        return f"<History of {len(self._steps)} steps>"

    async def keep(self) -> None:
        """Note each step at its end, until cancelled."""
        self._before = None  # nothing was noted while the bus was closed
        while True:
            # To the end of a step, and not to the end that has just been noted: a timer may come a moment early.
            await asyncio.sleep(STEP + _EARLY - (_clock.wall_time() + _EARLY) % STEP)
            self.note(_clock.wall_time())

    def note(self, now: float) -> None:
        """Note what was done since the last note.

        Args:
            now: the Unix time in seconds.
        """
        done = {name: _done(source) for name, source in list(self._figures.sources.items())}
        before, self._before = self._before, done
        if before is not None:
            steps = {name: one - before.get(name, NOTHING) for name, one in done.items()}
            busy = {name: one for name, one in steps.items() if one != NOTHING}
            # Named by its beginning. The loop wakes a moment after the end of a step, or before it.
            self._steps.append((round(now / STEP) - 1, busy))

    def of(self, source: str) -> dict[int, Step]:
        """Return the steps of a source, by number."""
        return {number: steps.get(source, NOTHING) for number, steps in self._steps}


def merged(several: Iterable[Mapping[int, Step]]) -> dict[int, Step]:
    """Return the steps of several processes as one."""
    found = dict[int, Step]()
    for steps in several:
        for number, step in steps.items():
            found[number] = found.get(number, NOTHING) + step
    return dict(sorted(found.items())[-STEPS:])


def _done(source: SourceFigures) -> Step:
    total = source.total
    seconds, durations = 0.0, Counter[int]()
    for timing in list(source.durations.timings.values()):
        seconds += timing.sum
        durations.update({bucket: count for bucket, count in enumerate(timing.counts) if count})
    return Step(total.handled, total.failed, seconds, durations)
