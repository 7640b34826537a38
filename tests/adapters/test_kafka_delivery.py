"""How a message of the Kafka client becomes a delivery: headers are decoded when somebody asks for all of them."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Message

from brokerkit.adapters.api import ID_HEADER, Delivery
from brokerkit.adapters.kafka._delivery import KafkaDelivery


def delivery_with(*headers: tuple[str, Any]) -> KafkaDelivery:
    return KafkaDelivery(Message("deals", 2, 17, b"key", b"body", list(headers) or None), "deals", None)


@pytest.mark.parametrize("ask_for_all_first", [True, False])
@pytest.mark.parametrize(
    ("headers", "name", "expected"),
    [
        ([], "event", None),
        ([("event", b"Deal")], "event", b"Deal"),
        ([("event", b"Deal")], "Event", None),
        ([("event", b"Deal"), ("other", b"x"), ("event", b"Bet")], "event", b"Bet"),
        ([("event", None)], "event", b""),
        ([("event", b"Deal"), ("event", None)], "event", b""),
    ],
)
def test_one_header_is_what_all_headers_say(
    headers: list[tuple[str, Any]], name: str, expected: bytes | None, ask_for_all_first: bool
) -> None:
    delivery = delivery_with(*headers)
    if ask_for_all_first:
        assert delivery.headers.get(name) == expected
    assert delivery.header(name) == expected
    assert delivery.headers.get(name) == expected
    assert dict(delivery.headers) == {each: b"" if value is None else value for each, value in headers}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([(ID_HEADER, b"m-1")], "m-1"),
        ([(ID_HEADER, b"m-1"), (ID_HEADER, b"m-2")], "m-2"),
        ([(ID_HEADER, b"\xff")], "\ufffd"),
        ([(ID_HEADER, None)], ""),
    ],
)
def test_the_id_is_read_from_its_header(headers: list[tuple[str, Any]], expected: str | None) -> None:
    assert delivery_with(*headers).id == expected


def test_an_id_that_a_rule_has_found_takes_the_place_of_that_of_the_header() -> None:
    delivery = delivery_with((ID_HEADER, b"m-1"))
    delivery.id = "from the body"
    assert (delivery.id, delivery.stable_id) == ("from the body", "from the body")
    delivery.id = None
    assert (delivery.id, delivery.stable_id) == (None, "deals/2/17")


def test_headers_that_are_set_replace_those_of_the_message() -> None:
    delivery = delivery_with(("event", b"Deal"), ("carried", b"x"))
    delivery.headers = {"event": b"Bet"}
    assert (delivery.header("event"), delivery.header("carried")) == (b"Bet", None)
    assert dict(delivery.headers) == {"event": b"Bet"}


def test_it_begins_with_all_that_the_core_needs() -> None:
    """Its constructor does not call that of the class below, which would be slower."""
    usual = Delivery(body=b"body", topic="deals", key=b"key")
    found = delivery_with()
    for name in ("body", "count", "headers", "id", "key", "lane", "parsed", "retry_state", "route", "routing_key"):
        assert getattr(found, name) == getattr(usual, name), name
    assert (found.state, found.topic, found.token, found.type) == (usual.state, usual.topic, usual.token, usual.type)
    read_from_the_message = {"_position", "_time"}
    assert {name for name in Delivery.__slots__ if not hasattr(found, name)} == {"schema", *read_from_the_message}
