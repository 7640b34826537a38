"""ThrillConnect and ThrillPots: typed bodies in two envelopes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokerkit._errors import ConfigError, DecodeError
from brokerkit.events import WireObject, families, find, parse, thrillpots
from brokerkit.events.thrillconnect import (
    FAMILY,
    AnyMessage,
    FixedFreeSpins,
    JackpotType,
    JackpotUpdate,
    OptIn,
    OptInEvent,
    Payout,
    PlayerBonusAdded,
    PlayerBonusRemoved,
    RaffleTickets,
    RaffleWinEvent,
    VariableFreeSpins,
    WinEvent,
)

SAMPLE_FILE = Path(__file__).parent / "thrillconnect_samples.jsonl"
SAMPLES: list[dict[str, Any]] = [json.loads(line) for line in SAMPLE_FILE.read_text(encoding="utf-8").splitlines()]
SENT = datetime(2025, 12, 29, 20, 36, 31, 759000, tzinfo=UTC)


def sample(event: str, channel: str = "thrillconnect-ws") -> dict[str, Any]:
    wire: dict[str, Any] = next(one["wire"] for one in SAMPLES if (one["event"], one["channel"]) == (event, channel))
    return wire


@pytest.mark.parametrize("one", SAMPLES, ids=[f"{number}-{one['event']}" for number, one in enumerate(SAMPLES)])
def test_every_sample_is_read_without_leftovers_and_written_back(one: dict[str, Any]) -> None:
    wire = one["wire"]
    family = families()["thrillpots" if one["channel"] == "thrillpots-gateway" else "thrillconnect"]
    name = wire.get("msg_name") or wire.get("event_type") or one["event"]
    event = family.read(name, json.dumps(wire).encode())
    assert type(event).__name__ == ("AnyMessage" if one["event"] == "*" else one["event"])
    assert not event.model_extra
    data = getattr(event, "data", None)
    assert isinstance(data, RaffleTickets) or not isinstance(data, WireObject) or not data.model_extra
    assert event == family.read(name, wire)
    assert json.loads(family.write(event, name=name)) == wire


def test_every_documented_event_has_a_sample() -> None:
    seen = {(one["channel"], one["event"]) for one in SAMPLES}
    assert {name for channel, name in seen if channel == "thrillconnect-ws"} - {"*"} == FAMILY.models.keys()
    assert {name for channel, name in seen if channel == "thrillpots-gateway"} == thrillpots.FAMILY.models.keys()


def test_a_handler_sees_the_envelope_and_a_typed_body() -> None:
    event = FAMILY.read("JackpotUpdate", json.dumps(sample("JackpotUpdate")))
    assert isinstance(event, JackpotUpdate)
    assert (event.operator_id, event.brand_id, event.player_id) == ("northlight", "lumen", None)
    assert event.timestamp == datetime(2026, 1, 25, 0, 21, 22, 812000, tzinfo=UTC)
    assert event.data.jackpot_type is JackpotType.RAFFLE
    assert event.data.pots is not None
    assert event.data.pots[2].current_value == Decimal("2785.65")


def test_an_amount_keeps_every_digit() -> None:
    wire = json.dumps(sample("JackpotUpdate")).replace("2499.2", "100.21749999999994001")
    event = FAMILY.read("JackpotUpdate", wire)
    assert isinstance(event, JackpotUpdate)
    assert event.data.pots is not None
    assert event.data.pots[1].current_value == Decimal("100.21749999999994001")
    assert b"100.21749999999994001" in FAMILY.write(event)


@pytest.mark.parametrize("sent", [1767040591, 1767040591000])
def test_seconds_and_milliseconds_are_told_apart_and_milliseconds_written(sent: int) -> None:
    event = FAMILY.read("WinEvent", {**sample("WinEvent"), "timestamp": sent})
    assert isinstance(event, WinEvent)
    assert event.timestamp == datetime(2025, 12, 29, 20, 36, 31, tzinfo=UTC)
    assert json.loads(FAMILY.write(event))["timestamp"] == 1767040591000


@pytest.mark.parametrize(
    "field", ["msg_type", "source", "msg_name", "operator_id", "brand_id", "player_id", "data", "timestamp"]
)
def test_each_field_of_the_envelope_is_required(field: str) -> None:
    wire = {key: value for key, value in sample("OptInEvent").items() if key != field}
    for name in ("OptInEvent", "SomethingNew"):
        with pytest.raises(DecodeError, match="required") as caught:
            FAMILY.read(name, json.dumps(wire))
        assert (caught.value.family, caught.value.event, caught.value.field) == ("thrillconnect", name, field)


def test_a_new_message_carries_the_constants_of_its_kind() -> None:
    event = OptInEvent(operator_id="o", brand_id="b", player_id="p", data=OptIn(opted_in=True), timestamp=SENT)
    assert (event.msg_type, event.source, event.msg_name) == ("Event", "thrillpots", "OptInEvent")
    assert json.loads(FAMILY.write(event)) == {
        "msg_type": "Event",
        "source": "thrillpots",
        "msg_name": "OptInEvent",
        "operator_id": "o",
        "brand_id": "b",
        "player_id": "p",
        "data": {"opted_in": True},
        "timestamp": 1767040591759,
    }


def test_an_error_that_names_an_event_is_not_taken_for_it() -> None:
    with pytest.raises(DecodeError, match="msg_type"):
        FAMILY.read("WinEvent", {**sample("WinEvent"), "msg_type": "Error"})


def test_unknown_names_are_read_by_the_envelope_alone() -> None:
    event = FAMILY.read("SomethingNew", {**sample("*"), "msg_type": "Error", "later": 1})
    assert isinstance(event, AnyMessage)
    assert (event.msg_name, event.data, event.model_extra) == ("SomethingNew", {"k": 1}, {"later": 1})
    assert find("SomethingNew") == ()
    with pytest.raises(DecodeError, match="msg_type"):
        FAMILY.read("SomethingNew", {**sample("*"), "msg_type": "Rumour"})


def test_winners_as_pairs_become_objects() -> None:
    wire = sample("RaffleWinEvent")
    wire = {
        **wire,
        "data": {**wire["data"], "winners": [["pl-1", {"currency": "EUR", "value": 4.2}], {"player_id": "pl-2"}]},
    }
    for body in (wire, json.dumps(wire)):
        event = FAMILY.read("RaffleWinEvent", body)
        assert isinstance(event, RaffleWinEvent)
        assert event.data.winners is not None
        first, second = event.data.winners
        assert first == Payout(player_id="pl-1", currency="EUR", win_amount=Decimal("4.2"))
        assert second == Payout(player_id="pl-2")
    wire["data"]["winners"] = [["pl-1"]]
    with pytest.raises(DecodeError) as caught:
        FAMILY.read("RaffleWinEvent", json.dumps(wire))
    assert caught.value.field == "data.winners.0"


def test_the_misspelt_pot_id_is_read_and_the_right_one_written() -> None:
    wire = sample("JackpotWinEvent", "thrillpots-gateway")
    data = {"win_pot_it": "gold"}
    event = thrillpots.FAMILY.read("JackpotWinEvent", {**wire, "data": data})
    assert json.loads(thrillpots.FAMILY.write(event))["data"] == {"win_pot_id": "gold"}


def test_free_spins_are_told_apart_by_their_type() -> None:
    fixed = FAMILY.read("PlayerBonusAdded", json.dumps(sample("PlayerBonusAdded")))
    variable = FAMILY.read("PlayerBonusRemoved", json.dumps(sample("PlayerBonusRemoved")))
    assert isinstance(fixed, PlayerBonusAdded)
    assert isinstance(variable, PlayerBonusRemoved)
    assert fixed.data.bonus_data is not None
    assert fixed.data.bonus_data.freespins is not None
    spins = fixed.data.bonus_data.freespins.freespin_type
    assert spins == FixedFreeSpins(count=10, used=0, currency="EUR", value=Decimal("0.5"))
    assert variable.data.bonus_data is not None
    assert variable.data.bonus_data.freespins is not None
    spins = variable.data.bonus_data.freespins.freespin_type
    assert spins == VariableFreeSpins(amount=Decimal("25.00"), amount_used=Decimal("7.50"), currency="EUR")


def test_free_spins_of_an_unknown_type_stay_an_object() -> None:
    wire = sample("PlayerBonusAdded")
    later = {"type": "Later", "x": 1.5}
    wire = {**wire, "data": {**wire["data"], "bonus_data": {"Freespins": {"freespin_type": later}}, "state": "Removed"}}
    event = FAMILY.read("PlayerBonusAdded", json.dumps(wire))
    assert json.loads(FAMILY.write(event)) == wire


@pytest.mark.parametrize("name", ["RaffleWinEvent", "OptInEvent"])
def test_a_name_on_both_channels_is_refused_bare(name: str) -> None:
    body = json.dumps(sample(name, "thrillpots-gateway"))
    with pytest.raises(ConfigError, match=f"thrillconnect:{name}, thrillpots:{name}"):
        parse(name, body)
    event = parse(f"thrillpots:{name}", body)
    assert isinstance(event, (thrillpots.RaffleWinEvent, thrillpots.OptInEvent))
    with pytest.raises(DecodeError, match=f"thrillconnect:{name}.source: Field required"):
        parse(f"thrillconnect:{name}", body)
