"""RabbitMQ's wire forms and names, without a broker."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pamqp.frame
import pytest
from aiormq.abc import DeliveredMessage
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from brokerkit import Bus
from brokerkit._consuming._routes import NAMELESS
from brokerkit._errors import ConfigError, InvalidMessage
from brokerkit._messages._copies import copy_of
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._outgoing import Outgoing
from brokerkit._messages._retry_state import RetryState
from brokerkit.adapters._delays import DELAY_LEVELS, delay_label
from brokerkit.adapters.rabbitmq._wire import (
    LONGEST_EXCHANGE,
    SHORT_STRING,
    AddressedMessage,
    address_message,
    address_retry,
    check_name,
    queue_name,
    read_message,
    role_name,
    split_prefix,
)

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
NAMES = TEXT.filter(lambda name: not name.startswith("bk-") and name != "content-type" and not name.startswith("x-"))


def outgoing(**changes: object) -> Outgoing:
    return Outgoing(**({"topic": "orders", "body": b"{}", "name": "Paid", "id": "7"} | changes))  # type: ignore[arg-type]


def received(sent: AddressedMessage, *, redelivered: bool = False) -> DeliveredMessage:
    """What the client library would make of a letter, through its real encoding."""
    header = ContentHeader(body_size=len(sent.body), properties=sent.properties)
    _, _, decoded = pamqp.frame.unmarshal(pamqp.frame.marshal(header, 1))
    assert isinstance(decoded, ContentHeader)
    frame = Basic.Deliver("tag", 1, redelivered, sent.exchange, sent.routing_key)
    return DeliveredMessage(delivery=frame, header=decoded, body=sent.body, channel=None)  # type: ignore[arg-type]


def there_and_back(message: Outgoing) -> Delivery:
    return read_message(received(address_message(message, NOW)), message.topic)


@given(
    headers=st.dictionaries(NAMES, TEXT | st.binary(max_size=50), max_size=40),
    key=st.none() | TEXT | st.binary(max_size=50),
    body=st.none() | st.binary(max_size=100),
    id=TEXT.filter(bool),
)
def test_a_message_comes_back_as_it_was(
    headers: dict[str, str | bytes], key: str | bytes | None, body: bytes | None, id: str
) -> None:
    found = there_and_back(outgoing(headers=headers, key=key, body=body, id=id, type="t", content_type="text/plain"))
    public = {name: value for name, value in found.headers.items() if not name.startswith("bk-")}
    assert public == headers | {"content-type": "text/plain"}
    assert (found.key, found.body, found.id) == (key, body, id)
    assert (found.routing_key, found.type, found.time) == ("Paid", "t", NOW.timestamp())


def test_names_that_the_client_would_cut_survive() -> None:
    headers: dict[str, str | bytes] = {"n" * 300: "text", "ü" * 100: b"\xff\x00", "n" * 128: "fits", "n" * 129: "not"}
    assert dict(there_and_back(outgoing(headers=headers)).headers) == headers


@pytest.mark.parametrize(
    ("body", "content"),
    [
        # RabbitMQ 4.3.6 and 3.10.8, of messages of rhea 3.0.5: a text, bytes, a number, nothing, a map.
        (b"\x00Sw\xa1\x04text", b"text"),
        (b"\x00Sw\xa0\x02{}", b"{}"),
        (b"\x00SwR\x05", None),
        (b"\x00Sw@", None),
        (b"\x00Sw\xd1\x00\x00\x00\t\x00\x00\x00\x02\xa1\x01pR\x01", None),
        # By the specification: a long text, and bodies that are cut off or go on.
        (b"\x00Sw\xb1\x00\x00\x01\x00" + b"t" * 256, b"t" * 256),
        (b"\x00Sw\xa1\x05text", None),
        (b"\x00Sw\xa1\x03text", None),
        (b"\x00Sw\xb1\x00", None),
        (b"\x00Sw", None),
        (b"text", None),
    ],
)
def test_the_value_of_an_amqp_1_0_client_is_the_body(body: bytes, content: bytes | None) -> None:
    def read(kind: str) -> tuple[bytes | None, str | None]:
        one = read_message(received(AddressedMessage("x", "k", body, Basic.Properties(message_type=kind))), "x")
        return one.body, one.type

    assert read("amqp-1.0") == ((body, "amqp-1.0") if content is None else (content, None))
    assert read("Paid") == (body, "Paid")


def test_a_header_of_that_name_from_somebody_else_stays_as_it_is() -> None:
    for value in ("no JSON", "[1]", '{"a": 5}'):
        table = AddressedMessage("x", "k", b"", Basic.Properties(headers={"bk-headers": value}))
        assert read_message(received(table), "x").headers == {"bk-headers": value}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, "5"),
        (True, "true"),
        (False, "false"),
        (None, ""),
        (1.5, "1.5"),
        (Decimal("1.25"), "1.25"),
        (NOW, NOW.isoformat()),
        (bytearray(b"\xff"), b"\xff"),
        ({"a": [1, None, {"b": NOW}]}, '{"a": [1, null, {"b": "2026-05-06T07:08:09+00:00"}]}'),
        ([bytearray(b"\xff"), "ü"], '["\\\\xff", "ü"]'),
    ],
)
def test_header_values_of_other_producers_become_text(value: object, expected: str | bytes) -> None:
    plain = AddressedMessage("x", "k", b"b", Basic.Properties(headers={"h": value}))  # type: ignore[dict-item]
    assert read_message(received(plain), "x").headers == {"h": expected}


def test_the_correlation_id_is_a_property_for_others_and_a_header_all_the_same() -> None:
    sent = address_message(outgoing(headers={"correlation-id": "é" * 127}), NOW)
    assert sent.properties.correlation_id == "é" * 127
    assert read_message(received(sent), "orders").headers == {"correlation-id": "é" * 127}


@pytest.mark.parametrize("value", ["é" * 128, b"\xff", ""])
def test_a_correlation_id_that_no_property_holds_stays_a_header(value: str | bytes) -> None:
    sent = address_message(outgoing(headers={"correlation-id": value}), NOW)
    assert not sent.properties.correlation_id
    assert read_message(received(sent), "orders").headers == {"correlation-id": value}


def copied(original: Delivery) -> Outgoing:
    """The copy that the core makes for a retry."""
    original.route, original.retry_state = NAMELESS, RetryState(failures=1)
    return copy_of(original)


def test_the_correlation_id_of_another_producer_is_read_from_its_property_unless_a_header_says_it() -> None:
    plain = AddressedMessage("x", "k", b"", Basic.Properties(correlation_id="property"))
    assert read_message(received(plain), "x").headers == {"correlation-id": "property"}
    both = AddressedMessage(
        "x", "k", b"", Basic.Properties(correlation_id="property", headers={"correlation-id": "header"})
    )
    original = read_message(received(both), "x")
    assert original.headers == {"correlation-id": "header"}
    copy = address_retry(copied(original), original, "x.wallet.retry.10s")
    assert copy.properties.correlation_id == "property"
    assert copy.properties.headers is not None
    assert copy.properties.headers["correlation-id"] == "header"


def test_a_plain_message_needs_no_properties_at_all() -> None:
    found = read_message(received(AddressedMessage("x", "some.key", b"body", Basic.Properties())), "x")
    assert (found.body, found.id, found.key, found.time, found.type) == (b"body", None, None, None, None)
    assert (found.routing_key, found.count, dict(found.headers)) == ("some.key", 1, {})


@pytest.mark.parametrize(
    ("headers", "redelivered", "count"),
    [({}, False, 1), ({}, True, 0), ({"x-delivery-count": 0}, False, 1), ({"x-delivery-count": 4}, True, 5)],
)
def test_count_is_zero_where_the_broker_does_not_count(headers: dict[str, int], redelivered: bool, count: int) -> None:
    message = received(
        AddressedMessage("x", "k", b"", Basic.Properties(headers=dict(headers))), redelivered=redelivered
    )
    found = read_message(message, "x")
    assert found.count == count
    assert not found.headers


def test_what_the_broker_wrote_is_not_carried_on() -> None:
    headers = {"x-death": [{"count": 1}], "x-first-death-queue": "q", "x-mine": "kept"}
    found = read_message(received(AddressedMessage("x", "k", b"", Basic.Properties(headers=headers))), "x")  # type: ignore[arg-type]
    assert found.headers == {"x-mine": "kept"}


def test_a_stored_message_goes_to_its_queue_and_keeps_its_routing_key() -> None:
    sent = address_message(outgoing(is_queue=True, topic="dead", routing_key="poker.done"), NOW)
    assert (sent.exchange, sent.routing_key) == ("", "dead")
    assert read_message(received(sent), "dead").routing_key == "poker.done"


def test_a_kept_routing_key_ends_where_a_message_is_published_again() -> None:
    again = there_and_back(outgoing(headers={"bk-routing-key": "old"}, routing_key="new"))
    assert again.routing_key == "new"


def test_a_retry_copy_keeps_what_only_amqp_knows() -> None:
    properties = Basic.Properties(
        correlation_id="c", reply_to="r", app_id="a", priority=4, content_encoding="gzip", message_type="t",
        content_type="text/x", timestamp=NOW, user_id="guest", expiration="5000",
    )  # fmt: skip
    original = read_message(received(AddressedMessage("orders", "poker.done", b"", properties)), "orders")
    copy = received(address_retry(copied(original), original, "orders.wallet.retry.10s"))
    found = copy.header.properties
    assert (found.correlation_id, found.reply_to, found.app_id, found.priority) == ("c", "r", "a", 4)
    assert (found.content_encoding, found.content_type, found.message_type) == ("gzip", "text/x", "t")
    assert found.timestamp == NOW
    # The broker refuses somebody else's user, and would throw an expired copy away.
    assert found.user_id is None
    assert found.expiration is None
    assert read_message(copy, "orders").routing_key == "poker.done"


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {"n": 5}},
        {"headers": {5: "v"}},
        {"headers": {"n" * 200 + "\ud800": "v"}},
        {"headers": {"n" * 200: "\ud800"}},
        {"id": "\ud800"},
        {"name": "k" * 256},
        {"routing_key": "ü" * 128},
        {"topic": "t" * 256},
        {"topic": "t" * 256, "is_queue": True},
        {"type": "t" * 256},
        {"content_type": "t" * 256},
    ],
)
def test_what_the_wire_cannot_hold_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidMessage):
        address_message(outgoing(**changes), NOW)


@given(st.sets(st.integers(1, 60)), st.data())
def test_one_acknowledgement_never_covers_what_is_not_done(unsettled: set[int], data: st.DataObject) -> None:
    done = data.draw(st.sets(st.sampled_from(sorted(unsettled)))) if unsettled else set[int]()
    last, singles = split_prefix(sorted(unsettled), done)
    covered = {tag for tag in unsettled if tag <= last}
    assert covered <= done
    assert covered | set(singles) == done
    assert not covered & set(singles)
    assert last == 0 or last in done


def test_the_queue_of_a_group_has_the_plain_name() -> None:
    assert queue_name("evenbet.events", "wallet") == "evenbet.events.wallet"
    assert role_name("evenbet.events", "wallet", "dlq") == "evenbet.events.wallet.dlq"


PARTS = st.text("ab.-", max_size=4) | st.sampled_from(["dlq", "retry", "queue", "amq.topic", "a.dlq", "1s", "a.retry"])


@given(PARTS, PARTS, PARTS, PARTS)
def test_two_groups_never_share_a_queue(topic: str, group: str, other_topic: str, other_group: str) -> None:
    if (topic, group) != (other_topic, other_group):
        assert queue_name(topic, group) != queue_name(other_topic, other_group)


@given(PARTS, PARTS, PARTS, st.none() | PARTS, st.sampled_from(["dlq", "retry"]))
def test_the_queue_of_a_group_is_never_something_else_of_ours(
    topic: str, group: str, other: str, other_group: str | None, role: str
) -> None:
    name = role_name(other, other_group, role)
    ours = {name, *(f"{name}.{delay_label(level)}" for level in DELAY_LEVELS)}
    assert queue_name(topic, group) not in ours


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), TEXT)
def test_derived_names_are_legal_and_leave_room_for_a_level(topic: str, group: str) -> None:
    for name in (queue_name(topic, group), role_name(topic, group, "retry") + ".10m", role_name(topic, None, "dlq")):
        assert len(name.encode()) <= SHORT_STRING
        assert not name.startswith("amq.")


@pytest.mark.parametrize("name", ["orders", "evenbet.events/1", "a b", "x" * 255, "A-z_0:@#,+"])
def test_names_that_the_client_sends_are_accepted(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a\nb", r"holds '\\n'"),
        ("täglich", "holds 'ä'"),
        ("a*b", r"holds '\*'"),
        ("x" * 256, "256 characters; at most 255"),
    ],
)
def test_names_that_the_client_cannot_send_are_refused_when_the_bus_is_made(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Bus("amqp://localhost", topic=name, group="g")


def test_the_name_of_an_exchange_has_127_characters_at_most() -> None:
    with pytest.raises(ConfigError, match="128 characters; at most 127"):
        check_name("x" * 128, longest=LONGEST_EXCHANGE)
