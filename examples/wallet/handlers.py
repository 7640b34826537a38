"""The handlers of a wallet service: nothing in here knows which broker the events come from. service.py runs them."""

from brokerkit import Handlers, Message, Retry
from brokerkit.events.evenbet import OnGameDone, OnUserLoggedIn

handlers = Handlers()


@handlers.on("OnGameDone")
async def settle(event: OnGameDone) -> None:
    """Take over the stacks of a hand. mypy and pyright know the event's type from its name."""
    if event.participations is None:
        raise Retry("the hand has no players yet", after=1)
    for seat in event.participations:
        print(f"hand {event.game_id}: player {seat.player_id} holds {seat.stack_at_hand_end} cents", flush=True)


@handlers.on("OnUserLoggedIn")
def audit(event: OnUserLoggedIn) -> None:
    """Write down a login. A plain function runs in a worker thread, so it may block."""
    print(f"login: {event.nick} from {event.ip}", flush=True)


@handlers.on("*")
async def count(event: object, message: Message) -> None:
    """See every event, known or not, after the handlers of its name."""
    print(f"done: {message.name} {message.id} from {message.topic}, attempt {message.attempt}", flush=True)
