"""The session family: strict where its JSON Schema is, in either casing."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from brokerkit._errors import DecodeError
from brokerkit.events import find, parse
from brokerkit.events.session import FAMILY, Authenticate, Environment, GameMode, Ping, Session

SAMPLE_FILE = Path(__file__).parent / "session_samples.jsonl"
SAMPLES: list[dict[str, Any]] = [json.loads(line) for line in SAMPLE_FILE.read_text(encoding="utf-8").splitlines()]
FULL: dict[str, Any] = SAMPLES[1]["wire"]


def pascal(value: Any) -> Any:
    """The same object as the vendor's other writer has it; maps of text keep their keys."""
    if isinstance(value, dict):
        return {
            key[0].upper() + key[1:]: one if key in ("extra", "settings") else pascal(one) for key, one in value.items()
        }
    return [pascal(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("one", SAMPLES, ids=[one["note"] for one in SAMPLES])
def test_every_sample_is_read_and_written_back(one: dict[str, Any]) -> None:
    wire = one["wire"]
    event = parse(wire["name"], json.dumps(wire))
    assert type(event).__name__ == one["event"]
    assert json.loads(FAMILY.write(event)) == wire
    assert FAMILY.read(wire["name"], pascal(wire) if not event.model_extra else wire) == event


def test_a_session_reads_as_plain_python_values() -> None:
    session = FAMILY.read("session", json.dumps(FULL))
    assert isinstance(session, Session)
    assert (session.environment, session.game_mode) == (Environment.STAGING, GameMode.MONEY)
    assert session.operator_id == UUID("2bdfbefb-c943-4e49-9fe4-fa72b239987a")
    assert session.balance == Decimal(102657)
    assert session.extra == {"lang": "sv", "lobby": "main"}
    assert session.free_bet_campaigns is not None
    assert session.free_bet_campaigns[0].bet_amount == Decimal(200)
    assert session.free_bet_campaigns[0].settings == {"lines": "30"}


def test_a_fraction_of_the_balance_is_exact() -> None:
    body = json.dumps(FULL).replace("102657", "1999.10000000000000001")
    session = FAMILY.read("session", body)
    assert isinstance(session, Session)
    assert session.balance == Decimal("1999.10000000000000001")
    assert b'"balance":1999.10000000000000001' in FAMILY.write(session)


def test_pascal_case_is_read_and_camel_case_written() -> None:
    assert json.loads(FAMILY.write(FAMILY.read("session", json.dumps(pascal(FULL))))) == FULL


def test_unknown_keys_are_kept_as_they_were_written() -> None:
    wire = {**FULL, "Token": "t", "Multiplier": 3, "Jackpots": [{"Id": 1.5}]}
    session = FAMILY.read("session", json.dumps(wire))
    assert session.model_extra == {"Token": "t", "Multiplier": 3, "Jackpots": [{"Id": 1.5}]}
    assert json.loads(FAMILY.write(session)) == wire


@pytest.mark.parametrize("field", sorted(SAMPLES[0]["wire"]))
def test_each_required_field_is_missed_by_name(field: str) -> None:
    wire = {key: value for key, value in SAMPLES[0]["wire"].items() if key != field}
    with pytest.raises(DecodeError, match="required") as caught:
        FAMILY.read("session", json.dumps(wire))
    assert (caught.value.family, caught.value.event, caught.value.field) == ("session", "session", field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Session"),
        ("name", None),
        ("environment", "test"),
        ("gameMode", "fun"),
        ("operatorId", "op-1"),
        ("balance", "much"),
        ("balance", None),
        ("extra", {"a": []}),
        ("freeBetCampaigns", {}),
    ],
)
def test_a_value_that_the_schema_refuses_is_named(field: str, value: object) -> None:
    with pytest.raises(DecodeError) as caught:
        FAMILY.read("session", json.dumps({**FULL, field: value}))
    assert caught.value.field.startswith(field)
    assert caught.value.value or value is None


def test_a_new_event_carries_its_name() -> None:
    wire = {key: value for key, value in SAMPLES[7]["wire"].items() if key != "name"}
    event = Authenticate(**wire)
    assert event.name == "authenticate"
    assert json.loads(FAMILY.write(event)) == SAMPLES[7]["wire"]
    assert FAMILY.write(Ping()) == b'{"name":"ping"}'


def test_messages_known_by_name_alone_keep_whatever_comes() -> None:
    assert len(FAMILY.models) == 23
    body = b'{"name":"bet-placed","betId":7,"win":{"a":[1]}}'
    assert FAMILY.write(parse("bet-placed", body)) == body
    assert find("Session") == ()
