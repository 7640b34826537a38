"""Stream entries whose fields are the event: what plain producers write is read, and kept whole through every failure."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel
from redis.asyncio import Redis
from tests.adapters.redis_seam import raw_client, unique
from tests.brokers.redis import RedisBroker
from tests.every_broker import until

from brokerkit import Bus, Message
from brokerkit._messages._headers import as_text
from brokerkit._messages._outgoing import Outgoing
from brokerkit.adapters.redis._flat_entries import FlatEntries
from brokerkit.adapters.redis._wire import EntryDelivery

LIMIT = 10_000_000

text = st.text().filter(lambda value: "\0" not in value)
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | text,
    lambda each: st.lists(each) | st.dictionaries(text, each),
    max_leaves=10,
)
objects = st.dictionaries(text | st.sampled_from(["bk-id", "bk-json", "type"]), trees)


def sent(body: bytes | None, headers: dict[str, str] | None = None, **fields: Any) -> list[bytes]:
    message = Outgoing(topic="t", name="n", body=body, headers=headers or {}, **{"id": "", **fields})
    return FlatEntries().fields(message, LIMIT)


@given(objects, st.booleans())
def test_an_object_comes_back_with_the_same_values(value: dict[str, Any], ascii: bool) -> None:
    body, *_ = FlatEntries().parts(sent(json.dumps(value, ensure_ascii=ascii).encode()))
    assert body is not None
    assert list(json.loads(body).items()) == list(value.items())


@given(st.none() | st.binary())
def test_any_other_body_comes_back_byte_for_byte(data: bytes | None) -> None:
    with suppress(ValueError, TypeError):
        assume(not isinstance(json.loads(data), dict))  # type: ignore[arg-type] (None is no JSON)
    assert FlatEntries().parts(sent(data))[0] == data


@given(st.dictionaries(st.sampled_from(["a", "type", "bk-h-", "bk-h-a", "content-type", "bk-attempt"]), st.text()))
def test_headers_key_and_id_lie_beside_the_event(headers: dict[str, str]) -> None:
    entries = FlatEntries()
    body, key, id, found = entries.parts(sent(b'{"type":"x","a":"y"}', headers, key="k", id="7"))
    assert (body, as_text(key or b""), id) == (b'{"type":"x","a":"y"}', "k", "7")
    assert {name: as_text(value) for name, value in found.items()} == headers


@given(st.dictionaries(st.text().filter(lambda name: not name.startswith("bk-")), st.text(), min_size=1))
def test_a_copy_of_a_plain_entry_has_its_fields(fields: dict[str, str]) -> None:
    flat = [part.encode() for pair in fields.items() for part in pair]
    body, *_ = FlatEntries().parts(flat)
    assert sent(body) == flat


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[1]",
        b'"text"',
        b"no JSON",
        b'{"a":1,"a":2}',
        b'{"a":1,"a":1,"b":2}',
        b'{"bk-id":"5"}',
        b'{"a":"\\ud800"}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_a_body_that_cannot_lie_in_fields_is_one_field(body: bytes) -> None:
    assert sent(body) == [b"bk-body", body]
    assert FlatEntries().parts(sent(body))[0] == body


def test_numbers_keep_their_digits() -> None:
    body = b'{ "amount" : 2.50, "id": 12345678901234567890.10 , "a\\"}": {"x": 1.0}}'
    flat = sent(body)
    assert flat[:6] == [b"amount", b"2.50", b"id", b"12345678901234567890.10", b'a"}', b'{"x": 1.0}']
    assert FlatEntries().parts(flat)[0] == b'{"amount":2.50,"id":12345678901234567890.10,"a\\"}":{"x": 1.0}}'


def delivered(*flat: bytes) -> EntryDelivery:
    return EntryDelivery(FlatEntries(), "t", b"t", b"1-0", list(flat), 1, None)


@pytest.mark.parametrize(
    ("flat", "reason"),
    [
        ((b"a", b"x", b"b", b"\xff"), "field 'b' of the entry is not UTF-8"),
        ((b"\xff", b"x"), r"field '\\xff' of the entry is not UTF-8"),
        ((b"bk-id", b"7"), "no field of an event"),
        ((b"a", b"x", b"bk-json", b"5"), "cannot be decoded"),
        ((b"a", b"x", b"bk-json", b"{"), "cannot be decoded"),
    ],
)
def test_what_cannot_be_read_says_why(flat: tuple[bytes, ...], reason: str) -> None:
    assert reason in str(delivered(*flat).parsed)


def test_of_an_entry_that_is_not_utf8_no_field_is_lost() -> None:
    delivery = delivered(b"a", b"x", b"b", b"\xff")
    assert (delivery.body, delivery.headers) == (None, {"a": b"x", "b": b"\xff"})
    assert sent(delivery.body, dict(delivery.headers))[2:6] == [b"bk-h-a", b"x", b"bk-h-b", b"\xff"]


def event_of(entry: dict[bytes, bytes]) -> dict[str, str]:
    """What a plain consumer takes for the event."""
    return {name.decode(): value.decode() for name, value in entry.items() if not name.startswith(b"bk-")}


class TopUp(BaseModel):
    id: int
    amount: Decimal
    note: str = ""
    tags: list[str] = []


@pytest.fixture
async def raw(redis_broker: RedisBroker) -> AsyncIterator[Redis]:
    async with raw_client(redis_broker.url) as client:
        yield client


def flat_bus(redis_broker: RedisBroker, topic: str, **settings: Any) -> Bus:
    given: dict[str, Any] = {"format": "json", "name_from": "field:type", "id_from": "field:id", **settings}
    return Bus(redis_broker.url, topic=topic, group="wallet", body_field="*", provision="all", **given)


async def test_fields_are_handled_and_a_dead_letter_keeps_them_until_its_replay(
    redis_broker: RedisBroker, raw: Any
) -> None:
    topic = unique()
    good: list[tuple[TopUp, Message]] = []
    broken = True
    fields = {"type": "flatlyKept", "id": "2", "amount": "2.50", "note": "Grüße", "other": "5"}
    await raw.xadd(topic, fields)
    bus = flat_bus(redis_broker, topic, retry={"attempts": 2, "first": 0.05})

    @bus.on("flatlyKept", TopUp)
    async def handle(event: TopUp, message: Message) -> None:
        if broken:
            raise RuntimeError("not yet")
        good.append((event, message))

    async with bus, bus.serving():
        await until(lambda: bus.stats["bus"].dead_lettered == 1)
        [(_, letter)] = await raw.xrange(f"{{{topic}}}.wallet.dlq")
        assert event_of(letter) == fields
        broken = False
        assert await bus.dead_letters().replay() == 1
        await until(lambda: bool(good))
    event, message = good[0]
    assert event == TopUp(id=2, amount=Decimal("2.50"), note="Grüße")
    assert (message.id, message.headers) == ("2", {})


async def test_what_is_published_lies_in_fields_and_is_read_back(redis_broker: RedisBroker, raw: Any) -> None:
    topic = unique()
    got: list[TopUp] = []
    bus = flat_bus(redis_broker, topic)

    @bus.on("flatlyKept", TopUp)
    async def handle(event: TopUp) -> None:
        got.append(event)

    event = TopUp(id=2, amount=Decimal("2.50"), note="17", tags=["a"])
    async with bus, bus.serving():
        await bus.publish("flatlyKept", event, key="k")
        await until(lambda: bool(got))
    assert got == [event]
    [(_, entry)] = await raw.xrange(topic)
    assert event_of(entry) == {
        "type": "flatlyKept",
        "id": "2",
        "amount": "2.50",
        "note": "17",
        "tags": '["a"]',
    }
    assert (entry[b"bk-key"], sorted(json.loads(entry[b"bk-json"]))) == (b"k", ["id", "tags"])
