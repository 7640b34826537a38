"""Two sources and a target in one service: a vendor's logins become events of our own, on a broker of our own.

Run it: python examples/several_sources/service.py, with RabbitMQ and Redis up: brokerkit.toml says where.
Environment variables override brokerkit.toml: BROKERKIT_SOURCES__VENDOR__URL, BROKERKIT_TARGETS__BONUS__URL, …
"""

from pathlib import Path

from pydantic import BaseModel

from brokerkit import Bus
from brokerkit.events import Family, register
from brokerkit.events.evenbet import OnUserLoggedIn


class BonusGranted(BaseModel):
    """An event of our own: any pydantic model will do."""

    player_id: int
    cents: int


register(Family(name="bonus", models={"BonusGranted": BonusGranted}))
bus = Bus.from_config(Path(__file__).with_name("brokerkit.toml"))


@bus.on("OnUserLoggedIn", source="vendor")
async def welcome(event: OnUserLoggedIn) -> None:
    """Give a bonus at the first login. The login is acknowledged when the broker has the bonus."""
    if event.player_id is not None and event.is_first_login:
        await bus.publish(BonusGranted(player_id=event.player_id, cents=500), key=str(event.player_id), to="bonus")


@bus.on(BonusGranted, source="own")
async def book(event: BonusGranted) -> None:
    """Book what was granted."""
    print(f"player {event.player_id} gets {event.cents} cents", flush=True)


if __name__ == "__main__":
    bus.run()
