"""The clients, found by operator, brand and player."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from brokerkit.events.thrillconnect import Interest
from brokerkit.gateway._check import Player
from brokerkit.gateway._events import ALL, Event

AVERAGED: Final = 10.0
"""Seconds over which the requests of a client are averaged: a page asks for much when it is opened, and then for little."""


class Client:
    """One connection that was let in.

    Attributes:
        player: whose it is.
        sent: bytes of events that were handed to the connection.
        taken: how many of them it had taken at the last look.
        cut: whether it is being closed by us.
        expiry: closes it when its token runs out.
    """

    __slots__ = ("_asked", "_asked_at", "_events", "_sources", "connection", "cut", "expiry", "player", "sent", "taken")

    def __init__(self, connection: ServerConnection, player: Player) -> None:
        self.connection = connection
        self.player = player
        self.sent = 0
        self.taken = 0
        self.cut = False
        self.expiry: asyncio.TimerHandle | None = None
        self._asked = 0.0
        self._asked_at = 0.0
        self._events: set[tuple[str, str]] = set()
        self._sources: set[str] = set()

    def __repr__(self) -> str:
        return f"<Client of player {self.player.player_id}: {self.subscriptions} subscriptions>"

    @property
    def subscriptions(self) -> int:
        """To how many kinds of events it has subscribed."""
        return len(self._events) + len(self._sources)

    @property
    def backlog(self) -> int:
        """Bytes that wait until it reads."""
        return self.connection.transport.get_write_buffer_size()

    def may_ask(self, rate: float, now: float) -> bool:
        """Count a request; whether it has kept to ``rate`` requests a second, averaged over `AVERAGED` seconds.

        Args:
            rate: requests a second.
            now: seconds of a clock that never goes back.
        """
        self._asked = max(self._asked - (now - self._asked_at) * rate, 0.0) + 1.0
        self._asked_at = now
        return self._asked <= max(rate * AVERAGED, 1.0)

    def subscribe(self, interests: Iterable[Interest], *, most: int) -> bool:
        """Subscribe to these too; False, and nothing has changed, where it would be more than ``most`` in all."""
        interests = tuple(interests)
        sources = self._sources | {each.source for each in interests if each.event_type == ALL}
        events = self._events | {(each.source, each.event_type) for each in interests if each.event_type != ALL}
        if len(sources) + len(events) > most:
            return False
        self._sources, self._events = sources, events
        return True

    def wants(self, event: Event) -> bool:
        """Whether it is there and subscribed to such an event."""
        return (
            (event.source in self._sources or (event.source, event.name) in self._events)
            and not self.cut
            and self.connection.state is State.OPEN
        )


class Clients:
    """All clients."""

    def __init__(self) -> None:
        self._all: set[Client] = set()
        self._operators: dict[str, dict[str, dict[str, set[Client]]]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Client]:
        return iter(tuple(self._all))

    def add(self, client: Client) -> None:
        """Have it found."""
        player = client.player
        brands = self._operators.setdefault(player.operator_id, {})
        brands.setdefault(player.brand_id, {}).setdefault(player.player_id, set()).add(client)
        self._all.add(client)

    def remove(self, client: Client) -> None:
        """Have it found no more; nothing is left of it."""
        player = client.player
        self._all.discard(client)
        brands = self._operators[player.operator_id]
        players = brands[player.brand_id]
        players[player.player_id].discard(client)
        if not players[player.player_id]:
            del players[player.player_id]
        if not players:
            del brands[player.brand_id]
        if not brands:
            del self._operators[player.operator_id]

    def of(self, event: Event) -> Iterable[Client]:
        """Whom an event is for, whether they want it or not."""
        brands = self._operators.get(event.operator_id, {})
        if event.brand_id is None:
            return [each for players in brands.values() for clients in players.values() for each in clients]
        players = brands.get(event.brand_id, {})
        if event.player_id is None:
            return [each for clients in players.values() for each in clients]
        return players.get(event.player_id, ())
