"""The SQS wire format, without SQS."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit._errors import InvalidMessage
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import as_text
from brokerkit._messages._outgoing import Outgoing
from brokerkit.adapters.aws._wire import ANY_TOPIC, Entry, batches, decode, encode

LEGAL_TEXT = re.compile("[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
LEGAL_NAME = re.compile(r"[A-Za-z0-9_-]([A-Za-z0-9_.-]{0,254}[A-Za-z0-9_-])?")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
names = texts.filter(lambda name: not name.startswith("bk-")) | st.sampled_from(
    [
        "event",
        "ce_type",
        "AWS.x",
        "amazon.y",
        ".a",
        "a.",
        "a..b",
        "data",
        "key",
        " ",
        "n" * 300,
        "n" * 256,
        "MessageGroupId",
    ]
)
headers = st.dictionaries(names, texts | st.binary(max_size=40), max_size=40)
keys = st.none() | texts | st.binary(max_size=40)


def native(entry: Entry) -> dict[str, object]:
    """What SQS hands out for an entry."""
    system = {"SentTimestamp": "1700000000123", "ApproximateReceiveCount": "2"}
    if entry.group is not None:
        system["MessageGroupId"] = entry.group
    return {
        "MessageId": "m-1",
        "Body": entry.body,
        "Attributes": system,
        "MessageAttributes": entry.attributes,
    }


def through(message: Outgoing, *, fifo: bool = False, envelope: str | None = None) -> Delivery:
    return decode(native(encode(message, fifo=fifo)), "orders", None, fifo=fifo, envelope=envelope)


def outgoing(body: bytes | None = b"{}", **fields: Any) -> Outgoing:
    fields = {"id": "id-1"} | fields
    return Outgoing(topic="orders", body=body, name="OnGameDone", **fields)


@given(st.none() | st.binary(max_size=200) | texts.map(str.encode), headers, keys, texts, st.booleans())
def test_every_message_comes_back_as_it_was(
    body: bytes | None, headers: dict[str, str | bytes], key: str | bytes | None, id: str, fifo: bool
) -> None:
    found = through(outgoing(body, headers=headers, key=key, id=id), fifo=fifo, envelope=ANY_TOPIC)
    assert (found.body, found.id) == (body, id)
    assert found.headers == {name: as_text(value) for name, value in headers.items()}
    assert found.key == (None if key is None else as_text(key))
    assert (found.time, found.count, found.position) == (1700000000.123, 2, "m-1")


@given(st.binary(max_size=200) | texts.map(str.encode), headers, keys, texts, st.booleans())
def test_every_entry_is_legal_and_its_size_is_what_sqs_counts(
    body: bytes, headers: dict[str, str | bytes], key: str | bytes | None, id: str, fifo: bool
) -> None:
    entry = encode(outgoing(body, headers=headers, key=key, id=id), fifo=fifo)
    assert LEGAL_TEXT.fullmatch(entry.body)
    assert len(entry.attributes) <= 10
    counted = len(entry.body.encode())
    for name, attribute in entry.attributes.items():
        assert LEGAL_NAME.fullmatch(name) and ".." not in name
        assert not name.lower().startswith(("aws.", "amazon."))
        value = attribute["StringValue"]
        assert LEGAL_TEXT.fullmatch(value)
        counted += len(name) + len(attribute["DataType"]) + len(value.encode())
    assert entry.size == counted
    if fifo:
        assert re.fullmatch("[!-~]{1,128}", entry.group or "")
        assert re.fullmatch("[!-~]{1,128}", entry.deduplication or "")


@given(keys, keys)
def test_two_keys_share_a_fifo_group_only_where_they_are_one_key(
    one: str | bytes | None, two: str | bytes | None
) -> None:
    first = encode(outgoing(key=one, id="1"), fifo=True)
    second = encode(outgoing(key=two, id="2"), fifo=True)

    same = one is not None and two is not None and as_text(one) == as_text(two)
    assert (first.group == second.group) == same


@given(
    st.text(max_size=60),
    st.dictionaries(st.sampled_from(["bk-headers", "bk-body", "bk-id", "a"]), st.text(max_size=20)),
)
def test_whatever_a_plain_producer_writes_becomes_a_delivery(body: str, attributes: dict[str, str]) -> None:
    message = {
        "Body": body,
        "MessageAttributes": {name: {"StringValue": text} for name, text in attributes.items()},
    }
    decode(message, "orders", None, fifo=False, envelope=ANY_TOPIC)


def test_the_event_name_keeps_an_attribute_of_its_own_among_many_headers() -> None:
    many = {f"header-{n}": "x" for n in range(40)} | {"ce_type": "b", "event": "a"}
    attributes = encode(outgoing(headers=many), fifo=False).attributes
    assert attributes["event"] == {"DataType": "String", "StringValue": "a"}
    assert {"ce_type", "bk-id", "bk-headers"} < attributes.keys()
    assert len(attributes) == 10


def test_ten_headers_need_no_json() -> None:
    entry = encode(outgoing(headers={f"header-{n}": "x" for n in range(9)}), fifo=False)
    assert len(entry.attributes) == 10
    assert "bk-headers" not in entry.attributes


def test_a_key_that_is_a_group_id_is_the_group_and_stands_nowhere_else() -> None:
    entry = encode(outgoing(key="table-7"), fifo=True)
    assert entry.group == "table-7"
    assert entry.attributes.keys() == {"bk-id"}


def test_a_plain_fifo_message_has_its_group_as_key() -> None:
    found = decode({"Body": "x", "Attributes": {"MessageGroupId": "g"}}, "orders.fifo", None, fifo=True, envelope=None)
    assert (found.key, found.id, found.headers) == ("g", None, {})


def test_the_content_type_comes_back_as_a_header() -> None:
    assert through(outgoing(content_type="application/json")).headers == {"content-type": "application/json"}


@pytest.mark.parametrize(
    "fields",
    [
        {"headers": {"a": "\ud800"}},
        {"headers": {"\ud800": "a"}},
        {"headers": {"a": 1}},
        {"headers": {1: "a"}},
        {"key": "\ud800"},
        {"key": 1},
        {"id": "\ud800"},
    ],
)
def test_what_is_no_text_is_an_invalid_message(fields: dict[str, Any]) -> None:
    for fifo in (False, True):
        with pytest.raises(InvalidMessage):
            encode(outgoing(**fields), fifo=fifo)


ENVELOPE = {
    "Type": "Notification",
    "MessageId": "22b80b92",
    "TopicArn": "arn:aws:sns:eu-west-1:123456789012:orders",
    "Message": "hello",
    "Timestamp": "2026-01-02T03:04:05.678Z",
    "MessageAttributes": {
        "event": {"Type": "String", "Value": "OnGameDone"},
        "raw": {"Type": "Binary", "Value": "AP8="},
    },
}


def test_an_sns_envelope_is_taken_off_with_its_attributes() -> None:
    for envelope in ("orders", ENVELOPE["TopicArn"], ANY_TOPIC):
        assert isinstance(envelope, str)
        found = decode({"Body": json.dumps(ENVELOPE)}, "orders", None, fifo=False, envelope=envelope)
        assert (found.body, found.headers) == (b"hello", {"event": "OnGameDone", "raw": b"\x00\xff"})
        assert found.time == 1767323045.678


@pytest.mark.parametrize(
    ("envelope", "change", "attributes"),
    [
        (None, {}, {}),
        ("payments", {}, {}),
        ("orders", {"Type": "SubscriptionConfirmation"}, {}),
        ("orders", {"Message": 1}, {}),
        ("orders", {}, {"event": {"StringValue": "a", "DataType": "String"}}),
    ],
)
def test_a_body_that_only_looks_like_an_envelope_stays(
    envelope: str | None, change: dict[str, object], attributes: dict[str, dict[str, str]]
) -> None:
    body = json.dumps(ENVELOPE | change)
    found = decode({"Body": body, "MessageAttributes": attributes}, "orders", None, fifo=False, envelope=envelope)
    assert found.body == body.encode()


@pytest.mark.parametrize(
    "attributes", [[], "x", {"a": 1}, {"a": {"Type": "Binary", "Value": "?"}}, {"a": {"Value": 1}}]
)
def test_an_envelope_with_broken_attributes_becomes_a_delivery(attributes: object) -> None:
    body = json.dumps(ENVELOPE | {"MessageAttributes": attributes})
    decode({"Body": body}, "orders", None, fifo=False, envelope="orders")


@given(st.lists(st.integers(1, 50)), st.integers(1, 100))
def test_batches_keep_order_and_both_limits(sizes: list[int], limit: int) -> None:
    items = list(enumerate(sizes))
    cut = list(batches(((size, (n, size)) for n, size in items), limit))
    assert [item for batch in cut for item in batch] == items
    for batch in cut:
        assert len(batch) <= 10
        assert len(batch) == 1 or sum(size for _, size in batch) <= limit
