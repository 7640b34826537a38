"""Stream fields and the envelope: what is written is what is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit._errors import InvalidMessage, MessageTooLarge
from brokerkit._messages._headers import Headers, as_text
from brokerkit._messages._outgoing import Outgoing
from brokerkit.adapters.redis._wire import MAGIC, EntryFormat, unwrap, wrap

LIMIT = 10_000_000

values = st.text() | st.binary()
names = st.text().filter(lambda name: not name.startswith("bk-") or name.startswith("bk-h-"))
messages = st.builds(
    Outgoing,
    topic=st.just("t"),
    name=st.just("n"),
    id=st.text(),
    body=st.none() | st.binary() | st.binary().map(MAGIC.__add__),
    key=st.none() | values,
    headers=st.dictionaries(names | st.sampled_from(["data", "bk-h-data", "bk-h-", "content-type"]), values),
    content_type=st.none() | st.text(),
)


def sent(message: Outgoing) -> tuple[Any, ...]:
    headers: dict[str, Any] = dict(message.headers)
    if message.content_type is not None:
        headers["content-type"] = message.content_type
    return message.body, message.key, message.id or None, headers


def as_read(parts: tuple[Any, Any, Any, Headers]) -> tuple[Any, ...]:
    body, key, id, headers = parts
    return body, key if key is None else as_text(key), id, {name: as_text(value) for name, value in headers.items()}


@given(messages, st.sampled_from(["data", "body", "content-type", "", "payload ☃"]))
def test_stream_fields_give_back_what_was_sent(message: Outgoing, body_field: str) -> None:
    entries = EntryFormat(body_field)
    assert as_read(entries.parts(entries.fields(message, LIMIT))) == as_read(sent(message))


@given(messages)
def test_an_envelope_gives_back_what_was_sent(message: Outgoing) -> None:
    assert as_read(unwrap(wrap(message, LIMIT))) == as_read(sent(message))


@given(st.binary())
def test_bytes_without_magic_are_a_plain_body(data: bytes) -> None:
    assert unwrap(b"x" + data) == (b"x" + data, None, None, {})


@given(st.binary())
def test_magic_followed_by_anything_never_fails(data: bytes) -> None:
    unwrap(MAGIC + data)


@pytest.mark.parametrize(
    "head", ["[]", "1", '"x"', '{"headers":[]}', '{"headers":{"a":1}}', '{"key":{}}', '{"id":1}', "["]
)
def test_what_only_looks_like_an_envelope_is_a_plain_body(head: str) -> None:
    data = MAGIC + len(head).to_bytes(4, "big") + head.encode() + b"body"
    assert unwrap(data) == (data, None, None, {})


def test_a_message_with_nothing_beside_its_body_needs_no_envelope() -> None:
    assert wrap(Outgoing(topic="t", name="n", id="", body=b"plain"), LIMIT) == b"plain"


@given(st.lists(st.tuples(st.binary(), st.binary())))
def test_a_plain_entry_loses_no_field_and_can_be_published_again(fields: list[tuple[bytes, bytes]]) -> None:
    flat = [part for pair in fields for part in pair]
    body, key, id, headers = EntryFormat("data").parts(flat)
    again = Outgoing(topic="t", name="n", id=id or "", body=body, key=key, headers=headers)
    EntryFormat("data").fields(again, LIMIT)
    if all(name not in (b"data", b"bk-key", b"bk-id", b"bk-null") for name, _ in fields):
        assert set(headers.values()) <= {value for _, value in fields}
        assert body is None


def test_many_different_field_names_stay_bounded_in_memory() -> None:
    entries = EntryFormat("data")
    for number in range(5_000):
        body, _, _, headers = entries.parts([b"data", b"x", b"field-%d" % number, b"y"])
        assert (body, headers) == (b"x", {f"field-{number}": b"y"})
    assert len(entries._names) < 1_100  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    "fields",
    [
        {"headers": {"a": "\ud800"}},
        {"headers": {"\ud800": "a"}},
        {"headers": {"a": 1}},
        {"headers": {1: "a"}},
        {"key": "\udfff"},
        {"key": 7},
        {"id": "\udfff"},
        {"content_type": "\ud800"},
    ],
)
def test_what_cannot_be_written_is_an_invalid_message(fields: dict[str, Any]) -> None:
    default: dict[str, Any] = {"topic": "t", "name": "n", "id": "1", "body": b""}
    message = Outgoing(**default | fields)
    with pytest.raises(InvalidMessage):
        wrap(message, LIMIT)
    with pytest.raises(InvalidMessage):
        EntryFormat("data").fields(message, LIMIT)


def test_a_value_at_the_limit_passes_and_one_byte_more_is_too_large() -> None:
    message = Outgoing(topic="t", name="n", id="", body=b"x" * 1000)
    assert len(wrap(message, 1000)) == 1000
    EntryFormat("data").fields(message, 1000)
    with pytest.raises(MessageTooLarge, match=r"1,000 bytes.*999"):
        wrap(message, 999)
    with pytest.raises(MessageTooLarge, match=r"1,000 bytes.*999"):
        EntryFormat("data").fields(message, 999)
