"""M: whose headers are believed. A producer can write any header, also those that begin with ``bk-``."""

from __future__ import annotations

import json
import time

from brokerkit._config._retry_policy import RetryPolicy
from brokerkit._errors import Retry
from brokerkit._messages._headers import Headers
from brokerkit._messages._message import Message
from brokerkit.testing.conformance._cases import section
from brokerkit.testing.conformance._dead_letters import header
from brokerkit.testing.conformance._harness import Harness
from brokerkit.testing.conformance._tools import NAME, Recorder, accepted, numbered, until

case = section("Trust")

KEY = "a signing key of this case"
"""For brokers without own queues, where only a signature makes the history of a replay credible."""


def _forged(handler: str, group: str, origin: str) -> Headers:
    """What a producer may write who wants a handler skipped, a message dropped, delayed or made a dead letter."""
    return {
        "event": NAME,
        "bk-failures": "4",
        "bk-done": json.dumps([handler]),
        "bk-only": group,
        "bk-due": f"{time.time() + 600:.3f}",
        "bk-wait": "600",
        "bk-origin": origin,
        "bk-copy": "7",
        "bk-topic": "elsewhere",
        "bk-time": "1000000000",
        "bk-property-priority": "9",
        "bk-signature": "0" * 64,
    }


@case(69)
async def forged_headers(h: Harness) -> None:
    """Internal headers of a producer change nothing: the message is a first attempt, at once, under its own id."""
    recorder = Recorder()
    bus = h.bus()
    bus.handlers.on("*")(recorder.handle)
    handler = next(iter(bus.handlers)).name
    async with recorder.serving(bus), h.adapter() as adapter:
        for number, group in enumerate(("wallet", "another")):
            forged = h.outgoing(number, body=b'{"n": %d}' % number, headers=_forged(handler, group, f"id-{1 - number}"))
            accepted(await adapter.send([forged]))
        await recorder.wait(2)
    assert sorted(recorder.numbers) == [0, 1]
    assert {message.attempt for message in recorder.messages} == {1}
    assert {message.topic for message in recorder.messages} == {h.topic()}
    assert all(message.id in (f"id-{json.loads(message.body or b'')['n']}", None) for message in recorder.messages)


@case("69b")
async def forged_failures(h: Harness) -> None:
    """Failures that a producer claims do not count: the message has all its attempts, and its dead letter counts them."""
    h.promised(h.capabilities.dead_letters, "dead letters beside the topic")

    def act(_: int, __: Message) -> None:
        raise RuntimeError("always fails")

    recorder = Recorder(act)
    bus = h.bus(retry=RetryPolicy(attempts=3, first=0.05, cap=0.1))
    async with recorder.serving(bus), h.adapter() as adapter:
        forged = h.outgoing(1, body=b'{"n": 1}', headers=_forged("nobody", "wallet", "id-2"))
        accepted(await adapter.send([forged]))
        await until(lambda: bus.stats["bus"].dead_lettered)
    assert [message.attempt for message in recorder.messages] == [1, 2, 3]
    [letter] = await h.dead_letters(1)
    assert header(letter, "bk-failures") == "3"
    assert header(letter, "bk-topic") == h.topic()
    assert "bk-property-priority" not in letter.headers
    assert float(header(letter, "bk-first-failure")) > 1_500_000_000
    assert "id-2" not in header(letter, "bk-origin")


@case(70)
async def attempts_at_the_broker(h: Harness) -> None:
    """A durable retry keeps the number of its attempt, and says which handlers are done."""
    h.promised(h.capabilities.durable_retry, "durable retries")
    ran: list[str] = []

    def act(_: int, message: Message) -> None:
        if message.attempt < 3:
            raise Retry(after=1.0)

    recorder = Recorder(act)
    bus = h.bus(hold=0.0, lease=max(h.lease, 4.0))

    async def first(_: object) -> None:
        ran.append("first")

    bus.handlers.on("*")(first)
    bus.handlers.on("*")(recorder.handle)
    async with recorder.serving(bus):
        await bus.publish(numbered(1, id="id-1"))
        await recorder.wait(1)
    assert [message.attempt for message in recorder.messages] == [1, 2, 3]
    assert {(message.id, message.topic) for message in recorder.messages} == {("id-1", h.topic())}
    assert ran == ["first"]


@case("70b")
async def letters_of_retries(h: Harness) -> None:
    """What is published after a durable retry has become a dead letter is handled, whatever positions the broker gives."""
    h.promised(h.capabilities.durable_retry, "durable retries")
    h.promised(h.capabilities.dead_letters, "dead letters beside the topic")
    count = 12

    def act(number: int, message: Message) -> None:
        if number == 0:
            raise Retry(after=1.0)

    recorder = Recorder(act)
    bus = h.bus(hold=0.0, lease=max(h.lease, 4.0), retry=RetryPolicy(attempts=3))
    async with recorder.serving(bus):
        await bus.publish(numbered(0, key="k"))
        await until(lambda: bus.stats["bus"].dead_lettered)
        accepted(await bus.publish_many([numbered(number, key="k") for number in range(1, count)]))
        await until(lambda: bus.stats["bus"].handled == count - 1)
    assert sorted(recorder.done) == list(range(1, count))


@case(71)
async def replays(h: Harness) -> None:
    """A replay reaches the group that failed and no other, as a first attempt, and runs only the handlers that failed."""
    h.promised(h.capabilities.dead_letters, "dead letters beside the topic")
    ran: list[str] = []
    broken = True

    async def first(_: object) -> None:
        ran.append("first")

    def act(_: int, __: Message) -> None:
        if broken:
            raise RuntimeError("broken")

    recorder, others = Recorder(act), Recorder()
    bus = h.bus(retry=RetryPolicy(attempts=1), signing_key=KEY)
    bus.handlers.on("*")(first)
    bus.handlers.on("*")(recorder.handle)
    another = h.bus(group="another") if h.capabilities.groups == "many" else h.bus("another")
    async with others.serving(another), recorder.serving(bus):
        await bus.publish(numbered(1, key="k", id="id-1", headers={"trace": "t"}))
        await until(lambda: bus.stats["bus"].dead_lettered)
        broken = False
        assert await bus.dead_letters().replay() == 1
        await recorder.wait(1)
        # What comes after it has come to all groups.
        await bus.publish(numbered(2, key="k"))
        await recorder.wait(2)
        if h.capabilities.groups == "many":
            await others.wait_for([2])
    assert others.numbers in ([], [1, 2])
    assert ran == ["first", "first"]
    [_, message, _] = recorder.messages
    assert (message.attempt, message.id, message.topic) == (1, "id-1", h.topic())
    assert (message.key, message.headers["trace"]) == ("k", "t")


@case(72)
async def claimed_ids(h: Harness) -> None:
    """A producer's id cannot be that of a message that gets its id from the broker."""
    h.promised(h.capabilities.stable_id, "a stable id from any producer")
    recorder = Recorder()
    async with recorder.serving(h.bus(name_from=h.plain_rule)), h.adapter() as adapter:
        await h.plain_publish(h.topic(), b'{"n": 1}', name=NAME, headers={})
        await recorder.wait(1)
        given = recorder.messages[0].id
        h.tried(str(given).startswith(f"{h.topic()}/"), "a plain producer that gives no ids")
        claimed = h.outgoing(
            2, body=b'{"n": 2}', id=given, headers={"event": NAME}, key=NAME, type=NAME, routing_key=NAME
        )
        accepted(await adapter.send([claimed]))
        await recorder.wait(2)
    assert given
    assert recorder.messages[1].id not in (None, given)
