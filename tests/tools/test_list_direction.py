"""Which way the values of a list run, told by their bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brokerkit._messages._delivery import Delivery
from brokerkit._tools._list_direction import Running, running

UP = [{"id": number, "at": f"2026-11-{number:02}T10:00:00Z", "cents": number % 3, "ok": True} for number in range(1, 9)]


def deliveries(bodies: list[Any]) -> list[Delivery]:
    return [Delivery(body=json.dumps(body).encode(), topic="t") for body in bodies]


def test_a_field_that_rises_or_falls_through_all_messages_tells_it() -> None:
    assert running(deliveries(UP)) == Running("id", rises=True)
    assert running(deliveries(UP[::-1])) == Running("id", rises=False)
    nested = [{"meta": {"at": body["at"]}} for body in UP]
    assert running(deliveries(nested[::-1])) == Running("meta.at", rises=False)


@pytest.mark.parametrize(
    "bodies",
    [
        UP[:3],  # by chance
        [{"cents": body["cents"]} for body in UP],
        [{"id": number, "left": -number} for number in range(8)],  # they disagree
        [{"id": 1}] * 8,
        [[1], "text", None, 7],
        [{"big": 10**400 + number} for number in range(8)],
        [{}] * 3,
    ],
)
def test_what_may_be_chance_or_contradicts_itself_tells_nothing(bodies: list[Any]) -> None:
    assert running(deliveries(bodies)) is None
