"""``brokerkit simulate``: publish realistic events without the vendor's system."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from typing import Annotated, Final

from cyclopts import App, Parameter
from cyclopts.validators import Number

from brokerkit import Bus, Message
from brokerkit._publishing._paced import PacedPublisher
from brokerkit._url import Url
from brokerkit._vendors.simulate import evenbet as room
from brokerkit.cli._output import say
from brokerkit.cli._progress import progress, summary
from brokerkit.cli._stopping import stopping

app: Final = App(name="simulate", help="Publish realistic events without the vendor's system.")

Positive = Number(gt=0)


@app.command
def evenbet(
    *,
    to: str | None = None,
    topic: str | None = None,
    rate: Annotated[float, Parameter(validator=Positive)] = 10.0,
    seed: int = 1,
    count: Annotated[int | None, Parameter(validator=Positive)] = None,
    duration: Annotated[float | None, Parameter(validator=Positive)] = None,
    format: str | None = None,
) -> None:
    """Publish the events of an EvenBet poker room that never closes, until SIGTERM or SIGINT.

    Hands at three cash tables, tournaments from registration to results, logins and logouts, balances and transactions:
    stacks and balances are consistent from event to event. The same seed gives the same events.

    Args:
        to: the broker; every other setting can go into its query (`redis://localhost?provision=all`). By default
            `BROKERKIT_URL`.
        topic: the topic. By default `BROKERKIT_TOPIC`.
        rate: events a second.
        seed: the same seed gives the same events.
        count: stop after this number of events.
        duration: stop after this number of seconds of events at this rate.
        format: the wire format; `evenbet` by default.
    """
    query = dict(Url.parse(to).query) if to is not None else {}
    settings = {"topic": topic, "format": format or (None if "format" in query else "evenbet")}
    bus = Bus(to, **{setting: value for setting, value in settings.items() if value is not None})  # type: ignore[arg-type]
    limits = [] if count is None else [count]
    limits += [] if duration is None else [max(round(duration * rate), 1)]
    limit = min(limits, default=None)
    asyncio.run(_publish(bus, itertools.islice(_timed(seed, rate), limit), total=limit))


def _timed(seed: int, rate: float) -> Iterator[tuple[float, Message]]:
    for number, simulated in enumerate(room.events(seed)):
        yield number / rate, simulated.message


async def _publish(bus: Bus, messages: Iterator[tuple[float, Message]], *, total: int | None) -> None:
    publisher = PacedPublisher(bus)
    begun = time.monotonic()
    try:
        async with bus:
            begun = time.monotonic()
            with stopping(publisher.stop):
                async with progress("published", lambda: publisher.done, total=total):
                    await publisher.run(messages)
    finally:
        if publisher.done:
            say(summary("published", publisher.done + publisher.also, time.monotonic() - begun))
