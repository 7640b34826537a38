"""EvenBet's events: samples, round trips, loose wire forms."""

from __future__ import annotations

import json
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

from brokerkit._errors import DecodeError
from brokerkit.events import evenbet
from brokerkit.events.evenbet import (
    FAMILY,
    Combination,
    GameType,
    OnCountryInfoChanged,
    OnFraudIncidentUpdated,
    OnGameDone,
    OnPlayerLeaveTable,
    OnPlayerLeftTournament,
    OnPlayerWinInTournament,
    OnTableCreated,
    OnTournamentCompleted,
    OnTransactionNotification,
    OnUserLoggedIn,
    Participation,
    SkinFlag,
    StandUpCause,
    card_name,
)

SAMPLE_FILE = Path(__file__).parent / "evenbet_samples.jsonl"
SAMPLES: list[dict[str, Any]] = [json.loads(line) for line in SAMPLE_FILE.read_text(encoding="utf-8").splitlines()]
WITHOUT_FIELDS = {name for name, model in FAMILY.models.items() if not model.model_fields}


def sample(number: int) -> dict[str, Any]:
    wire: dict[str, Any] = SAMPLES[number]["wire"]
    return wire


@pytest.mark.parametrize("one", SAMPLES, ids=[f"{number}-{one['event']}" for number, one in enumerate(SAMPLES)])
def test_every_sample_is_read_without_leftovers_and_written_back(one: dict[str, Any]) -> None:
    name, wire = one["event"], one["wire"]
    event = FAMILY.read(name, json.dumps(wire).encode())
    assert not event.model_extra
    assert event == FAMILY.read(name, wire)
    written = FAMILY.write(event)
    assert FAMILY.read(name, written) == event
    assert FAMILY.write(FAMILY.read(name, written)) == written
    before, after = FAMILY.unwrap(dict(wire)), FAMILY.unwrap(json.loads(written))
    assert before.keys() == after.keys()


def test_every_documented_event_has_a_sample_and_the_others_are_open() -> None:
    assert len(FAMILY.models) == 40
    assert {one["event"] for one in SAMPLES} | WITHOUT_FIELDS == FAMILY.models.keys()
    assert len(WITHOUT_FIELDS) == 15


def test_the_first_sample_is_canonical_already() -> None:
    assert json.loads(FAMILY.write(FAMILY.read("OnGameDone", sample(0)))) == sample(0)


def test_a_hand_reads_as_plain_python_values() -> None:
    event = FAMILY.read("OnGameDone", json.dumps(sample(0)))
    assert isinstance(event, OnGameDone)
    assert event.game_start == datetime(2026, 3, 2, 21, 14, 5)
    assert event.table_cards == [40, 36, 32, 7, 12]
    assert event.table_cards_lower_row == []
    assert event.game_type is GameType.HOLDEM
    assert event.participations is not None
    first, second, third = event.participations
    assert (first.is_out, second.is_win, third.is_sb) == (False, True, True)
    assert second.high_combination_code == Combination("I", (51, 50, 40, 36, 32), "H", "H")
    assert first.low_combination_code == Combination("J", (), "H", "L")
    assert third.high_combination_code is None


@pytest.mark.parametrize("form", ["True", "true", "TRUE", True, 1, "1"])
def test_booleans_are_read_in_every_form_and_written_in_the_documented_one(form: object) -> None:
    hand = FAMILY.read("OnGameDone", json.dumps({"participations": [{"isOut": form, "isSB": form}]}))
    assert json.loads(FAMILY.write(hand)) == {"participations": [{"isOut": "True", "isSB": True}]}
    prize = FAMILY.read("OnPlayerWinInTournament", json.dumps({"wonTicket": form}))
    assert prize == OnPlayerWinInTournament(won_ticket=True)
    assert FAMILY.write(prize) == b'{"params":{"wonTicket":1}}'


@pytest.mark.parametrize("form", ["0000-00-00 00:00:00", "", None, "0000-00-00"])
def test_a_zero_date_is_none_and_none_is_written_as_the_zero_date(form: str | None) -> None:
    event = FAMILY.read("OnTournamentCompleted", json.dumps({"lateRegFinishedStamp": form}))
    assert isinstance(event, OnTournamentCompleted)
    assert event.late_reg_finished_stamp is None
    assert FAMILY.write(event) == b'{"params":{"lateRegFinishedStamp":"0000-00-00 00:00:00"}}'


@pytest.mark.parametrize(
    "form", ["2026-03-02 21:14:05+02:00", "2026-03-02T21:14:05Z", 1767040591, "2026-13-01 00:00:00"]
)
def test_a_time_with_a_zone_or_out_of_the_calendar_is_refused(form: object) -> None:
    with pytest.raises(DecodeError, match="gameStart"):
        FAMILY.read("OnGameDone", json.dumps({"gameStart": form}))


def test_an_explicit_none_becomes_the_documented_empty_form() -> None:
    event = OnGameDone(
        tournament_id=None,
        game_start=None,
        table_cards=None,
        participations=[Participation(external_id=None, external_session_id=None, high_combination_code=None)],
    )
    assert json.loads(FAMILY.write(event)) == {
        "tournamentId": 0,
        "gameStart": "0000-00-00 00:00:00",
        "tableCards": "",
        "participations": [{"externalId": "", "externalSessionId": "", "highCombinationCode": ""}],
    }
    assert FAMILY.read("OnGameDone", FAMILY.write(event)) == event


def test_unset_fields_stay_absent() -> None:
    assert FAMILY.write(OnGameDone()) == b"{}"
    assert FAMILY.write(OnUserLoggedIn(nick="x")) == b'{"params":{"nick":"x"}}'


def test_unknown_codes_stay_plain_ints() -> None:
    event = FAMILY.read("OnPlayerLeaveTable", b'{"standUpCause": 28}')
    assert isinstance(event, OnPlayerLeaveTable)
    assert event.stand_up_cause == 28
    assert not isinstance(event.stand_up_cause, IntEnum)
    known = FAMILY.read("OnPlayerLeaveTable", b'{"standUpCause": "15"}')
    assert isinstance(known, OnPlayerLeaveTable)
    assert known.stand_up_cause is StandUpCause.SITOUT_TIMEOUT


def test_flags_are_added_up_and_unknown_bits_are_kept() -> None:
    for flags in (3, 7):
        event = FAMILY.read("onSkinInfoChanged", json.dumps({"params": {"skin": {"f": flags}}}))
        assert isinstance(event, evenbet.OnSkinInfoChanged)
        assert event.skin is not None
        assert SkinFlag.USE_EXTERNAL_LOGIN in SkinFlag(event.skin.flags or 0)
        assert json.loads(FAMILY.write(event)) == {"params": {"skin": {"f": flags}}}


def test_ids_take_their_documented_type() -> None:
    event = FAMILY.read("OnUserLoggedIn", b'{"externalId": 77, "playerId": "17744", "osVersion": 11}')
    assert event == OnUserLoggedIn(external_id="77", player_id=17744, os_version="11")


@pytest.mark.parametrize(("wire", "value"), [(b"12", 12), (b'"System"', "System"), (b'"12"', 12)])
def test_a_manager_is_an_id_or_a_word(wire: bytes, value: object) -> None:
    event = FAMILY.read("OnFraudIncidentUpdated", b'{"managerId": %b}' % wire)
    assert event == OnFraudIncidentUpdated(manager_id=value)  # type: ignore[arg-type]


def test_large_and_negative_amounts_survive() -> None:
    body = b'{"oldAmount":9007199254740993,"newAmount":-150}'
    assert FAMILY.write(FAMILY.read("OnPlayerBalanceChanged", body)) == body


def test_the_second_spelling_of_object_id_is_read_and_the_documented_one_written() -> None:
    for body in (b'{"object_id": 5}', b'{"objectId": 5}'):
        event = FAMILY.read("OnPlayerLeftTournament", body)
        assert event == OnPlayerLeftTournament(object_id=5)
        assert FAMILY.write(event) == b'{"params":{"object_id":5}}'


def test_unused_twins_never_stand_in_for_the_transactions_player() -> None:
    event = FAMILY.read("OnTransactionNotification", b'{"paramPlayerId": 7, "playerId": 1}')
    assert isinstance(event, OnTransactionNotification)
    assert (event.param_player_id, event.player_id) == (7, 1)


def test_an_open_event_keeps_whatever_comes() -> None:
    body = b'{"tableId":5,"nested":{"a":[1,2.5,null]},"name":"\xd0\x92"}'
    event = FAMILY.read("OnTableCreated", body)
    assert isinstance(event, OnTableCreated)
    assert event.model_extra == {"tableId": 5, "nested": {"a": [1, 2.5, None]}, "name": "В"}
    assert FAMILY.write(event) == body


def test_unknown_fields_are_kept_at_every_level() -> None:
    body = {"params": {"country": {"i": 1, "zz": True}, "new": "x"}}
    event = FAMILY.read("onCountryInfoChanged", json.dumps(body))
    assert isinstance(event, OnCountryInfoChanged)
    assert json.loads(FAMILY.write(event)) == body


def test_wire_names_come_back_from_a_plain_dump() -> None:
    event = FAMILY.read("OnGameDone", sample(0))
    dumped = event.model_dump(by_alias=True, exclude_unset=True)
    assert dumped.keys() == sample(0).keys()
    assert dumped["participations"][0].keys() == sample(0)["participations"][0].keys()


@pytest.mark.parametrize(
    ("code", "name"), [(0, "2c"), (3, "2s"), (31, "9s"), (35, "10s"), (47, "Ks"), (51, "As"), (52, "joker")]
)
def test_card_codes_have_names(code: int, name: str) -> None:
    assert card_name(code) == name


@pytest.mark.parametrize("code", [-1, 53])
def test_a_card_code_outside_the_pack_is_refused(code: int) -> None:
    with pytest.raises(ValueError, match="between 0 and 52"):
        card_name(code)


def test_a_combination_cannot_hold_the_separator() -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        Combination("a.b")
    assert str(Combination.parse("H.50;47.H.H")) == "H.50;47.H.H"
