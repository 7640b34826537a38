"""AccelByte: a base event in which all may be missing, and a message packed as text."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.events.strategies import events

from brokerkit._errors import DecodeError
from brokerkit.events import find, parse
from brokerkit.events.accelbyte import (
    FAMILY,
    Member,
    MemberStatus,
    MetricAcquiringDsEvent,
    Notification,
    OnPartyCreated,
    OnSessionEnded,
    PartyCreated,
    PartyCreatedEvent,
    Payload,
    SessionNotification,
    SessionState,
    Snapshot,
    pack,
)

SAMPLE_FILE = Path(__file__).parent / "accelbyte_samples.jsonl"
SAMPLES: list[dict[str, Any]] = [json.loads(line) for line in SAMPLE_FILE.read_text(encoding="utf-8").splitlines()]
DECODED = {"value", "note", "requesterUserID", "payload", "SessionID", "Members"}


@pytest.mark.parametrize("one", SAMPLES, ids=[f"{number}-{one['event']}" for number, one in enumerate(SAMPLES)])
def test_every_sample_is_read_and_written_back(one: dict[str, Any]) -> None:
    wire = one["wire"]
    event: Any = parse(wire["name"], json.dumps(wire))
    assert (event.model_extra or {}).keys() <= {"service", "region"}
    assert json.loads(FAMILY.write(event)) == wire
    if "payload" in wire:
        value = event.decoded()
        text = wire["payload"]["message"]
        assert (value is None) == (not text.strip())
        if isinstance(value, (Snapshot, Notification)):
            assert not value.model_extra
            assert (value.model_dump(by_alias=True, exclude_unset=True)).keys() <= DECODED


def test_names_that_differ_little_are_different_events() -> None:
    assert find("onPartyCreated")[0].model is PartyCreated
    assert find("OnPartyCreated")[0].model is OnPartyCreated
    assert find("PartyCreatedEvent")[0].model is PartyCreatedEvent
    assert find("onpartycreated") == ()
    assert len(FAMILY.models) == 78


def test_every_field_may_be_missing_and_an_event_knows_its_name() -> None:
    for name in FAMILY.models:
        assert FAMILY.write(FAMILY.read(name, b"{}")) == b"{}"
        assert json.loads(FAMILY.write(FAMILY.models[name]())) == {"name": name}


def test_a_base_event_reads_as_plain_python_values() -> None:
    body = b'{"version": "3", "timestamp": "2026-05-23T20:56:24Z", "timestampUnixNano": 1770000000000000001}'
    event = parse("onPartyCreated", body)
    assert isinstance(event, PartyCreated)
    assert (event.version, event.timestamp) == (3, datetime(2026, 5, 23, 20, 56, 24, tzinfo=UTC))
    assert json.loads(FAMILY.write(event))["version"] == 3
    assert event.timestamp_unix_nano == 1770000000000000001


JSON_TEXT = '{"requesterUserID":"u1","payload":{"ID":"s1","Members":[{"ID":"u1","Status":"JOINED","StatusV2":"ODD"}]}}'
BASE64_TEXT = base64.b64encode(JSON_TEXT.encode()).decode()


@pytest.mark.parametrize("text", [JSON_TEXT, f" {JSON_TEXT}", BASE64_TEXT, BASE64_TEXT.rstrip("="), f"{BASE64_TEXT}\n"])
def test_a_message_is_json_or_base64_with_or_without_padding(text: str) -> None:
    event = PartyCreatedEvent(payload=Payload(message=text))
    member = Member(id="u1", status=MemberStatus.JOINED, status_v2="ODD")
    assert event.decoded() == Snapshot(requester_user_id="u1", payload=SessionState(id="s1", members=[member]))
    assert event.payload is not None
    assert event.payload.message == text


@pytest.mark.parametrize(
    "payload", [None, Payload(), Payload(message=None), Payload(message=""), Payload(message=" \n")]
)
def test_a_blank_message_is_none(payload: Payload | None) -> None:
    for model in (PartyCreatedEvent, SessionNotification, MetricAcquiringDsEvent):
        assert model(payload=payload).decoded() is None


@pytest.mark.parametrize(
    "text", ["?", "{", "e30", "{}}", "bnVsbA", "W10=", "AAAA", "//79", "ä", "{" * 10_000, '{"a": NaN}']
)
def test_a_message_of_junk_is_a_decode_error_only_when_it_is_asked_for(text: str) -> None:
    event = FAMILY.read("PartyCreatedEvent", {"payload": {"message": text}})
    assert isinstance(event, PartyCreatedEvent)
    try:
        assert isinstance(event.decoded(), Snapshot | None)
    except DecodeError as error:
        assert (error.family, error.event, error.field) == ("accelbyte", "PartyCreatedEvent", "payload.message")


@given(st.text(max_size=30) | st.binary(max_size=30).map(lambda raw: base64.b64encode(raw).decode()))
def test_any_message_gives_a_value_or_a_decode_error(text: str) -> None:
    for model in (PartyCreatedEvent, SessionNotification, MetricAcquiringDsEvent):
        try:
            model(payload=Payload(message=text)).decoded()
        except DecodeError as error:
            assert error.field.startswith("payload.message")


def test_the_error_of_a_message_names_the_field_in_it() -> None:
    event = OnSessionEnded(payload=Payload(message='{"SessionID":"s","Members":[{"ID":[]}]}'))
    with pytest.raises(DecodeError) as caught:
        event.decoded()
    assert (caught.value.event, caught.value.field) == ("OnSessionEnded", "payload.message.Members.0.ID")
    assert caught.value.value == "[]"


def test_a_notification_may_carry_either_shape() -> None:
    told = SessionNotification(payload=Payload(message='{"SessionID":"s1","TextChat":true,"New":1}')).decoded()
    assert isinstance(told, Notification)
    assert (told.session_id, told.text_chat, told.model_extra) == ("s1", True, {"New": 1})
    assert isinstance(SessionNotification(payload=Payload(message=JSON_TEXT)).decoded(), Snapshot)


@given(events(Snapshot))
def test_what_is_packed_is_decoded_equal(snapshot: Snapshot) -> None:
    event = PartyCreatedEvent(payload=Payload(message=pack(snapshot)))
    assert event.decoded() == snapshot
    assert FAMILY.read("PartyCreatedEvent", FAMILY.write(event)) == event
