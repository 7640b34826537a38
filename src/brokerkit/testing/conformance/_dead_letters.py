"""E: dead letters."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from brokerkit._config._retry_policy import RetryPolicy
from brokerkit._errors import BrokerkitError, PublishError, Reject
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import as_text
from brokerkit._messages._message import Message
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit.adapters.api import Cursor
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
    return str(as_text(letter.headers[name]))


async def _make_dead_letter(h: Harness, message: Message, act: Any = _fails) -> Recorder:
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
    recorder = await _make_dead_letter(h, numbered(1, key="table-1", headers={"trace": "t1"}, id="id-1"))
    assert recorder.numbers == [1, 1]
    [letter] = await h.dead_letters(1)
    assert (letter.body, as_text(letter.key or b"")) == (b'{"n": 1}', "table-1")
    assert (header(letter, "trace"), header(letter, "event")) == ("t1", NAME)
    assert header(letter, "bk-topic") == h.topic()
    assert (header(letter, "bk-error-type"), header(letter, "bk-error")) == ("RuntimeError", "1 always fails")
    assert header(letter, "bk-traceback").startswith("Traceback")
    assert header(letter, "bk-traceback").endswith("\n  RuntimeError: 1 always fails")
    assert (header(letter, "bk-failures"), header(letter, "bk-origin")) == ("2", "id-1")
    assert header(letter, "bk-handler").endswith("handle")
    assert float(header(letter, "bk-first-failure")) <= float(header(letter, "bk-last-failure"))


@case(35)
async def gone_from_the_source(h: Harness) -> None:
    """A dead letter's message does not come again, not even after a restart and the end of the lease."""
    _promised(h)
    await _make_dead_letter(h, numbered(1))
    recorder = Recorder()
    async with recorder.serving(h.bus()) as bus:
        await after_lease(h)
        await bus.publish(numbered(2))
        await recorder.wait(1)
    assert recorder.numbers == [2]


@case(36)
async def rejected(h: Harness) -> None:
    """A message that its handler rejects becomes a dead letter without more attempts."""
    _promised(h)

    def act(number: int, _: Message) -> None:
        raise Reject(f"{number} is banned")

    recorder = await _make_dead_letter(h, numbered(1), act)
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
    await _make_dead_letter(h, numbered(1, id="id-1"))
    [first] = await h.dead_letters(1)
    await _make_dead_letter(h, _replayed(first))
    [second] = await h.dead_letters(1)
    assert second.body == first.body
    assert second.id != first.id


@case(37)
async def unreadable(h: Harness) -> None:
    """A message that cannot be read, or has no name, becomes a dead letter at once."""
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
    """While a dead letter cannot be stored its message stays, and storing it is retried."""
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
    """Refuse this number of dead letters at the seam. Return them."""
    adapter, failed = bus.adapter(), list[Outgoing]()
    send = adapter.send

    async def sending(batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        if any(outgoing.is_queue for outgoing in batch) and len(failed) < count:
            failed.extend(batch)
            return [PublishError("the queue of dead letters is full") for _ in batch]
        sent: list[Receipt | BrokerkitError] = await send(batch)
        return sent

    adapter.send = sending
    return failed


@case(39)
async def replayed(h: Harness) -> None:
    """A replayed dead letter arrives unchanged, as a first attempt, and says where it comes from."""
    _promised(h)
    await _make_dead_letter(h, numbered(1, key="k", headers={"trace": "t"}, id="id-1"))
    [letter] = await h.dead_letters(1)
    assert json.loads(letter.body or b"") == {"n": 1}
    recorder = Recorder()
    async with recorder.serving(h.bus()) as bus:
        await bus.publish(_replayed(letter))
        await recorder.wait(1)
    [message] = recorder.messages
    assert (message.attempt, message.key, message.headers["trace"]) == (1, "k", "t")
    assert str(message.id).startswith("id-1~")


@case("39b")
async def walked_through(h: Harness) -> None:
    """A walk through dead letters gives each once, takes out what it is told to for good, and leaves the rest."""
    _promised(h)
    count = 25
    async with h.adapter() as adapter:
        queue = adapter.derived(h.topic(), "wallet", "dlq")
        await adapter.ensure([queue], is_queue=True, create=True)
        letters = [h.outgoing(number, topic=queue, key="k", is_queue=True, unordered=True) for number in range(count)]
        results = await adapter.send(letters)
        assert not [result for result in results if isinstance(result, BrokerkitError)]
        removed = await _walk(adapter.cursor(queue), count, remove=lambda number: number % 5 == 0)
        assert sorted(removed) == list(range(count))
        left = await _walk(adapter.cursor(queue), count - 5, remove=lambda number: True)
        assert sorted(left) == [number for number in range(count) if number % 5]
        assert await _walk(adapter.cursor(queue), 0, remove=lambda number: True) == []


async def _walk(cursor: Cursor, count: int, *, remove: Callable[[int], bool]) -> list[int]:
    """The numbers of what a cursor gives."""
    found: list[int] = []
    try:
        await cursor.open()
        assert cursor.unseen in (0, count)  # Some brokers count behind.
        while batch := await cursor.fetch(10):
            numbers = [int(delivery.body or b"") for delivery in batch]
            found += numbers
            if gone := [delivery for delivery, number in zip(batch, numbers, strict=True) if remove(number)]:
                await cursor.remove(gone)
        assert cursor.unseen == 0
    finally:
        await cursor.close()
    return found
