"""I: faults."""

from __future__ import annotations

import asyncio

import pytest

from brokerkit._errors import BrokerkitError, ConnectionLost
from brokerkit._messages._message import Message
from brokerkit._status._hooks import Notice
from brokerkit.testing.conformance._cases import section
from brokerkit.testing.conformance._harness import Harness
from brokerkit.testing.conformance._tools import Recorder, accepted, not_in, numbered, until

case = section("Faults")


@case(55)
async def restarts(h: Harness) -> None:
    """If the broker is restarted twice, no confirmed message is lost."""
    h.promised(h.capabilities.at_least_once, "at least once")
    recorder, third = Recorder(), max(h.many // 3, 1)
    async with recorder.serving(h.bus(max_in_flight=20, publish_timeout=90.0)) as bus:
        for part in range(3):
            accepted(await bus.publish_many([numbered(number) for number in range(part * third, (part + 1) * third)]))
            await recorder.wait(part * third + 1)
            if part < 2:
                await h.restart_broker()
        await recorder.wait_for(range(3 * third))


@case(56)
async def nobody_listens(h: Harness) -> None:
    """An unreachable broker is one clear error after the connect timeout, without a password."""
    h.tried(h.unreachable, "an address where nobody listens")
    begun = asyncio.get_running_loop().time()
    with pytest.raises(ConnectionLost) as error:
        async with h.bus(connect_timeout=2.0, **h.unreachable):
            pass
    assert not_in(h.unreachable.get("url", ""), error.value)
    assert asyncio.get_running_loop().time() - begun < 15.0


@case(57)
async def cut_while_handling(h: Harness) -> None:
    """After a broken connection a consumer continues by itself, and hooks are told if it notices the break."""
    h.promised(h.capabilities.at_least_once, "at least once")
    begun, told = asyncio.Event(), list[Notice]()

    async def act(number: int, _: Message) -> None:
        if number == 0:
            begun.set()
            await asyncio.sleep(0.3)

    recorder = Recorder(act)
    bus = h.bus()
    bus.add_hook(told.append)
    async with recorder.serving(bus):
        await bus.publish(numbered(0))
        await begun.wait()
        await h.cut_connections()
        await bus.publish(numbered(1))
        await recorder.wait_for([0, 1])
        if h.connected:
            await until(lambda: any(notice.kind == "connection_lost" and notice.source for notice in told))
            await until(lambda: any(notice.kind == "connection_back" and notice.source for notice in told))
        assert (await bus.health()).sources["bus"].state == "consuming"


@case(58)
async def group_deleted(h: Harness) -> None:
    """If its group is deleted, a consumer creates it again or ends with an error."""
    h.promised(h.capabilities.groups == "many", "more than one group")
    recorder = Recorder()
    bus = h.bus()
    bus.on("*")(recorder.handle)
    async with bus:
        serving = asyncio.ensure_future(bus.serve())
        try:
            while (await bus.health()).sources["bus"].state != "consuming":
                await asyncio.sleep(0.01)
            await bus.publish(numbered(0))
            await recorder.wait(1)
            await h.delete_group(h.topic(), "wallet")
            while len(recorder.done) < 2 and not serving.done():
                # What comes before the group is there again may be lost with the old one.
                [_] = await bus.publish_many([numbered(1)])
                await asyncio.wait([serving], timeout=0.2)
        finally:
            serving.cancel()
            [ended] = await asyncio.gather(serving, return_exceptions=True)
    assert len(recorder.done) >= 2 or isinstance(ended, BrokerkitError), ended


@case(59)
async def long_handler(h: Harness) -> None:
    """A message whose handler takes three times the lease is not delivered to another reader meanwhile."""
    h.promised(h.capabilities.lease is not None, "lease")

    async def act(_: int, __: Message) -> None:
        await asyncio.sleep(3 * h.lease)

    recorder = Recorder(act)
    async with recorder.serving(h.bus()) as bus, recorder.serving(h.bus()):
        await bus.publish(numbered(1))
        await recorder.wait(1)
    assert recorder.numbers == [1]


@case(60)
async def member_dies(h: Harness) -> None:
    """Soon after the lease, another member gets the messages of a member that was killed."""
    h.promised(h.capabilities.at_least_once, "at least once")
    await h.make_group()
    async with h.bus() as bus:
        await bus.publish_many([numbered(number) for number in range(3)])
    await h.let_die("member")
    begun = asyncio.get_running_loop().time()
    recorder = Recorder()
    async with recorder.serving(h.bus()):
        await recorder.wait_for(range(3))
    assert asyncio.get_running_loop().time() - begun < h.lease + h.late
