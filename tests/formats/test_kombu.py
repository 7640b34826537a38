"""The values that kombu writes as objects with a type."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from brokerkit import Bus, DecodeError, Message
from brokerkit.formats._kombu import decode
from tests.every_broker import until


def typed(kind: str, value: Any) -> dict[str, Any]:
    return {"__type__": kind, "__value__": value}


class Refunded(BaseModel):
    amount: Decimal
    at: datetime
    day: date
    hour: time
    id: UUID
    receipt: bytes
    note: bytes
    lines: list[Decimal]


async def test_a_model_takes_each_type() -> None:
    bus, seen = Bus("memory://", topic="payments", group="wallet", format="kombu"), list[Refunded]()

    @bus.on(Refunded)
    async def handle(event: Refunded) -> None:
        seen.append(event)

    # As kombu 5.7.0 has written it.
    body = (
        b'{"amount": {"__type__": "decimal", "__value__": "12345678901234567.89"}, "at": {"__type__": "datetime", '
        b'"__value__": "2026-01-01T00:00:00+00:00"}, "day": {"__type__": "date", "__value__": "2026-01-01"}, "hour": '
        b'{"__type__": "time", "__value__": "01:02:00"}, "id": {"__type__": "uuid", "__value__": {"hex": '
        b'"00000000000000000000000000000005"}}, "receipt": {"__type__": "base64", "__value__": "/wA="}, "note": '
        b'{"__type__": "bytes", "__value__": "thanks"}, "lines": [{"__type__": "decimal", "__value__": "1.10"}]}'
    )
    async with bus, bus.serving():
        await bus.publish(Message("Refunded", body, headers={"event": "Refunded"}))
        await until(lambda: len(seen) == 1)
    assert seen == [
        Refunded(
            amount=Decimal("12345678901234567.89"),
            at=datetime(2026, 1, 1, tzinfo=UTC),
            day=date(2026, 1, 1),
            hour=time(1, 2),
            id=UUID(int=5),
            receipt=b"\xff\x00",
            note=b"thanks",
            lines=[Decimal("1.10")],
        )
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5),
        ("text", "text"),
        ({"__type__": "decimal"}, {"__type__": "decimal"}),
        ({**typed("decimal", "1"), "other": 1}, {**typed("decimal", "1"), "other": 1}),
        (typed("money", {"amount": typed("decimal", "1")}), {"amount": "1"}),
    ],
    ids=["number", "text", "no value", "another field", "of an application"],
)
def test_everything_else_stays(value: Any, expected: Any) -> None:
    assert decode(value) == expected


def test_broken_base64_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="base64"):
        decode(typed("base64", "%"))


def test_deep_json_is_a_decode_error() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(DecodeError, match="deep"):
        decode(deep)
