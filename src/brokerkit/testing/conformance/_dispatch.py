"""K: typed dispatch."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from brokerkit._bus import Bus
from brokerkit._messages._message import Message
from brokerkit.events import Family, register
from brokerkit.testing.conformance._cases import section
from brokerkit.testing.conformance._harness import Harness
from brokerkit.testing.conformance._tools import TRACEPARENT, numbered, until

case = section("Typed dispatch")


class Granted(BaseModel):
    """An event."""

    player: int


class Expired(BaseModel):
    """Another one."""

    player: int
    reason: str = ""


FAMILY: Final = Family("conformance", {"ConformanceGranted": Granted, "ConformanceExpired": Expired})
"""Made known by the cases that need it, and never by an import."""


async def _serve_until(bus: Bus, done: Any, *messages: Any) -> None:
    async with bus, bus.serving():
        for message in messages:
            await bus.publish(message)
        await until(done)


@case(63)
async def by_name(h: Harness) -> None:
    """Each event reaches all handlers of its name, as a checked value of its model."""
    register(FAMILY)
    bus, ran = h.bus(), list[tuple[str, object]]()

    @bus.on(Granted)
    async def first(event: Granted) -> None:
        ran.append(("first", event))

    @bus.on(Granted)
    async def second(event: Granted, message: Message) -> None:
        ran.append(("second", event))

    @bus.on(Expired)
    async def expired(event: Expired) -> None:
        ran.append(("expired", event))

    await _serve_until(bus, lambda: len(ran) == 3, Granted(player=1), Expired(player=2, reason="time"))
    assert sorted(ran, key=lambda one: one[0]) == [
        ("expired", Expired(player=2, reason="time")),
        ("first", Granted(player=1)),
        ("second", Granted(player=1)),
    ]


@case(64)
async def unknown_names(h: Harness) -> None:
    """An event without a handler is skipped and counted, rejected, or retried, as the settings say."""
    register(FAMILY)
    for unknown in ("ack", "reject"):
        await _one_unknown(h, unknown)


async def _one_unknown(h: Harness, unknown: str) -> None:
    bus, ran = h.bus(h.topic(unknown), unknown=unknown), list[object]()

    @bus.on(Granted)
    async def granted(event: Granted) -> None:
        ran.append(event)

    def settled() -> bool:
        stats = bus.stats["bus"]
        return bool(ran) and stats.skipped + stats.dead_lettered == 1

    await _serve_until(bus, settled, Granted(player=1), numbered(1))
    stats = bus.stats["bus"]
    assert (stats.handled, stats.skipped, stats.dead_lettered) == (1, unknown == "ack", unknown == "reject")


@case(65)
async def newer_sender(h: Harness) -> None:
    """An event of a sender whose model has one field more, and another class name, still reaches the handler."""
    register(FAMILY)
    bus, ran = h.bus(names={"bonus.granted.v2": "ConformanceGranted"}), list[Granted]()

    @bus.on(Granted)
    async def granted(event: Granted) -> None:
        ran.append(event)

    newer = Message("bonus.granted.v2", b'{"player": 1, "currency": "EUR"}')
    await _serve_until(bus, lambda: len(ran) == 2, Message("ConformanceGranted", b'{"player": 1, "level": 3}'), newer)
    assert [event.player for event in ran] == [1, 1]


@case(66)
async def traces(h: Harness) -> None:
    """What a handler publishes has the correlation id and trace of its message, and names that message."""
    seen: list[Message] = []
    bus = h.bus()

    @bus.on("*")
    async def follow(_: Any, message: Message) -> None:
        seen.append(message)
        if len(seen) < 3:
            await bus.publish(Message("Numbered", b"%d" % len(seen), id=f"id-{len(seen)}"))

    traced = {"traceparent": TRACEPARENT, "tracestate": "congo=t61"}
    await _serve_until(bus, lambda: len(seen) == 3, numbered(0, id="id-0", headers=traced))
    assert [message.correlation_id for message in seen] == ["id-0"] * 3
    assert [message.causation_id for message in seen] == [None, "id-0", "id-1"]
    assert all(traced.items() <= message.headers.items() for message in seen)
