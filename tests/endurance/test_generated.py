"""The same hostile parts through the pure functions: whatever comes, they answer and never raise anything else."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokerkit import DecodeError, Handlers, formats
from brokerkit._config._settings import SourceSettings
from brokerkit._consuming._routes import NoValue, Routes
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._name_rules import compile_rules
from brokerkit._messages._retry_state import RetryState
from brokerkit.adapters.aws import _wire as aws
from brokerkit.adapters.redis import _wire as redis
from tests.endurance.hostile import NAME, bodies, envelopes, forged, messages

FEWER = settings(max_examples=25)
# The others read nothing before a schema registry was asked.
FORMATS = [name for name in formats.names() if formats.get(name).preparation is None]
SOURCES = st.integers(0, 10_000).map(random.Random)


def _delivery(body: bytes | None, headers: dict[str, Any] | None = None) -> Delivery:
    return Delivery(body=body, topic="topic", headers=headers or {})


@FEWER
@given(SOURCES, st.sampled_from(FORMATS))
def test_every_body_is_read_or_is_a_decode_error(source: random.Random, form: str) -> None:
    handlers = Handlers()
    handlers.on(NAME)(lambda event: None)
    source_settings = SourceSettings(url="memory://", topic="t", format=form)
    routes = Routes(handlers, source_settings, source="bus")
    wire = source_settings.wire
    lookups = [
        compile_rules((*rules, "field:event", "field:a.0"), what="name_from")
        for rules in (wire.name_from, wire.id_from)
    ]
    for body in (*bodies(source).values(), *envelopes(source).values()):
        delivery = _delivery(body)
        for lookup in lookups:
            found = lookup(delivery)
            assert found is None or (found if isinstance(found, bytes) else found.encode()) is not None
        for call in routes[NAME].calls:
            try:
                call.read(delivery)
            except DecodeError:
                continue
            except NoValue:  # a tombstone, for which no handler asks
                assert body is None


@FEWER
@given(SOURCES)
def test_forged_headers_make_a_retry_state_that_can_be_written_again(source: random.Random) -> None:
    for _ in range(50):
        retry_state = RetryState.from_headers(dict(forged(source) for _ in range(3)))
        written = retry_state.copy_headers({})
        assert all(value.encode() is not None for value in written.values() if isinstance(value, str))
        assert RetryState.from_headers(written).failures == retry_state.failures


@FEWER
@given(SOURCES)
def test_a_strange_envelope_loses_no_byte_and_can_be_published_again(source: random.Random) -> None:
    for data in envelopes(source).values():
        body, key, id, headers = redis.unwrap(data)
        assert (body, key, id, headers) == (data, None, None, {})


@FEWER
@given(SOURCES)
def test_every_attribute_and_body_on_sqs_becomes_a_delivery_that_can_be_published_again(source: random.Random) -> None:
    for message in messages(source.randrange(10**6), 40, large=1000):
        body = (message.body or b"").decode(errors="replace")
        attributes = {name: {"StringValue": (value or b"").decode(errors="replace")} for name, value in message.headers}
        for envelope in (None, aws.ANY_TOPIC):
            delivery = aws.decode(
                {"Body": body, "MessageAttributes": attributes}, "t", None, fifo=False, envelope=envelope
            )
            for value in delivery.headers.values():
                assert isinstance(value, bytes) or value.encode() is not None


@pytest.mark.parametrize(("flag", "body"), [("empty", "text"), ("base64", "no base64!")])
def test_a_forged_flag_on_sqs_loses_no_body(flag: str, body: str) -> None:
    native = {"Body": body, "MessageAttributes": {"bk-body": {"StringValue": flag}, "bk-null": {"StringValue": "1"}}}
    assert aws.decode(native, "t", None, fifo=False, envelope=None).body == body.encode()


def test_a_forged_null_flag_loses_no_body_in_a_stream() -> None:
    assert redis.EntryFormat("data").parts([b"data", b"x", b"bk-null", b"1"])[0] == b"x"


def test_a_long_unknown_name_is_not_remembered() -> None:
    routes = Routes(Handlers(), SourceSettings(url="memory://", topic="t"), source="bus")
    assert routes["n" * 100_000].name == "n" * 100_000
    assert routes.find("n" * 100_000) is None
