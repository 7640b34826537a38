"""Rules with steps, payloads, names by pattern, and bodies that were compressed."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import lzma
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit import ConfigError, DecodeError
from brokerkit._messages import _encodings
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._encodings import undone
from brokerkit._messages._event_names import EventNames
from brokerkit._messages._name_rules import compile_payload, compile_rules, parsed

EVENT = {"playerId": 5}


def delivery(body: object, **headers: str | bytes) -> Delivery:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Delivery(
        body=content,
        topic="t",
        headers=named,
    )


@pytest.mark.parametrize(
    ("rule", "body"),
    [
        ("field:data", {"data": EVENT}),
        ("field:Records[0].body|json", {"Records": [{"body": json.dumps(EVENT)}]}),
        ('field:["a|b"]', {"a|b": EVENT}),
        ("field:body|base64|json", {"body": base64.b64encode(json.dumps(EVENT).encode()).decode()}),
        ("field:Message|json|field:data", {"Message": json.dumps({"data": EVENT})}),
        ("field:Message|json|field:data", {"Message": {"data": EVENT}}),
        ("body|json|json", json.dumps(EVENT)),
        ("body|msgpack|field:data", msgspec.msgpack.encode({"data": EVENT})),
    ],
)
def test_the_payload_is_found_where_the_rule_leads(rule: str, body: object) -> None:
    assert compile_payload([rule])(delivery(body)) == EVENT


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (5_000_000_000, "5000000000"),
        (5_000_000_000.0, "5000000000"),
        (-7.0, "-7"),
        (2.0**53, "9007199254740992"),
        (2.0**54, None),
        (1.5, None),
        (float("inf"), None),
        (float("nan"), None),
    ],
)
def test_a_whole_number_is_one_id_however_message_pack_writes_it(number: float, expected: str | None) -> None:
    find = compile_rules(["body|msgpack|field:id"], what="id_from")
    assert find(delivery(msgspec.msgpack.encode({"id": number}))) == expected


def test_the_first_rule_that_leads_anywhere_wins() -> None:
    payload = compile_payload(["field:data", "field:detail"])
    assert payload(delivery({"detail": EVENT})) == EVENT
    assert payload(delivery({"detail": {}, "data": EVENT})) == EVENT
    with pytest.raises(DecodeError, match="no payload where payload_from looks for it: field:data, field:detail"):
        payload(delivery({"other": EVENT}))


@pytest.mark.parametrize(
    "rule", ["", "data", "field:", "body:x", "field:a|gzap", "field:a|field:", "key", "field:a..b"]
)
def test_what_is_no_payload_rule_is_refused(rule: str) -> None:
    with pytest.raises(ConfigError):
        compile_payload([rule])


@given(
    st.binary(), st.sampled_from(["json", "base64", "msgpack", "field:a", "base64|json", "base64|msgpack|field:a.0"])
)
def test_no_bytes_raise_anything_but_a_decode_error(body: bytes, steps: str) -> None:
    for rule in (f"body|{steps}", f"field:data|{steps}", f"header:h|{steps}"):
        try:
            compile_payload([rule])(delivery(body, h=body))
        except DecodeError:
            pass


def test_a_name_is_found_behind_steps_and_missing_where_they_lead_nowhere() -> None:
    lookup = compile_rules(["field:Message|json|field:type"], what="name_from")
    assert lookup(delivery({"Message": json.dumps({"type": "OnGameDone"})})) == "OnGameDone"
    assert lookup(delivery({"Message": "{"})) is None
    assert lookup(delivery({"Message": json.dumps({"type": {"no": "name"}})})) is None
    assert lookup(delivery({})) is None


@pytest.mark.parametrize(
    ("pattern", "wire", "event"),
    [
        (r"^urn:message:.*:(.+)$", "urn:message:Poker.Events:OnGameDone", "OnGameDone"),
        (r"([^.]+)$", "com.evenbet.events.OnGameDone", "OnGameDone"),
        (r"([^.]+)$", '"com.evenbet.events.OnGameDone"', "OnGameDone"),
        (r"^urn:message:.*:(.+)$", "OnGameDone", "OnGameDone"),
        (None, '"OnGameDone"', "OnGameDone"),
        (None, '"', '"'),
        (r"v1\.(.+)", "v1.done", "OnGameDone"),
    ],
)
def test_names_follow_the_pattern_and_the_table(pattern: str | None, wire: str, event: str) -> None:
    names = EventNames({"done": "OnGameDone"}, pattern)
    assert names.of(wire) == event


def test_the_table_is_asked_before_the_pattern() -> None:
    names = EventNames({"a.done": "OnGameDone"}, r"([^.]+)$")
    assert (names.of("a.done"), names.of("b.done")) == ("OnGameDone", "done")
    assert names.on_wire("OnGameDone") == "a.done"


@pytest.mark.parametrize("pattern", ["(", "no group", "(two) (groups)"])
def test_a_pattern_without_one_group_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="name_pattern"):
        EventNames({}, pattern)


def raw_deflate(body: bytes) -> bytes:
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(body) + made.flush()


def zstd(body: bytes) -> bytes:
    made: bytes = pytest.importorskip("zstandard").compress(body)
    return made


def lz4(body: bytes) -> bytes:
    made: bytes = pytest.importorskip("lz4.frame").compress(body)
    return made


ENCODERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("application/x-gzip", gzip.compress),
    ("zlib", zlib.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("application/x-bz2", bz2.compress),
    ("lzma", lzma.compress),
    ("zstd", zstd),
    ("lz4", lz4),
    ("gzip, deflate", lambda body: zlib.compress(gzip.compress(body))),
]


@pytest.mark.parametrize(
    ("name", "encode"), ENCODERS, ids=[f"{number}-{name}" for number, (name, _) in enumerate(ENCODERS)]
)
@pytest.mark.parametrize("header", ["content-encoding", "Content-Encoding", "rbs2-content-encoding", "compression"])
def test_a_body_is_undone_as_its_header_says(name: str, encode: Callable[[bytes], bytes], header: str) -> None:
    message = delivery(encode(json.dumps(EVENT).encode()))
    message.headers = {header: name}
    assert undone(message) == json.dumps(EVENT).encode()
    assert parsed(message) == EVENT


@pytest.mark.parametrize("name", ["utf-8", "identity", "", "binary"])
def test_what_is_no_compression_changes_nothing(name: str) -> None:
    assert undone(delivery(EVENT, content_encoding=name)) is None


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("br", b"x", "'br' is not known"),
        ("gzip", b"no gzip", "not gzip, as its content encoding says"),
        ("gzip", gzip.compress(b"x" * 1000)[:-9], "cut off"),
    ],
    # Not the bodies: what gzip writes has the time in it, and each worker of xdist must find the same tests.
    ids=["br", "no-gzip", "cut-off"],
)
def test_a_body_that_cannot_be_undone_says_why(name: str, body: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        undone(delivery(body, content_encoding=name))


def test_a_small_body_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_encodings, "LARGEST", 1_000)
    encoded: list[tuple[str, Any]] = [("gzip", gzip.compress), ("zlib", zlib.compress), ("xz", lzma.compress)]
    for name, encode in encoded:
        assert undone(delivery(encode(b"x" * 1_000), content_encoding=name)) == b"x" * 1_000
        with pytest.raises(DecodeError, match="MiB when it is decompressed"):
            undone(delivery(encode(b"x" * 1_001), content_encoding=name))
