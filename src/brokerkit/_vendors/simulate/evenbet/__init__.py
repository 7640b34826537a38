"""A poker room that never closes: plausible EvenBet events from a seed.

Every stack, balance and prize follows from the events before it. What the losers of a hand pay goes to the winner and into
the rake. New money comes only from deposits. The same seed gives the same events.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from brokerkit._vendors.evenbet import GameType
from brokerkit._vendors.simulate.evenbet._cash import cash_table
from brokerkit._vendors.simulate.evenbet._hands import Table
from brokerkit._vendors.simulate.evenbet._room import Room, Simulated
from brokerkit._vendors.simulate.evenbet._tournaments import tournaments

__all__ = ["Simulated", "events"]

_EVENING: Final = datetime(2026, 3, 2, 18, 0)  # noqa: DTZ001 (EvenBet's times have no zone)


def events(seed: int | None = None, *, start: datetime = _EVENING) -> Iterator[Simulated]:
    """Endless events of one poker room: sessions, three cash tables, and tournaments one after the other.

    Each can be published as it is: `Simulated.message` has it in the form of EvenBet's documentation.

    Args:
        seed: the same one gives the same events; None gives others each time.
        start: time of the first event, without a zone as all EvenBet times.
    """
    room = Room(random.Random(seed), start)
    tables = (
        Table(id=660_091, game=GameType.HOLDEM, big_blind=100),
        Table(id=660_092, game=GameType.HOLDEM, big_blind=200),
        Table(id=660_107, game=GameType.OMAHA, big_blind=100),
    )
    for player in room.players[:14]:
        yield room.log_in(player)
    activities = [room.sessions(), tournaments(room), *(cash_table(room, table) for table in tables)]
    while True:
        # Each activity is a generator, and chance decides which one goes on.
        [activity] = room.chance.choices(activities, weights=(1, 5, 5, 4, 3))
        yield next(activity)
