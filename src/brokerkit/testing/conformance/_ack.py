"""C: acknowledgement."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from brokerkit._errors import Retry
from brokerkit._messages._delivery import ACK, RELEASE, Delivery, Outcome, Settled
from brokerkit.testing.conformance._cases import section
from brokerkit.testing.conformance._harness import Harness
from brokerkit.testing.conformance._tools import Recorder, accepted, numbered, until

case = section("Acknowledgement")


def _not_yet(number: int, again: set[int]) -> None:
    if number in again:
        raise Retry(after=30.0)


async def after_lease(h: Harness) -> None:
    """Until whatever was not settled would have come again."""
    if h.capabilities.lease is not None:
        await asyncio.sleep(1.5 * h.lease)


@case(19)
async def done_for_good(h: Harness) -> None:
    """An acknowledged message does not come again, not after a reconnect and not after the lease."""
    h.promised(h.capabilities.at_least_once, "at least once")
    recorder = Recorder()
    bus = h.bus()
    async with recorder.serving(bus):
        await bus.publish_many([numbered(number) for number in range(5)])
        await recorder.wait(5)
    await after_lease(h)
    async with recorder.serving(bus):
        await bus.publish(numbered(5))
        await recorder.wait(6)
    assert sorted(recorder.numbers) == list(range(6))


@case(20)
async def not_acknowledged(h: Harness) -> None:
    """A message that was received but not acknowledged comes again after its reader has stopped."""
    h.promised(h.capabilities.at_least_once, "at least once")
    async with h.adapter() as adapter:
        async with h.reading() as reader:
            accepted(await adapter.send([h.outgoing(number) for number in range(3)]))
            await reader.receive(3)
        async with h.reading() as reader:
            again = await reader.receive(3)
            await reader.ack(*again)
    assert sorted(int(delivery.body or b"") for delivery in again) == [0, 1, 2]


@case(21)
async def some_of_them(h: Harness) -> None:
    """After a restart, failed messages come again, and messages that were handled do not."""
    h.promised(h.capabilities.at_least_once, "at least once")
    first = Recorder(lambda number, _: _not_yet(number, {2, 4}))
    async with first.serving(h.bus(hold=60.0)) as bus:
        await bus.publish_many([numbered(number, key="k") for number in range(2)])
        await first.wait(2)
        await bus.publish_many([numbered(number, key=f"k{number}") for number in range(2, 5)])
        await until(lambda: {2, 3, 4} <= set(first.numbers) and 3 in first.done)
    second = Recorder()
    async with second.serving(h.bus()):
        await second.wait_for([2, 4])
    assert set(second.numbers) <= {2, 3, 4}


@case(22)
async def failure_stays(h: Harness) -> None:
    """A failed message survives a restart, however many later messages succeed."""
    h.promised(h.capabilities.at_least_once, "at least once")
    first = Recorder(lambda number, _: _not_yet(number, {0}))
    async with first.serving(h.bus(hold=60.0, order="none")) as bus:
        await bus.publish_many([numbered(number) for number in range(50)])
        await first.wait(49)
        await until(lambda: 0 in first.numbers)
    second = Recorder()
    async with second.serving(h.bus()):
        await second.wait_for([0])


@case(23)
async def settled_twice(h: Harness) -> None:
    """Settling a delivery twice does no harm: the first outcome holds."""
    async with h.adapter() as adapter, h.reading(lease=30.0) as reader:
        accepted(await adapter.send([h.outgoing(0)]))
        [delivery] = await reader.receive(1)
        await reader.ack(delivery)
        for outcome in (ACK, RELEASE):
            [answer] = await reader.source.settle([(delivery, outcome)])
            assert answer in (Settled.DONE, Settled.LOST), answer
        accepted(await adapter.send([h.outgoing(1)]))
        [following] = await reader.receive(1)
        await reader.ack(following)
    assert following.body == b"1"


@case(24)
async def too_late(h: Harness) -> None:
    """An acknowledgement after the lease raises no error, and the message does not come a third time."""
    h.promised(h.capabilities.lease is not None, "lease")
    async with h.adapter() as adapter, h.reading() as slow:
        accepted(await adapter.send([h.outgoing(0)]))
        [delivery] = await slow.receive(1)
        async with h.reading() as other:
            [again] = await other.receive(1)
            # Some brokers take it from anybody. Then the current holder of the message has lost it.
            for reader, one in ((slow, delivery), (other, again)):
                [answer] = await reader.source.settle([(one, ACK)])
                assert answer in (Settled.DONE, Settled.LOST), answer
        async with h.reading() as third:
            await after_lease(h)
            accepted(await adapter.send([h.outgoing(1)]))
            [following] = await third.receive(1)
            await third.ack(following)
    assert (again.id, again.body) == (delivery.id, delivery.body)
    assert following.body == b"1"


@case(25)
async def ack_fails(h: Harness) -> None:
    """A failed acknowledgement is repeated until it succeeds."""
    recorder = Recorder()
    bus = h.bus(lease=30.0)
    failures = _fail_settlements(bus, 3)
    async with recorder.serving(bus):
        await bus.publish_many([numbered(number) for number in range(3)])
        await recorder.wait(3)
        await until(lambda: len(failures) == 3)
        async with asyncio.timeout(20):
            while (await bus.health()).sources["bus"].in_flight:
                await asyncio.sleep(0.01)
    assert sorted(recorder.numbers) == [0, 1, 2]
    if h.capabilities.at_least_once:
        async with recorder.serving(h.bus()) as again:
            await again.publish(numbered(3))
            await recorder.wait(4)
        assert sorted(recorder.numbers) == [0, 1, 2, 3]


def _fail_settlements(bus: Any, count: int) -> list[Delivery]:
    """Make this number of settlements fail at the seam. Return their deliveries."""
    adapter, failed = bus.adapter(), list[Delivery]()
    subscribe = adapter.subscribe

    def subscribing(*arguments: Any) -> Any:
        source = subscribe(*arguments)
        settle = source.settle

        async def settling(pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
            failing = pairs[: count - len(failed)]
            failed.extend(delivery for delivery, _ in failing)
            rest = pairs[len(failing) :]
            return [Settled.FAILED] * len(failing) + (await settle(rest) if rest else [])

        source.settle = settling
        return source

    adapter.subscribe = subscribing
    return failed
