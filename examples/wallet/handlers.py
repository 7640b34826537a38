"""The handlers of a wallet service: nothing in here knows which broker the events come from. service.py runs them."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Annotated

from brokerkit import Handlers, Message, Retry
from brokerkit.dependencies import Depends
from brokerkit.events.evenbet import OnGameDone, OnUserLoggedIn
from brokerkit.types import Attempt

handlers = Handlers()


class Ledger(Counter[int]):
    """What each player holds, in cents. A real one would be a database."""


async def ledger() -> Ledger:
    """Open the ledger, once for all handlers."""
    return Ledger()


async def timed(attempt: Attempt, proceed: Callable[[], Awaitable[None]]) -> None:
    """Say how long each attempt of a handler takes."""
    begun = time.perf_counter()
    try:
        await proceed()
    finally:
        print(f"took {1000 * (time.perf_counter() - begun):.1f} ms: {attempt.handler}", flush=True)


handlers.add_middleware(timed)


@handlers.on("OnGameDone")
async def settle(event: OnGameDone, ledger: Annotated[Ledger, Depends(ledger, scope="bus")]) -> None:
    """Take over the stacks of a hand. mypy and pyright know the event's type from its name."""
    if event.participations is None:
        raise Retry("the hand has no players yet", after=1)
    for seat in event.participations:
        if seat.player_id is not None:
            ledger[seat.player_id] = seat.stack_at_hand_end or 0
        print(f"hand {event.game_id}: player {seat.player_id} holds {seat.stack_at_hand_end} cents", flush=True)


@handlers.on("OnUserLoggedIn")
def audit(event: OnUserLoggedIn) -> None:
    """Write down a login. A plain function runs in a worker thread, so it may block."""
    print(f"login: {event.nick} from {event.ip}", flush=True)


@handlers.on("*")
async def count(event: object, message: Message) -> None:
    """See every event, known or not, after the handlers of its name."""
    print(f"done: {message.name} {message.id} from {message.topic}, attempt {message.attempt}", flush=True)
