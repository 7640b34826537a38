"""E: dead letters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from brokerkit._errors import BrokerkitError, PublishError, Reject
from brokerkit._message import Delivery, Message, Outgoing, Receipt, text
from brokerkit._retry import RetryPolicy
from brokerkit.testing.conformance._ack import after_lease
from brokerkit.testing.conformance._cases import section
from brokerkit.testing.conformance._harness import Harness
from brokerkit.testing.conformance._tools import NAME, Recorder, numbered, until

case = section("Dead letters")

TWICE = RetryPolicy(attempts=2, first=0.05, cap=0.1)


def _fails(number: int, message: Message) -> None:
    raise RuntimeError(f"{number} always fails")


def header(letter: Delivery, name: str) -> str:
    """A header as text."""
    return str(text(letter.headers[name]))


async def _bury(h: Harness, message: Message, act: Any = _fails) -> Recorder:
    """Have a message fail until it is a dead letter."""
    recorder = Recorder(act)
    bus = h.bus(retry=TWICE)
    async with recorder.serving(bus):
        await bus.publish(message)
        await until(lambda: bus.stats["bus"].dead_lettered)
    return recorder


def _promised(h: Harness) -> None:
    h.promised(h.capabilities.dead_letters, "dead letters beside the topic")


@case(34)
async def intact(h: Harness) -> None:
    """A dead letter has the body, key and headers of the message, and headers that say why."""
    _promised(h)
    recorder = await _bury(h, numbered(1, key="table-1", headers={"trace": "t1"}, id="id-1"))
    assert recorder.numbers == [1, 1]
    [letter] = await h.dead_letters(1)
    assert (letter.body, text(letter.key or b"")) == (b'{"n": 1}', "table-1")
    assert (header(letter, "trace"), header(letter, "event")) == ("t1", NAME)
    assert header(letter, "bk-topic") == h.topic()
    assert (header(letter, "bk-error-type"), header(letter, "bk-error")) == ("RuntimeError", "1 always fails")
    assert (header(letter, "bk-failures"), header(letter, "bk-origin")) == ("2", "id-1")
    assert header(letter, "bk-handler").endswith("handle")
    assert float(header(letter, "bk-first-failure")) <= float(header(letter, "bk-last-failure"))


@case(35)
async def gone_from_the_source(h: Harness) -> None:
    """What has become a dead letter does not come again, also not after a restart and the end of the lease."""
    _promised(h)
    await _bury(h, numbered(1))
    recorder = Recorder()
    async with recorder.serving(h.bus()) as bus:
        await after_lease(h)
        await bus.publish(numbered(2))
        await recorder.wait(1)
    assert recorder.numbers == [2]


@case(36)
async def rejected(h: Harness) -> None:
    """A message that its handler rejects is a dead letter without further attempts."""
    _promised(h)

    def act(number: int, _: Message) -> None:
        raise Reject(f"{number} is banned")

    recorder = await _bury(h, numbered(1), act)
    assert recorder.numbers == [1]
    [letter] = await h.dead_letters(1)
    assert (header(letter, "bk-error-type"), header(letter, "bk-error")) == ("Reject", "1 is banned")


def _replayed(letter: Delivery) -> Message:
    """What is published to have a dead letter handled again."""
    return Message(NAME, letter.body, key=letter.key, headers=letter.headers, id=letter.id)


@case("36b")
async def again_and_again(h: Harness) -> None:
    """A dead letter that is published again at once and fails again is a second dead letter."""
    _promised(h)
    await _bury(h, numbered(1, id="id-1"))
    [first] = await h.dead_letters(1)
    await _bury(h, _replayed(first))
    [second] = await h.dead_letters(1)
    assert second.body == first.body
    assert second.id != first.id


@case(37)
async def unreadable(h: Harness) -> None:
    """A body that cannot be read and a message without a name are dead letters at once."""
    _promised(h)
    recorder = Recorder()
    bus = h.bus()
    async with recorder.serving(bus), h.adapter() as adapter:
        await bus.publish(numbered(1))  # a known name first: the rule is right
        await recorder.wait(1)
        await bus.publish(Message(NAME, b'{"n": '))
        await adapter.send([h.outgoing(2, name="", headers={}, routing_key="")])
        await until(lambda: bus.stats["bus"].dead_lettered == 2)
    assert recorder.numbers == [1]
    letters = await h.dead_letters(2)
    assert {letter.body for letter in letters} == {b'{"n": ', b"2"}
    assert {header(letter, "bk-error-type") for letter in letters} == {"DecodeError"}


@case(38)
async def not_stored(h: Harness) -> None:
    """While dead letters cannot be stored the message stays, and is tried again until they can."""
    _promised(h)
    recorder = Recorder(_fails)
    bus = h.bus(retry=TWICE)
    failed = _fail_letters(bus, 2)
    async with recorder.serving(bus):
        await bus.publish(numbered(1))
        await until(lambda: bus.stats["bus"].dead_lettered)
    assert len(failed) == 2
    [letter] = await h.dead_letters(1)
    assert letter.body == b'{"n": 1}'


def _fail_letters(bus: Any, count: int) -> list[Outgoing]:
    """Have so many dead letters refused at the seam; which they were."""
    adapter, failed = bus.adapter(), list[Outgoing]()
    send = adapter.send

    async def sending(batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        if any(outgoing.stored for outgoing in batch) and len(failed) < count:
            failed.extend(batch)
            return [PublishError("the queue of dead letters is full") for _ in batch]
        sent: list[Receipt | BrokerkitError] = await send(batch)
        return sent

    adapter.send = sending
    return failed


@case(39)
async def replayed(h: Harness) -> None:
    """A dead letter that is published again arrives as a first attempt, as it was, and tells where it comes from."""
    _promised(h)
    await _bury(h, numbered(1, key="k", headers={"trace": "t"}, id="id-1"))
    [letter] = await h.dead_letters(1)
    assert json.loads(letter.body or b"") == {"n": 1}
    recorder = Recorder()
    async with recorder.serving(h.bus()) as bus:
        await bus.publish(_replayed(letter))
        await recorder.wait(1)
    [message] = recorder.messages
    assert (message.attempt, message.key, message.headers["trace"]) == (1, "k", "t")
    assert str(message.id).startswith("id-1~")
