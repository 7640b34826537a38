"""A class is an event by itself: read, published, extended, upgraded."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from brokerkit import Bus, ConfigError, DecodeError, Handlers, Message
from brokerkit.events import Versions, _registry, adopt, event, find, parse
from brokerkit.events.evenbet import OnGetCash
from brokerkit.testing import TestBus


class PlayerTopUp(BaseModel):
    player: int
    amount: Decimal


@dataclass(frozen=True)
class PlayerLeft:
    player: int


class PlayerMoved(TypedDict):
    player: int


class PlayerJoined(msgspec.Struct, rename="camel"):
    player_id: int
    amount: Decimal | None = None


class GetCash(OnGetCash):
    campaign: str | None = None


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test makes an event is none for the others."""
    monkeypatch.setattr(_registry, "_FAMILIES", _registry._Families())


def memory(**settings: Any) -> Bus:
    return Bus("memory://", topic=uuid.uuid4().hex, group="g", **settings)


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (PlayerTopUp(player=1, amount=Decimal("2.50")), "PlayerTopUp"),
        (PlayerLeft(2), "PlayerLeft"),
        (PlayerJoined(player_id=3, amount=Decimal("1.10")), "PlayerJoined"),
        (GetCash(campaign="spring"), "OnGetCash"),
    ],
)
async def test_a_class_is_all_that_an_event_needs(sent: Any, name: str) -> None:
    bus, got = memory(), list[Any]()

    @bus.on(type(sent))
    async def handle(event: Any) -> None:
        got.append(event)

    async with TestBus(bus) as test:
        await bus.publish(sent, key="k")
        await test.settled()
        assert [one.name for one in test.published] == [name]
    assert got == [sent]
    assert type(got[0]) is type(sent)


async def test_what_is_only_published_needs_no_handler() -> None:
    bus = memory()
    async with TestBus(bus) as test:
        await bus.publish(PlayerTopUp(player=1, amount=Decimal(1)))
        assert [one.name for one in test.published] == ["PlayerTopUp"]


async def test_a_typed_dict_goes_by_its_name() -> None:
    bus, got = memory(), list[Any]()

    @bus.on(PlayerMoved)
    async def handle(event: PlayerMoved) -> None:
        got.append(event)

    async with TestBus(bus) as test:
        await bus.publish("PlayerMoved", PlayerMoved(player=4))
        await test.settled()
    assert got == [{"player": 4}]


async def test_a_name_before_a_class_is_its_name() -> None:
    bus, got = memory(), list[Any]()

    @bus.on("player.top-up", PlayerTopUp)
    async def handle(event: PlayerTopUp) -> None:
        got.append(event)

    async with TestBus(bus) as test:
        await bus.publish(PlayerTopUp(player=1, amount=Decimal(3)))
        await test.settled()
        assert [one.name for one in test.published] == ["player.top-up"]
    assert [one.amount for one in got] == [Decimal(3)]


async def test_two_handlers_of_one_event_get_the_classes_that_they_ask_for() -> None:
    bus, got = memory(format="evenbet", name_from="header:event"), list[Any]()

    @bus.on("OnGetCash")
    async def vendor(event: OnGetCash) -> None:
        got.append(event)

    @bus.on(GetCash)
    async def extended(event: GetCash) -> None:
        got.append(event)

    @bus.on("*")
    async def anything(event: object) -> None:
        got.append(event)

    async with TestBus(bus) as test:
        await bus.publish(GetCash(campaign="spring"))
        await test.settled()
    assert [type(one) for one in got] == [OnGetCash, GetCash, OnGetCash]
    assert got[1].campaign == "spring"


async def test_the_events_of_a_vendors_name_can_be_read_as_ones_own_class() -> None:
    bus, got = memory(format="evenbet", name_from="header:event"), list[Any]()

    class Cash(BaseModel):
        campaign: str

    @bus.on("OnGetCash", Cash)
    async def handle(event: Cash) -> None:
        got.append(event)

    async with TestBus(bus) as test:
        await bus.publish(GetCash(campaign="spring"))
        await test.settled()
    assert got == [Cash(campaign="spring")]


def test_a_class_that_is_called_like_a_vendors_event_does_not_make_the_name_ambiguous() -> None:
    class OnGameDone(BaseModel):
        game: int

    adopt(OnGameDone)
    assert [one.family.name for one in find("OnGameDone")] == ["evenbet"]
    assert [one.family.name for one in find(OnGameDone)] == ["class"]


def test_a_class_that_is_defined_again_takes_the_place_of_the_earlier_one() -> None:
    def define(body: str) -> type[Any]:
        made: type[Any] = type("Again", (BaseModel,), {"__annotations__": {body: int}, "__module__": "cell"})
        return made

    adopt(define("a"))
    again = define("b")
    adopt(again)
    assert parse("Again", b'{"b": 1}') == again(b=1)


def test_classes_of_one_name_are_told_apart_by_the_class_and_not_by_the_name() -> None:
    class Other(BaseModel):
        other: int

    adopt(Other, "PlayerTopUp")
    adopt(PlayerTopUp)
    assert [(one.name, one.model) for one in find(PlayerTopUp)] == [("PlayerTopUp", PlayerTopUp)]
    assert {one.model for one in find("PlayerTopUp")} == {Other, PlayerTopUp}
    with pytest.raises(ConfigError, match="several"):
        parse("PlayerTopUp", b"{}")
    handlers = Handlers()
    handlers.on(Other)(lambda event: None)
    handlers.on(PlayerTopUp)(lambda event: None)
    bus = memory()
    bus.include(handlers)
    with pytest.raises(ConfigError, match="cannot tell class:PlayerTopUp"):
        bus.runtime.routes(bus.handlers)


@pytest.mark.parametrize("strange", [int, dict, Handlers])
def test_a_class_that_cannot_be_a_model_is_refused_with_what_to_write(strange: type[Any]) -> None:
    with pytest.raises(ConfigError, match="write a pydantic model, a dataclass, a TypedDict or a msgspec Struct"):
        Handlers().on(strange)


def test_a_struct_is_refused_like_any_model() -> None:
    adopt(PlayerJoined)
    with pytest.raises(DecodeError, match="class:PlayerJoined"):
        parse("PlayerJoined", b'{"playerId": "x"}')
    with pytest.raises(DecodeError, match="class:PlayerJoined"):
        parse("PlayerJoined", b"{")
    assert parse("PlayerJoined", {"playerId": 7}) == PlayerJoined(player_id=7)


# ---- versions --------------------------------------------------------------------------------------------------------

VERSIONS = Versions(
    current=3,
    upcasts={
        1: lambda body: {**body, "amount": body["cents"] / 100, "version": 2},
        2: lambda body: {**body, "player": body["player"]["id"], "version": 3},
    },
)


@pytest.mark.parametrize(
    "body",
    [
        b'{"player": {"id": 5}, "cents": 250}',
        b'{"version": 1, "player": {"id": 5}, "cents": 250}',
        b'{"version": "2", "player": {"id": 5}, "amount": 2.50}',
        b'{"version": 3, "player": 5, "amount": 2.50}',
        b'{"version": 4, "player": 5, "amount": 2.50, "new": true}',
    ],
)
def test_older_versions_become_the_current_one_step_by_step(body: bytes) -> None:
    event(versions=VERSIONS)(PlayerTopUp)
    assert parse("PlayerTopUp", body) == PlayerTopUp(player=5, amount=Decimal("2.5"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"version": 0}', "no upcast begins at version 0"),
        (b'{"version": "x"}', "not a whole number"),
        (b'{"version": 1}', "the upcast from version 1 failed: KeyError"),
        (b"[]", "object"),
        (b"{", "class:PlayerTopUp"),
    ],
)
def test_a_version_that_cannot_be_upgraded_says_why(body: bytes, message: str) -> None:
    event(versions=VERSIONS)(PlayerTopUp)
    with pytest.raises(DecodeError, match=message):
        parse("PlayerTopUp", body)


async def test_a_version_may_stand_in_a_header() -> None:
    def to_2(body: dict[str, Any]) -> dict[str, Any]:
        return {"player": body["id"], "amount": 1}

    event(versions=Versions(current=2, upcasts={1: to_2}, version_from="header:v"))(PlayerTopUp)
    bus, got = memory(name_from="header:event", format="json"), list[Any]()

    @bus.on(PlayerTopUp)
    async def handle(event: PlayerTopUp) -> None:
        got.append(event.player)

    async with TestBus(bus) as test:
        await test.deliver(Message("PlayerTopUp", b'{"id": 6}', headers={"v": "1"}))
        await test.deliver(Message("PlayerTopUp", b'{"player": 7, "amount": 1}', headers={"v": "2"}))
        await test.settled()
    assert got == [6, 7]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"current": 3, "upcasts": {1: dict}}, "version 2 has none"),
        ({"current": 2, "upcasts": {1: dict, 2: dict}}, "version 2 is not older"),
        ({"current": 2, "upcasts": {1: dict}, "version_from": "version"}, "version_from"),
    ],
)
def test_versions_that_lead_nowhere_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Versions(**settings)
