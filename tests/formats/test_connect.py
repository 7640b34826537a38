"""Kafka Connect's JSON with a schema."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from brokerkit import Bus, DecodeError, Message
from brokerkit.formats._connect import decode
from tests.every_broker import until

DECIMAL = "org.apache.kafka.connect.data.Decimal"


class Line(BaseModel):
    fee: Decimal | None


class Withdrawn(BaseModel):
    amount: Decimal
    day: date
    hour: time
    at: datetime
    receipt: bytes
    lines: list[Line]
    by: dict[str, Decimal]
    none: Decimal | None
    pairs: dict[int, Decimal]


# As JsonConverter 4.1.0 has written them.
FIELDS = [
    {
        "type": "bytes",
        "optional": False,
        "name": DECIMAL,
        "version": 1,
        "parameters": {"scale": "2"},
        "field": "amount",
    },
    {"type": "int32", "optional": False, "name": "org.apache.kafka.connect.data.Date", "version": 1, "field": "day"},
    {"type": "int32", "optional": False, "name": "org.apache.kafka.connect.data.Time", "version": 1, "field": "hour"},
    {
        "type": "int64",
        "optional": False,
        "name": "org.apache.kafka.connect.data.Timestamp",
        "version": 1,
        "field": "at",
    },
    {"type": "bytes", "optional": False, "field": "receipt"},
    {
        "type": "array",
        "items": {
            "type": "struct",
            "fields": [
                {
                    "type": "bytes",
                    "optional": True,
                    "name": DECIMAL,
                    "version": 1,
                    "parameters": {"scale": "3"},
                    "field": "fee",
                }
            ],
            "optional": False,
        },
        "optional": False,
        "field": "lines",
    },
    {
        "type": "map",
        "keys": {"type": "string", "optional": False},
        "values": {"type": "bytes", "optional": False, "name": DECIMAL, "version": 1, "parameters": {"scale": "2"}},
        "optional": False,
        "field": "by",
    },
    {"type": "bytes", "optional": True, "name": DECIMAL, "version": 1, "parameters": {"scale": "2"}, "field": "none"},
    {
        "type": "map",
        "keys": {"type": "int32", "optional": False},
        "values": {"type": "bytes", "optional": False, "name": DECIMAL, "version": 1, "parameters": {"scale": "2"}},
        "optional": False,
        "field": "pairs",
    },
]
PAYLOAD = {
    "amount": "7t3vC4IWfus=",
    "day": 20454,
    "hour": 3720005,
    "at": 1767225600123,
    "receipt": "/wA=",
    "lines": [{"fee": "AQ=="}, {"fee": None}],
    "by": {"EUR": "bg=="},
    "none": None,
    "pairs": [[7, "ANeVWA=="]],
}


async def test_a_model_takes_each_type() -> None:
    bus, seen = Bus("memory://", topic="Withdrawn", group="wallet", format="connect"), list[Withdrawn]()

    @bus.on(Withdrawn)
    async def handle(event: Withdrawn) -> None:
        seen.append(event)

    record = {
        "schema": {"type": "struct", "fields": FIELDS, "optional": False, "name": "Withdrawn"},
        "payload": PAYLOAD,
    }
    async with bus, bus.serving():
        await bus.publish(Message("Withdrawn", json.dumps(record).encode(), headers={"event": "Withdrawn"}))
        await until(lambda: len(seen) == 1)
    assert seen == [
        Withdrawn(
            amount=Decimal("-12345678901234567.89"),
            day=date(2026, 1, 1),
            hour=time(1, 2, 0, 5_000),
            at=datetime(2026, 1, 1, 0, 0, 0, 123_000, tzinfo=UTC),
            receipt=b"\xff\x00",
            lines=[Line(fee=Decimal("0.001")), Line(fee=None)],
            by={"EUR": Decimal("1.10")},
            none=None,
            pairs={7: Decimal("141284.72")},
        )
    ]


@given(digits=st.integers(-(10**60), 10**60), scale=st.integers(-5, 40))
def test_a_decimal_keeps_all_its_digits(digits: int, scale: int) -> None:
    size = digits.bit_length() // 8 + 1
    schema = {"type": "bytes", "name": DECIMAL, "parameters": {"scale": str(scale)}}
    payload = base64.b64encode(digits.to_bytes(size, "big", signed=True)).decode()
    read = Decimal(decode({"schema": schema, "payload": payload}))
    assert read.as_tuple() == Decimal(digits).as_tuple()._replace(exponent=-scale)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"schema": None, "payload": {"amount": "1.10"}}, {"amount": "1.10"}),
        ({"schema": {"type": "string"}, "payload": '{"amount": 1}'}, '{"amount": 1}'),
        ({"schema": {"type": "struct", "fields": []}, "payload": {"more": 1}}, {"more": 1}),
        ({"schema": {"type": "bytes", "name": DECIMAL}, "payload": 2.5}, 2.5),
        ({"amount": "1.10"}, {"amount": "1.10"}),
        ([1], [1]),
    ],
    ids=["no schema", "text", "a field beyond the schema", "a number", "no record", "a list"],
)
def test_everything_else_stays(value: Any, expected: Any) -> None:
    assert decode(value) == expected


@pytest.mark.parametrize(
    ("schema", "payload"),
    [
        ({"type": "bytes", "name": DECIMAL, "parameters": {"scale": "2"}}, "%"),
        ({"type": "bytes", "name": DECIMAL}, "APo="),
        ({"type": "int32", "name": "org.apache.kafka.connect.data.Date"}, 10**12),
        ({"type": "int64", "name": "org.apache.kafka.connect.data.Timestamp"}, "soon"),
        ({"type": "struct", "fields": []}, 5),
        ({"type": "map"}, 5),
        ({}, 5),
        (5, 5),
    ],
    ids=["not base64", "no scale", "a far day", "no time", "no struct", "no map", "no type", "no schema"],
)
def test_what_does_not_fit_its_schema_is_a_decode_error(schema: Any, payload: Any) -> None:
    with pytest.raises(DecodeError, match="schema"):
        decode({"schema": schema, "payload": payload})
