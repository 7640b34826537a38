"""Families: finding, reading, writing and refusing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from brokerkit._errors import ConfigError, DecodeError, InvalidMessage
from brokerkit.events import Event, Family, WireObject, families, find, get_family, parse, register, suggest
from brokerkit.events._registry import _Families
from brokerkit.events._types import EpochMillis, EpochSeconds, Money
from brokerkit.events.evenbet import FAMILY, OnGameDone, OnUserLoggedIn


class Pot(WireObject):
    """A pot inside a payment."""

    value: Money | None = None


class Paid(Event):
    """An event with all that the other families need."""

    amount: Money | None = None
    pots: list[Pot] | None = None
    share: float | None = None
    at: EpochMillis = None
    since: EpochSeconds = None
    id: UUID | None = None


class Constant(BaseModel):
    """A user's own model with a constant."""

    model_config = ConfigDict(strict=True)

    kind: str = "constant"
    day: datetime | None = None


MINE = Family("mine", {"Paid": Paid, "Constant": Constant}, wrapper="data", wrapped=frozenset({"Constant"}))


@pytest.mark.parametrize("text", ["0.1", "123456789012345678.123456789", "0.10", "-7", "1e3", "12345678901234567890"])
def test_money_is_taken_from_the_json_text_and_written_without_loss(text: str) -> None:
    event = MINE.read("Paid", f'{{"amount": {text}, "pots": [{{"value": {text}}}]}}')
    assert isinstance(event, Paid)
    assert event.amount == Decimal(text)
    assert event.pots is not None
    assert event.pots[0].value == Decimal(text)
    written = json.loads(MINE.write(event), parse_float=Decimal, parse_int=Decimal)
    assert written == {"amount": Decimal(text), "pots": [{"value": Decimal(text)}]}


@pytest.mark.parametrize("end", ["}", " }", ',"share":0.5}', "\n}"])
@pytest.mark.parametrize("whole", [1, 4, 5, 9, 10, 15, 16, 17])
def test_money_keeps_the_places_of_its_text(whole: int, end: str) -> None:
    for places in range(1, 18):
        for digits in ("9" * places, "9" * (places - 1) + "0"):
            text = f"{'9' * whole}.{digits}"
            event = MINE.read("Paid", f'{{"amount":{text}{end}')
            assert isinstance(event, Paid)
            assert str(event.amount) == text


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1.50", "12345678901234567e2", "21:14:05.123456789"])
def test_text_that_looks_like_an_unusual_number_stays_text(text: str) -> None:
    event = MINE.read("Paid", f'{{"amount": 1, "note": "{text}"}}')
    assert event.model_extra == {"note": text}


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_any_finite_amount_survives_the_wire(amount: Decimal) -> None:
    event = Paid(amount=amount, pots=[Pot(value=amount)])
    assert MINE.read("Paid", MINE.write(event)) == event


@given(st.decimals(allow_nan=False, allow_infinity=False), st.sampled_from(["{}", "{:f}", "{:e}", "{:.3f}", "{:.7f}"]))
def test_any_way_to_write_an_amount_is_read_without_loss(amount: Decimal, form: str) -> None:
    text = form.format(amount)
    for body in (f'{{"amount":{text}}}', f'{{"pots": [{{"value": {text} }}], "amount" : {text}, "share":0.5}}'):
        event = MINE.read("Paid", body)
        assert isinstance(event, Paid)
        assert event.amount == Decimal(text)


def test_a_text_that_looks_like_a_marked_amount_stays_text() -> None:
    body = b'{"note": "\\u0000deadbeef:1.5"}'
    assert json.loads(MINE.write(MINE.read("Paid", body))) == json.loads(body)


def test_unknown_floats_beside_money_stay_floats() -> None:
    event = MINE.read("Paid", b'{"amount": 1, "share": 0.25, "extra": 2.5}')
    assert MINE.write(event) == b'{"amount":1,"share":0.25,"extra":2.5}'


@given(st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_epoch_times_survive_the_wire_to_the_millisecond(moment: datetime) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    event = Paid(at=moment, since=moment.replace(microsecond=0))
    assert MINE.read("Paid", MINE.write(event)) == event


@pytest.mark.parametrize("number", [1767040591, 1767040591000])
def test_epoch_seconds_and_milliseconds_are_told_apart_when_read(number: int) -> None:
    event = MINE.read("Paid", f'{{"at": {number}, "since": {number}}}')
    assert json.loads(MINE.write(event)) == {"at": 1767040591000, "since": 1767040591}


def test_a_users_own_model_keeps_its_defaults_and_its_strictness() -> None:
    assert MINE.write(Constant()) == b'{"data":{"kind":"constant","day":null}}'
    wrapped = b'{"x": 1, "data": {"day": "2026-01-02T03:04:05"}}'
    assert MINE.read("Constant", wrapped) == Constant(day=datetime(2026, 1, 2, 3, 4, 5))
    with pytest.raises(DecodeError):
        MINE.read("Constant", b'{"kind": 5}')


def test_keys_beside_the_wrapper_are_kept_and_the_inner_one_wins() -> None:
    event = FAMILY.read("OnGameDone", b'{"tableId": 1, "origin": "x", "params": {"tableId": 2, "ante": 3}}')
    assert isinstance(event, OnGameDone)
    assert (event.table_id, event.ante, event.model_extra) == (2, 3, {"origin": "x"})
    assert json.loads(FAMILY.write(event)) == {"tableId": 2, "ante": 3, "origin": "x"}


@pytest.mark.parametrize("form", ["bytes", "text", "mapping"])
@pytest.mark.parametrize("name", ["OnGameDone", "OnUserLoggedIn"])
def test_flat_and_wrapped_bodies_are_read_for_every_event(form: str, name: str) -> None:
    for wire in ({"skinId": 3}, {"params": {"skinId": 3}}):
        text = json.dumps(wire)
        event = FAMILY.read(name, {"bytes": text.encode(), "text": text, "mapping": wire}[form])
        assert (event.model_extra or {}).get("skinId", getattr(event, "skin_id", None)) == 3
        assert "params" not in (event.model_extra or {})


def test_params_that_are_no_object_are_a_field_like_any_other() -> None:
    event = FAMILY.read("OnTableCreated", b'{"params": "none", "tableId": 5}')
    assert event.model_extra == {"params": "none", "tableId": 5}


HOSTILE = [
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"17",
    b"{",
    b"\xff\xfe",
    b'{"nick": "\xff"}',
    b'{"nick": "\\ud800"}',
    b'{"ante": NaN}',
    b'{"unknown": NaN}',
    b'{"rakePart": -Infinity}',
    b'{"rakePart": 1e999}',
    b'{"params": {"unknown": Infinity}}',
    b'{"ante": ' + b"9" * 5000 + b"}",
    b'{"unknown": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"unknown": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"isTopUp": True}',
    b'{"params": {"ante": 1}',
]


@pytest.mark.parametrize("body", HOSTILE, ids=lambda body: repr(body[:24]))
def test_hostile_bodies_raise_decode_error_and_nothing_else(body: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        if FAMILY.read("OnGameDone", body) is not None:
            FAMILY.read("OnUserLoggedIn", body)
    assert caught.value.event.startswith("On")
    assert len(str(caught.value)) < 500
    with pytest.raises(DecodeError):
        if MINE.read("Paid", body) is not None:
            MINE.read("Paid", b"")


@given(st.binary(max_size=60))
def test_any_bytes_give_an_event_or_a_decode_error(body: bytes) -> None:
    for family, name in ((FAMILY, "OnGameDone"), (MINE, "Paid")):
        try:
            assert isinstance(family.read(name, body), Event)
        except DecodeError:
            pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
WIRE_NAMES = [*sorted({field.alias or "" for field in OnGameDone.model_fields.values()} - {""}), "params"]


@given(st.dictionaries(st.sampled_from(WIRE_NAMES), JSON, max_size=4))
def test_any_value_in_a_known_field_gives_an_event_or_a_decode_error(wire: dict[str, object]) -> None:
    for body in (wire, json.dumps(wire), json.dumps({"params": wire}).encode()):
        try:
            FAMILY.write(FAMILY.read("OnGameDone", body))
        except DecodeError as error:
            assert error.family == "evenbet"


def test_an_object_nested_without_end_is_a_decode_error() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(DecodeError, match="nested too deep"):
        FAMILY.read("OnGameDone", {"ante": deep})


def test_what_has_no_json_form_cannot_be_written() -> None:
    with pytest.raises(InvalidMessage, match="evenbet:OnGameDone"):
        FAMILY.write(FAMILY.read("OnGameDone", {"unknown": object()}))
    event = OnGameDone(ante=1)
    event.ante = "many"  # type: ignore[assignment]
    with pytest.raises(InvalidMessage, match="ante"):
        FAMILY.write(event)


def test_text_that_utf8_cannot_hold_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="OnGameDone"):
        FAMILY.read("OnGameDone", '{"nick": "\ud800"}')


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        (b'{"ante": "many"}', "ante", "'many'"),
        (b'{"params": {"ante": 1.5}}', "ante", "1.5"),
        (b'{"gameStart": "soon"}', "gameStart", "'soon'"),
        (b'{"gameType": "H"}', "gameType", "'H'"),
        (b'{"tableCards": "3;x"}', "tableCards", "'3;x'"),
        (b'{"participations": [{}, {"isOut": "maybe"}]}', "participations.1.isOut", "'maybe'"),
        (b'{"participations": [{"highCombinationCode": "H.1"}]}', "participations.0.highCombinationCode", "'H.1'"),
        (b'{"participations": 3}', "participations", "3"),
        (b'{"tournamentId": [1]}', "tournamentId", "[1]"),
    ],
)
def test_a_decode_error_names_family_event_field_and_value(body: bytes, field: str, value: str) -> None:
    with pytest.raises(DecodeError) as caught:
        FAMILY.read("OnGameDone", body)
    error = caught.value
    assert (error.family, error.event, error.field, error.value) == ("evenbet", "OnGameDone", field, value)
    assert f"evenbet:OnGameDone.{field}" in str(error)


def test_a_decode_error_cuts_a_long_value() -> None:
    with pytest.raises(DecodeError) as caught:
        FAMILY.read("OnGameDone", json.dumps({"ante": "x" * 10_000}))
    assert len(caught.value.value) == 200


def test_a_missing_field_of_a_users_model_is_named() -> None:
    class Needs(BaseModel):
        amount: int

    with pytest.raises(DecodeError) as caught:
        Family("needs", {"Needs": Needs}).read("Needs", b"{}")
    assert caught.value.field == "amount"


def test_an_unknown_name_is_a_decode_error_with_a_suggestion() -> None:
    with pytest.raises(DecodeError, match="did you mean 'OnGameDone'"):
        parse("OnGameDnoe", b"{}")
    with pytest.raises(DecodeError, match="did you mean 'OnGameDone'"):
        FAMILY.reader("ongamedone")
    assert suggest("evenbet:OnUserLogedIn") == "; did you mean 'OnUserLoggedIn'?"
    assert suggest("zzz") == ""


def test_parse_needs_no_family_for_a_name_that_one_family_has() -> None:
    for name in ("OnGameDone", "evenbet:OnGameDone"):
        assert parse(name, b'{"ante": 5}') == OnGameDone(ante=5)
        assert parse(name, {"ante": 5}, family="evenbet") == OnGameDone(ante=5)
    with pytest.raises(ConfigError, match="did you mean 'evenbet'"):
        parse("OnGameDone", b"{}", family="evenbett")


def test_find_knows_names_qualified_names_and_models() -> None:
    assert [(found.family.name, found.name) for found in find("OnGameDone")] == [("evenbet", "OnGameDone")]
    assert find("evenbet:OnGameDone")[0].model is OnGameDone
    assert find(OnUserLoggedIn)[0].name == "OnUserLoggedIn"
    assert find("evenbet:Nothing") == find("Nothing") == ()
    assert find(Constant) == ()


def test_a_name_of_two_families_must_be_qualified(monkeypatch: pytest.MonkeyPatch) -> None:
    both = _Families()
    monkeypatch.setattr("brokerkit.events._registry._FAMILIES", both)
    other = register(Family("other", {"OnGameDone": Constant}))
    assert register(other) is other
    again = Family("other", {"OnGameDone": Constant})
    assert register(again) is again  # the same models: a notebook's cell, or a module that is imported under two names
    assert find("other:OnGameDone")[0].family is other
    with pytest.raises(ConfigError, match="another family 'other' already"):
        register(Family("other", {"OnGameDone": Constant}, format="cloudevents"))
    with pytest.raises(ConfigError, match="evenbet:OnGameDone, other:OnGameDone"):
        parse("OnGameDone", b"{}")
    assert parse("other:OnGameDone", b"{}") == Constant()
    with pytest.raises(ConfigError, match="another family .* already"):
        register(Family("other", {}))


def test_names_are_found_by_model_and_by_subclass() -> None:
    class Rich(OnGameDone):
        """A user's subclass with methods of its own."""

    assert FAMILY.name_of(OnGameDone) == FAMILY.name_of(Rich) == "OnGameDone"
    with pytest.raises(ConfigError, match="not an event of family 'evenbet'"):
        FAMILY.name_of(Constant)
    twice = Family("twice", {"A": Constant, "B": Constant})
    with pytest.raises(ConfigError, match="choose one of"):
        twice.write(Constant())
    assert twice.write(Constant(), name="B") == b'{"kind":"constant","day":null}'


@pytest.mark.parametrize(
    "make",
    [
        lambda: Family("", {}),
        lambda: Family("a:b", {}),
        lambda: Family("a", {"A": Constant}, wrapped=frozenset({"A"})),
        lambda: Family("a", {}, wrapper="data", wrapped=frozenset({"A"})),
    ],
)
def test_a_family_that_contradicts_itself_is_refused(make: Callable[[], Family]) -> None:
    with pytest.raises(ConfigError):
        make()


def test_the_families_are_listed_without_importing_them() -> None:
    code = (
        "import sys, brokerkit.events as e; e.families().keys(); assert 'evenbet' in list(e.families());"
        "assert 'brokerkit._vendors.evenbet' not in sys.modules; e.get_family('evenbet');"
        "assert 'brokerkit._vendors.evenbet' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert get_family("evenbet") is FAMILY is families()["evenbet"]
