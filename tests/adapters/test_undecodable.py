"""A message that cannot be decoded on SQS, SNS or Redis is a dead letter, and the source goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.every_broker import Broker, until

from brokerkit import Message
from brokerkit.adapters.aws import _wire as aws_wire
from brokerkit.adapters.redis import _wire as redis_wire
from brokerkit.events.evenbet import OnPlayerSeatedDown

NAME = "OnPlayerSeatedDown"
BROKEN = 4711


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Decoders with a defect that one body brings out; `undo` mends them."""

    def breaking(real: Callable[..., Any], body_of: Callable[..., object]) -> Callable[..., Any]:
        def decode(*args: Any, **kwargs: Any) -> Any:
            if str(BROKEN) in str(body_of(*args)):
                raise RuntimeError("this one is beyond me")
            return real(*args, **kwargs)

        return decode

    monkeypatch.setattr(aws_wire, "_decoded_body", breaking(aws_wire._decoded_body, lambda body, _: body))
    monkeypatch.setattr(redis_wire, "unwrap", breaking(redis_wire.unwrap, lambda data: data.decode("latin-1")))
    monkeypatch.setattr(
        redis_wire.EntryFormat,
        "parts",
        breaking(redis_wire.EntryFormat.parts, lambda _, flat: b"".join(flat).decode("latin-1")),
    )
    return monkeypatch


@pytest.mark.parametrize(
    "broker", ["sqs", "sqs-fifo", "sns", "redis-streams", "redis-list", "redis-pubsub"], indirect=True
)
async def test_a_message_that_cannot_be_decoded_is_a_dead_letter_and_holds_up_nobody(
    broker: Broker, broken: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    handled: list[int | None] = []
    settings = {"dead_letter": f"file://{tmp_path}/letters"} if broker.at_most_once else {}
    bus = broker.bus(**settings)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        handled.append(event.player_id)

    async with bus, bus.serving():
        for number in (1, BROKEN, 3):
            await bus.publish(NAME, {"playerId": number, "tableId": 1}, key="one")
        await until(lambda: len(handled) == 2 and bus.stats["bus"].dead_lettered == 1)
    assert handled == [1, 3]
    broken.undo()
    async with bus:
        [letter] = [letter async for letter in bus.dead_letters()]
    assert str(BROKEN).encode() in (letter.message.body or b"")
    assert letter.error_type == "DecodeError"
    assert "RuntimeError: this one is beyond me" in letter.error
