"""The clients, found by operator, brand and player."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from brokerkit._vendors.gateway._check import Player
from brokerkit._vendors.gateway._events import ALL, Event
from brokerkit._vendors.thrillconnect import Interest

AVERAGED: Final = 10.0
"""Seconds over which the requests of a client are averaged: a page sends many requests when it opens, and few later."""


class Client:
    """A connection that was let in.

    Attributes:
        player: its player.
        sent: bytes of events that were given to the connection.
        taken: how many of these bytes the client had read at the last check.
        cut: whether the gateway is closing it.
        expiry: closes it when its token expires.
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
        """How many kinds of events it has subscribed to."""
        return len(self._events) + len(self._sources)

    @property
    def backlog(self) -> int:
        """Bytes that wait until the client reads them."""
        return self.connection.transport.get_write_buffer_size()

    def may_ask(self, rate: float, now: float) -> bool:
        """Count a request; return whether the client keeps to ``rate`` requests a second, averaged over `AVERAGED` seconds.

        Args:
            rate: requests a second.
            now: seconds of a clock that never goes back.
        """
        self._asked = max(self._asked - (now - self._asked_at) * rate, 0.0) + 1.0
        self._asked_at = now
        return self._asked <= max(rate * AVERAGED, 1.0)

    def subscribe(self, interests: Iterable[Interest], *, most: int) -> bool:
        """Add subscriptions; if they would be more than ``most`` in total, change nothing and return False."""
        interests = tuple(interests)
        sources = self._sources | {each.source for each in interests if each.event_type == ALL}
        events = self._events | {(each.source, each.event_type) for each in interests if each.event_type != ALL}
        if len(sources) + len(events) > most:
            return False
        self._sources, self._events = sources, events
        return True

    def wants(self, event: Event) -> bool:
        """Whether it is open and has subscribed to the event."""
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
        """Add a client."""
        player = client.player
        brands = self._operators.setdefault(player.operator_id, {})
        brands.setdefault(player.brand_id, {}).setdefault(player.player_id, set()).add(client)
        self._all.add(client)

    def remove(self, client: Client) -> None:
        """Remove a client, and every empty table that it leaves."""
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
        """Return the clients that may get an event, whether or not they have subscribed to it."""
        brands = self._operators.get(event.operator_id, {})
        if event.brand_id is None:
            return [each for players in brands.values() for clients in players.values() for each in clients]
        players = brands.get(event.brand_id, {})
        if event.player_id is None:
            return [each for clients in players.values() for each in clients]
        return players.get(event.player_id, ())
