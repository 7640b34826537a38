"""Formats: what is written can be read, and what plain producers write too."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any, Final

import pytest

from brokerkit import ConfigError, DecodeError, Message, formats
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import Headers
from brokerkit._messages._name_rules import compile_rules
from brokerkit._messages._outgoing import Outgoing
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.formats.cloudevents import STRUCTURED_TYPE, make_wrap, payload, wrap_structured
from tests import every_broker
from tests.every_broker import Recorder

NAME: Final = "OnPlayerSeatedDown"
ATTRIBUTES = {"specversion": "1.0", "type": NAME, "source": "/poker", "id": "id-1"}


def delivery(body: bytes, headers: Headers | None = None) -> Delivery:
    return Delivery(body=body, topic="t", headers=headers or {})


def structured(**more: Any) -> bytes:
    return json.dumps({**ATTRIBUTES, **more}).encode()


@pytest.mark.parametrize("name", formats.names())
def test_every_format_is_found_by_its_name(name: str) -> None:
    found = formats.get(name)
    assert found.name == name
    compile_rules(found.name_from, what="name_from")


def test_an_unknown_format_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match="'xml' is not known; allowed are accelbyte, avro, cap, celery, cloudevents"):
        formats.get("xml")


def test_the_binary_mode_writes_attributes_as_headers_and_leaves_the_body() -> None:
    out = Outgoing(topic="poker", body=b'{ "a":1}', name=NAME, id="id-1", headers={"x": "y"})
    make_wrap("ce_")(out, 0.5)
    assert out.body == b'{ "a":1}'
    assert out.content_type == "application/json"
    assert dict(out.headers) == {
        "x": "y",
        **{f"ce_{name}": value for name, value in ATTRIBUTES.items()},
        "ce_time": "1970-01-01T00:00:00.500000Z",
    }


def test_the_structured_mode_writes_one_object_and_keeps_the_bytes_of_the_payload() -> None:
    out = Outgoing(topic="poker", body=b'{ "a":1.10}', name=NAME, id="id-1", headers={"x": "y"})
    wrap_structured(out, 0)
    body = out.body or b""
    assert b'"data":{ "a":1.10}' in body
    event = json.loads(body)
    assert {name: event[name] for name in ATTRIBUTES} == ATTRIBUTES
    assert datetime.fromisoformat(event["time"]).timestamp() == 0
    assert (out.content_type, out.headers) == (STRUCTURED_TYPE, {"x": "y"})


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (delivery(b"{}", {"ce_specversion": b"1.0"}), b"{}"),
        (delivery(structured(data={"a": 1}), {"ce_specversion": "1.0"}), structured(data={"a": 1})),
        (delivery(structured(data={"a": 1}), {"ce-specversion": "1.0"}), structured(data={"a": 1})),
        (delivery(structured(data={"a": 1}), {"cloudEvents:specversion": "1.0"}), structured(data={"a": 1})),
        (delivery(structured(data={"a": 1}), {"content-type": "application/json"}), {"a": 1}),
        (delivery(structured(data={"a": 1}), {"content-type": "text/plain"}), {"a": 1}),
        (delivery(b"[" + structured(data={"a": 1}) + b"]"), {"a": 1}),
        (delivery(structured(data={"a": 1})), {"a": 1}),
        (delivery(structured(data={"a": 1}), {"content-type": f"{STRUCTURED_TYPE}; charset=utf-8"}), {"a": 1}),
        (delivery(structured(data={"a": 1}), {"content-type": b"Application/CloudEvents+JSON"}), {"a": 1}),
        (delivery(structured(data_base64=base64.b64encode(b"\xff").decode())), b"\xff"),
        (delivery(structured()), None),
        (delivery(b'{"type": "x", "id": 1}'), b'{"type": "x", "id": 1}'),
        (delivery(b"no JSON"), b"no JSON"),
        (delivery(b"[]"), b"[]"),
    ],
)
def test_the_payload_is_found_in_both_modes_and_in_plain_bodies(message: Delivery, expected: Any) -> None:
    assert payload(message) == expected


def test_a_batch_of_several_events_is_a_decode_error_and_no_rule_stumbles_over_it() -> None:
    batch = delivery(b"[" + structured(data=1) + b"," + structured(data=2) + b"]")
    wire = formats.get("cloudevents")
    lookup = compile_rules(wire.id_from, what="id_from", fields_if=wire.fields_if)
    assert isinstance(lookup(batch), str)
    with pytest.raises(DecodeError, match="a batch of 2 CloudEvents; a message can hold one event"):
        payload(batch)


@pytest.mark.parametrize("wrong", ["no base64!", 7, None])
def test_a_payload_that_is_no_base64_is_a_decode_error(wrong: Any) -> None:
    with pytest.raises(DecodeError, match="data_base64"):
        payload(delivery(structured(data_base64=wrong)))


@pytest.mark.parametrize("name", ["cloudevents", "cloudevents-structured", "evenbet", "json"])
async def test_what_a_format_writes_its_reader_understands(name: str) -> None:
    memory, recorder = every_broker.memory(), Recorder().record(NAME)
    async with recorder.serving(memory.bus(format=name)) as bus:
        await bus.publish(OnPlayerSeatedDown(player_id=7), id="id-1", headers={"x": "y"}, key="k")
        [(found, event, message)] = await recorder.wait_for(1)
    assert (found, event, message.id, message.key) == (NAME, OnPlayerSeatedDown(player_id=7), "id-1", "k")
    assert message.headers["x"] == "y"


@pytest.mark.parametrize("mode", ["binary", "structured"])
@pytest.mark.parametrize("reader", ["cloudevents", "cloudevents-structured"])
async def test_events_of_other_writers_are_read_in_both_modes_whichever_is_written(mode: str, reader: str) -> None:
    memory, recorder = every_broker.memory(), Recorder().record(NAME)
    headers = {f"ce_{name}": value for name, value in ATTRIBUTES.items()}
    body, headers = (b'{"playerId": 7}', headers) if mode == "binary" else (structured(data={"playerId": 7}), {})
    async with recorder.serving(memory.bus(format=reader)), memory.bus(format="json", name_from="type") as plain:
        await plain.publish(Message("whatever", body, headers=headers))
        [(found, event, message)] = await recorder.wait_for(1)
    assert (found, event, message.id) == (NAME, OnPlayerSeatedDown(player_id=7), "id-1")


async def test_an_id_in_the_body_of_what_is_no_cloudevent_is_not_the_messages_id() -> None:
    """Two messages about one thing are two messages: by one id, a consumer would take the second for a repetition."""
    memory, recorder = every_broker.memory(), Recorder().record(NAME)
    bus = memory.bus(format="cloudevents", name_from="header:event")
    async with recorder.serving(bus), memory.bus(format="json") as plain:
        for _ in range(2):
            await plain.publish(Message(NAME, b'{"id": "the same thing", "playerId": 7}'))
        got = await recorder.wait_for(2)
    assert len({message.id for _, _, message in got}) == 2


@pytest.mark.parametrize("body", [b'{"playerId": 7}', b'{"params": {"playerId": 7}}'])
@pytest.mark.parametrize("name", ["evenbet", "json"])
async def test_plain_bodies_are_read_flat_and_under_params(name: str, body: bytes) -> None:
    memory, recorder = every_broker.memory(), Recorder().record(NAME)
    async with recorder.serving(memory.bus(format=name, name_from="header:event")):
        await memory.plain(memory.topic(), [(NAME, body)], place="header:event")
        [(_, event, _)] = await recorder.wait_for(1)
    assert event == OnPlayerSeatedDown(player_id=7)
