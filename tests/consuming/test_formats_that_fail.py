"""A format of the user's that raises makes a dead letter, and does not end the source."""

from __future__ import annotations

import uuid

from pydantic import BaseModel

from brokerkit import Bus, Message
from brokerkit import formats as all_formats
from brokerkit._messages._delivery import Delivery
from brokerkit.formats import Format
from brokerkit.testing import TestBus


class Told(BaseModel):
    player: int


PUBLISHED = list[str]()


def stumble(delivery: Delivery) -> bool:
    """Look where nothing is, in what was received."""
    return bool(PUBLISHED) and delivery.headers["there"] == "yes"


FORMAT = Format(name="stumbling", name_from=("field:name", "header:event"), fields_if=stumble)


async def test_a_rule_that_raises_makes_a_dead_letter_and_the_next_message_is_handled() -> None:
    got = list[int]()
    all_formats.register(FORMAT)
    try:
        bus = Bus("memory://", topic=uuid.uuid4().hex, group="g", format="stumbling")

        @bus.on(Told)
        async def handle(event: Told) -> None:
            got.append(event.player)

        async with TestBus(bus) as test:
            await test.deliver(Message("Told", b'{"player": 1}', headers={"event": "Told"}))
            await test.deliver(Message("Told", b'{"player": 2}', headers={"event": "Told", "there": "no"}))
            PUBLISHED.append("both")
            await test.settled()
            letter = test.assert_dead_lettered("", times=1)
        assert letter.body == b'{"player": 1}'
        assert "the rules of the format failed on this message" in letter.error
        assert got == [2]
    finally:
        del all_formats._FORMATS["stumbling"]
