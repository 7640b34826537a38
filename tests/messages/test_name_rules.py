"""Rules: where the event name, key and id sit on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit import ConfigError, InvalidMessage
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import Headers, header_text
from brokerkit._messages._name_rules import NOT_JSON, compile_rules, name_writer, parsed, split_rule
from brokerkit._messages._outgoing import Outgoing
from brokerkit._paths import join_path

EVERYWHERE = frozenset({"header", "key", "topic", "routing_key", "type", "field"})
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def delivery(body: bytes | None = b"", **given: Any) -> Delivery:
    return Delivery(body=body, **{"topic": "t", **given})


def outgoing(body: bytes = b"{}", *, topic: str = "t", headers: Headers | None = None, name: str = "N") -> Outgoing:
    return Outgoing(topic=topic, body=body, name=name, id="1", headers=headers or {})


def written(message: Outgoing, *rules: str, places: frozenset[str] = EVERYWHERE) -> Outgoing:
    """The message with its name in it."""
    name_writer(rules, places)(message)
    return message


@pytest.mark.parametrize(
    ("rule", "message", "expected"),
    [
        ("header:event", delivery(headers={"event": "A"}), "A"),
        ("header:event", delivery(headers={"event": b"A"}), b"A"),
        ("header:event", delivery(headers={"Event": "A"}), None),
        ("header:a:b", delivery(headers={"a:b": "A"}), "A"),
        ("key", delivery(key=b"A"), b"A"),
        ("topic", delivery(topic="A"), "A"),
        ("routing_key", delivery(routing_key="A"), "A"),
        ("type", delivery(type="A"), "A"),
        ("field:event", delivery(b'{"event": "A"}'), "A"),
        ("field:a.1.b", delivery(b'{"a": [0, {"b": "A"}]}'), "A"),
        ("field:a.2", delivery(b'{"a": [0]}'), None),
        ("field:a", delivery(b'{"a": 7}'), "7"),
        ("field:a", delivery(b'{"a": 1.50}'), "1.50"),
        ("field:a", delivery(b'{"a": true}'), None),
        ("field:a", delivery(b'{"a": {}}'), None),
        ("field:a", delivery(b"no JSON"), None),
        ("field:a", delivery(b"[" * 100_000), None),
        ("field:a", delivery(None), None),
        ("field:a.b", delivery(b'{"a": "text"}'), None),
    ],
)
def test_each_rule_looks_in_its_place(rule: str, message: Delivery, expected: str | bytes | None) -> None:
    assert compile_rules([rule], what="name_from")(message) == expected


def test_rules_are_tried_in_order_and_empty_values_passed_over() -> None:
    find = compile_rules(["header:event", "key", "field:event"], what="name_from")
    assert find(delivery(b'{"event": "C"}', key="B", headers={"event": "A"})) == "A"
    assert find(delivery(b'{"event": "C"}', key="B", headers={"event": ""})) == "B"
    assert find(delivery(b'{"event": "C"}')) == "C"
    assert find(delivery()) is None


@pytest.mark.parametrize("rule", ["", "nonsense", "header", "header:", "field", "field:", "key:x", "key:", "Header:x"])
def test_what_is_no_rule_is_refused_with_what_is_allowed(rule: str) -> None:
    with pytest.raises(ConfigError, match=r"id_from: .*allowed are header:NAME, key, topic"):
        compile_rules([rule], what="id_from")


def test_a_rule_is_taken_apart() -> None:
    assert split_rule("field:a.b", what="key_from") == ("field", "a.b")
    assert split_rule("type", what="key_from") == ("type", "")


def test_a_body_is_parsed_once_and_exactly() -> None:
    message = delivery(b'{"amount": 0.10}')
    assert str(parsed(message)["amount"]) == "0.10"
    assert parsed(message) is parsed(message)
    assert parsed(delivery(b"\xff")) is NOT_JSON
    assert parsed(delivery(b"")) is NOT_JSON


@pytest.mark.parametrize(
    ("rule", "changed"),
    [
        ("header:event", {"headers": {"event": "N"}}),
        ("key", {"key": "N"}),
        ("routing_key", {"routing_key": "N"}),
        ("type", {"type": "N"}),
        ("field:event", {"body": b'{"event":"N"}'}),
        ("topic", {"topic": "N"}),
    ],
)
def test_a_name_is_written_where_the_rule_finds_it_again(rule: str, changed: dict[str, Any]) -> None:
    message = written(outgoing(topic=""), rule)
    assert {name: getattr(message, name) for name in changed} == changed
    read = delivery(
        message.body,
        topic=message.topic,
        key=message.key,
        headers=message.headers,
        routing_key=message.routing_key,
        type=message.type,
    )
    assert compile_rules([rule], what="name_from")(read) == "N"


def test_the_first_rule_that_can_be_written_is() -> None:
    message = written(outgoing(), "header:event", "field:event", places=frozenset({"field"}))
    assert (message.headers, message.body) == ({}, b'{"event":"N"}')
    message = written(outgoing(topic="elsewhere"), "topic", "type", "key")
    assert (message.topic, message.type, message.key) == ("elsewhere", "N", None)
    with pytest.raises(InvalidMessage, match="header:event, key"):
        written(outgoing(), "header:event", "key", places=frozenset({"field"}))
    with pytest.raises(InvalidMessage, match="topic"):
        written(outgoing(topic="elsewhere"), "topic")


@given(
    st.dictionaries(st.text(), JSON_VALUES, max_size=4),
    st.text(min_size=1).filter(lambda name: not {'"', "'"} <= set(name)),
    st.text(),
    st.sampled_from(["", " ", "\n\t"]),
)
def test_splicing_a_name_in_keeps_every_other_byte(fields: dict[str, Any], field: str, name: str, space: str) -> None:
    fields.pop(field, None)
    body = (space + json.dumps(fields, ensure_ascii=False)).encode()
    spliced = written(outgoing(body, name=name), f"field:{join_path([field])}").body
    assert spliced is not None
    assert json.loads(spliced) == {field: name, **fields}
    assert spliced.endswith(body.lstrip()[1:])


def test_a_field_that_holds_the_name_already_stays() -> None:
    body = b' {"event" : "N"}'
    assert written(outgoing(body), "field:event").body == body


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b'{"event": "other"}', "field:event"),
        (b"[1]", "field:event"),
        (b"no JSON", "field:event"),
        (b"\xff", "field:event"),
        (b"\xef\xbb\xbf{}", "field:event"),  # a byte order mark would end in the middle
        ('{"a": 1}'.encode("utf-16"), "field:event"),
        (b"{}", "field:a.b"),
    ],
)
def test_a_name_that_cannot_be_put_into_the_body_is_an_error(body: bytes, rule: str) -> None:
    with pytest.raises(InvalidMessage, match="field"):
        written(outgoing(body), rule)


def test_a_header_as_text() -> None:
    headers: dict[str, str | bytes] = {"text": "é", "bytes": "é".encode(), "binary": b"\xff"}
    assert [header_text(headers, name) for name in ("text", "bytes", "binary", "none")] == ["é", "é", None, None]
