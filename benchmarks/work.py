"""What is moved: a small event and a large one, one model for all contenders, and the clock that all of them use."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any, Final, Literal

from brokerkit.events.evenbet import OnGameDone, OnPlayerSeatedDown

Size = Literal["small", "large"]

PAUSE: Final = 0.01
"""Seconds between two messages of a latency, the same for everybody: what is done is settled, the next read waits."""

_SEAT: Final = {
    "objectId": 90211, "tableId": 660091, "playerId": 90211, "playerOnTableId": 720015, "externalId": "op-5512",
    "externalSystemCode": "north", "entryCnt": 1, "skinId": 3, "numActivePlayers": 4, "isTopUp": "True",
    "rakeCap": 500, "rakePart": 0.05, "maxPlayers": 9, "externalSessionId": "s-71f0",
}  # fmt: skip
_HAND: Final = {
    "gameId": 771203344, "tableId": 660091, "tournamentId": 0, "totalRake": 120, "gameStart": "2026-03-02 21:14:05",
    "gameEnd": "2026-03-02 21:15:47", "tableCards": "40;36;32;7;12", "tableCardsLowerRow": "", "rakePart": 0.025,
    "rakeCap": 500, "numPlayersOnFlop": 3, "numPlayersOnTurn": 2, "numPlayersOnRiver": 2, "numPlayersOnShowDown": 2,
    "gameType": 72, "unclaimedPot": 0, "moneyType": 80, "smallBlind": 50, "bigBlind": 100, "ante": 0,
}  # fmt: skip
_PLAYER: Final = {
    "skinId": 3, "bet": 2400, "pot": 0, "rake": 60000, "isOut": "False", "outRound": 5, "isWin": "False",
    "isAway": False, "isSB": False, "isBB": False, "isStraddle": False, "highCombination": "44;40;36;32;31",
    "highCombinationCode": "E.44;40;36;32;31.H.H", "lowCombinationCode": "J..H.L", "pocketCards": "44;31",
    "stackAtHandBegin": 51000, "stackAtHandEnd": 48600, "externalId": "op-5512", "externalSystemCode": "north",
    "betOnPreflop": 400, "betOnFlop": 600, "betOnTurn": 600, "betOnRiver": 800, "insuranceFee": 0,
    "insuranceClaim": 0, "playerOnTableId": 720015, "playerInTournamentId": 0, "scorePoints": 0, "wonPoints": 0,
    "totalPoints": 0, "rank": 1, "externalSessionId": "s-71f0",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Testbed:
    """Where one figure is taken: nobody has used the topic before.

    Attributes:
        kind: of broker, as `benchmarks.plan` names it.
        address: what its client library connects to.
        settings: what brokerkit needs for the same.
        topic: a topic, exchange, queue, stream or list of its own.
    """

    kind: str
    address: str
    settings: dict[str, Any]
    topic: str


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of message.

    Attributes:
        name: the event name; it travels in the header ``event``.
        model: what everybody parses the body into.
        body: the wire form, without a wrapper, as all contenders read it.
    """

    name: str
    model: type[Any]
    body: bytes


def work(size: Size) -> Work:
    """The small event (about 270 bytes) or the large one (a hand of six players, about 4.3 kB)."""
    if size == "small":
        wire: dict[str, Any] = _SEAT
        name, model = "OnPlayerSeatedDown", OnPlayerSeatedDown
    else:
        wire = {**_HAND, "participations": [{"playerId": 90211 + seat, **_PLAYER} for seat in range(6)]}
        name, model = "OnGameDone", OnGameDone
    model.model_rebuild()
    return Work(name, model, json.dumps(wire, separators=(",", ":")).encode())


class Stopwatch:
    """Takes the time of a block; connecting and closing stay outside of it."""

    def __init__(self) -> None:
        self.seconds = self.cpu = 0.0

    def __enter__(self) -> None:
        self._begun, self._cpu_begun = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begun
        self.cpu = time.process_time() - self._cpu_begun


class Meter:
    """Counts handled messages, and takes the time from the first to the last of them, so that joining a group is free."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen = 0
        self._begun = self._cpu_begun = 0.0
        self.seconds = self.cpu = 0.0
        self.done = asyncio.Event()

    def tick(self, _event: object = None) -> None:
        """One more was handled."""
        self._seen += 1
        if self._seen == 1:
            self._begun, self._cpu_begun = time.perf_counter(), time.process_time()
        elif self._seen == self._count:
            self.seconds = time.perf_counter() - self._begun
            self.cpu = time.process_time() - self._cpu_begun
            self.done.set()

    def tick_all(self, events: list[Any]) -> None:
        """A batch was handled, one event after another."""
        for event in events:
            self.tick(event)

    @property
    def left(self) -> int:
        """How many are still to come."""
        return self._count - self._seen
