"""Hostile messages: what a broken or malicious producer can write, made from a seed so that a failure can be repeated.

A message here is what one would like to send; `tests.endurance.plain` sends as much of it as a broker takes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from brokerkit import Message

NAME = "OnPlayerSeatedDown"
ALWAYS_FAILS = 6
"""Table whose messages the handler refuses until their attempts are used up."""
FORGED = b"ERROR:brokerkit:forged"
"""What a line of the worker's log looks like, and no line of it may be."""
_BREAKS = (
    "\n",
    "\r",
    "\r\n",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x85",
    "\u2028",
    "\u2029",
    "\x1b[1A\x1b[2K",
    "\x9b1A",
    "\x08" * 9,
)
ATTEMPTS = 2
"""Of a message whose handler fails."""
BROKEN = "a" + "".join(f"{each}{FORGED.decode()}" for each in _BREAKS)
"""Text with every known way to end a line or to move a cursor, and a forged line behind each."""
HANDLERS = tuple(f"__main__.Worker.__init__.<locals>.{name}" for name in ("audit", "handle", "collect"))
"""Names of the worker's handlers. The last one takes batches."""
_TRACES: tuple[tuple[tuple[str, bytes], ...], ...] = (
    (("traceparent", b"\xff\x00"), ("tracestate", b"\xff")),
    (("traceparent", f"00-{BROKEN}-01".encode()), ("tracestate", BROKEN.encode())),
    (("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("tracestate", BROKEN.encode())),
    (("traceparent", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"),),
    (("correlation-id", BROKEN.encode()), ("causation-id", b"\xff")),
)
"""Headers of traces, as nobody would write them."""
STOLEN = "stolen"
"""What a forged header claims to be the id of the original."""


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """One message.

    Attributes:
        kind: what is wrong with it.
        name: the event name; None for none at all.
        headers: pairs, so that a name can stand there twice. Those that begin with ``bk-`` are forged, those that
            begin with ``odd-`` are changed on some broker's way; all others must survive as they are.
    """

    kind: str
    body: bytes | None
    name: bytes | None = NAME.encode()
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def fingerprint(body: bytes | None, key: bytes | str | None, headers: Iterable[tuple[str, bytes | str | None]]) -> str:
    """What must be the same when a message comes out: body, key, and the headers that are promised to survive."""
    kept = sorted(
        (name, _bytes(value).hex()) for name, value in dict(headers).items() if name == "event" or name.startswith("h-")
    )
    shown = (None if body is None else body.hex(), None if key is None else _bytes(key).hex(), kept)
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:24]


def fingerprint_of(message: Message) -> str:
    """The same of what a handler gets."""
    return fingerprint(message.body, message.key, message.headers.items())


def believed(message: Message, topics: Iterable[str]) -> str:
    """What a handler sees of a forged header; "" if that is nothing. A message is tried twice at most."""
    if STOLEN in (message.id or ""):
        return "origin"
    if message.topic not in topics:
        return "topic"
    if message.attempt > ATTEMPTS:
        return "failures"
    return next((name for name in message.headers if name.startswith("bk-")), "")


def _bytes(value: bytes | str | None) -> bytes:
    return value.encode(errors="surrogatepass") if isinstance(value, str) else value or b""


def good(number: int) -> Hostile:
    """A message that the handler takes."""
    body = {"event": NAME, "playerId": number, "tableId": number % ALWAYS_FAILS}
    return Hostile(kind="good", body=json.dumps(body).encode(), key=b"k%d" % (number % 50))


def messages(seed: int, count: int, *, large: int = 1_000_000) -> Iterator[Hostile]:
    """So many of them, all different in their ids.

    Args:
        large: bytes of the largest ones, a two-hundredth of all.
    """
    source = random.Random(seed)
    kinds: list[Callable[[random.Random], Hostile]] = [
        _with_bodies,
        _with_names,
        _with_headers,
        _with_forged,
        _with_envelopes,
        _failing,
    ]
    for number in range(count):
        if number % 200 == 199:
            made = _large(source, large)
        else:
            made = source.choices(kinds, weights=(8, 4, 4, 5, 3, 1))[0](source)
        if source.random() < 0.5 and made.key is None:
            made = replace(made, key=source.choice([b"", b"k", b"\xff\x00\xfe", b"a" * 5000, "é\n".encode()]))
        traces = () if made.headers else _TRACES[number % len(_TRACES)]
        yield replace(made, headers=(*made.headers, *traces, ("h-id", b"%d-%d" % (seed, number))))


def _member(value: str, *, table: int = 1) -> bytes:
    return b'{"playerId": %s, "tableId": %d, "event": "OnPlayerSeatedDown"}' % (value.encode(), table)


def bodies(source: random.Random) -> dict[str, bytes | None]:
    """One body of each kind."""
    sample = json.dumps({"params": {"playerId": 7, "tableId": 5}}).encode()
    deep = source.choice([1_000, 10_000, 100_000])
    return {
        "random bytes": source.randbytes(source.randrange(1, 300)),
        "no bytes": b"",
        "no value": None,
        "a zero byte": b"\x00",
        "wrong UTF-8": sample.replace(b"params", b"par\xff\xc3ms"),
        "surrogate bytes": b'{"playerId": "\xed\xa0\x80"}',
        "byte order mark": b"\xef\xbb\xbf" + sample,
        "UTF-16": sample.decode().encode("utf-16"),
        "truncated": sample[: source.randrange(len(sample))],
        "deep arrays": b"[" * deep,
        "deep closed arrays": b"[" * deep + b"]" * deep,
        "deep objects": b'{"a":' * (deep // 5) + b"1" + b"}" * (deep // 5),
        "deep in a field": _member("[" * deep + "]" * deep),
        "huge exponent": _member("1e999999"),
        "huge number": _member("9" * 10_000),
        "huge negative": _member("-" + "9" * 400),
        "NaN": _member("NaN"),
        "Infinity": _member("-Infinity"),
        "lone surrogate": _member('"\\ud800"'),
        "lone surrogate as name": b'{"event": "\\ud800x", "playerId": 1}',
        "lone surrogate as id": b'{"event": "OnPlayerSeatedDown", "id": "\\udfff", "type": "OnPlayerSeatedDown"}',
        "duplicate keys": b'{"event": "OnPlayerSeatedDown", "playerId": 1, "playerId": {}, "event": "OnPlayerSeatedDown"}',
        "wrapper is no object": b'{"params": [1, 2]}',
        "wrapper in a wrapper": b'{"params": {"params": {"params": 5}}}',
        "wrong types": _member(source.choice(["true", "[]", "{}", '"x"', "1.5", "null", '"1e5"', "-1"])),
        "JSON, no object": source.choice([b"null", b"1", b'"text"', b"true", b"[]", b"[{}]"]),
        "name of a wrong type": b'{"event": %s}'
        % source.choice([b"null", b"1e400", b"{}", b'["a"]', b"false", b"NaN"]),
        "name of many digits": b'{"event": %s}' % (b"1" * 10_000),
        "many members": b"{%s}" % b",".join(b'"m%d":%d' % (number, number) for number in range(3_000)),
        "structured and hollow": b'{"specversion": "1.0", "type": "OnPlayerSeatedDown", "source": 1, "id": {}, "data": 5}',
        "structured, no base64": b'{"specversion":"1.0","type":"OnPlayerSeatedDown","source":"","id":"1","data_base64":7}',
        "structured, long id": b'{"specversion":"1.0","type":"x","source":"","id":"%s","data":{}}' % (b"i" * 200_000),
    }


def _with_bodies(source: random.Random) -> Hostile:
    kind, body = source.choice(list(bodies(source).items()))
    return Hostile(kind=kind, body=body)


def _with_names(source: random.Random) -> Hostile:
    kind, name = source.choice(
        [
            ("no name", None),
            ("empty name", b""),
            ("long name", b"n" * source.choice([200, 256, 4_000, 100_000]) + b"%d" % source.randrange(10**9)),
            ("binary name", b"\xff\xfe" + source.randbytes(8)),
            ("name with a zero byte", b"On\x00Player"),
            ("name with a line break", b"On\r\nPlayer"),
            ("name that forges a line", b"On\n" + FORGED + b"\r\xc2\x85" + FORGED + b"\x1b[1A\x1b[2K" + FORGED),
            ("name with every line end", BROKEN.encode()),
            ("name in another case", b"onplayerseateddown"),
            ("name that formats", b"%s{0}${jndi:ldap}"),
            ("name of a path", b"../../etc/passwd"),
        ]
    )
    return Hostile(kind=kind, body=source.choice([b"{}", b"", b"\xff", b'{"playerId": 1}']), name=name)


def _with_headers(source: random.Random) -> Hostile:
    kind, headers = source.choice(
        [
            ("binary header", (("h-binary", source.randbytes(50)),)),
            ("header twice", (("h-twice", b"1"), ("h-twice", b"2"))),
            ("null header", (("h-null", None),)),
            ("empty header", (("h-empty", b""),)),
            ("many headers", tuple((f"h-{number}", b"v") for number in range(500))),
            ("long header", (("h-long", b"v" * 20_000),)),
            ("long header name", (("h-" + "n" * 200, b"v"),)),
            ("header whose name forges a line", ((f"h-\n{FORGED.decode()}\x1b[2J", b"v\n" + FORGED),)),
            ("header with every line end", (("h-broken", BROKEN.encode()), (f"odd-{BROKEN[:60]}", b"v"))),
            ("header that looks like ours", (("h-bk-failures", b"1"), ("content-type", b"\xff"))),
            ("content type of CloudEvents", (("content-type", b"application/cloudevents+json"),)),
            ("CloudEvents headers", (("ce_specversion", b"\xff"), ("ce_id", b"\x00" * 300), ("ce_time", b"never"))),
        ]
    )
    return Hostile(kind=kind, body=_member("1"), headers=headers)


def forged(source: random.Random) -> tuple[str, bytes]:
    """One of brokerkit's own headers with a value that it would not write."""
    deep = b"[" * 30_000
    values: dict[str, list[bytes]] = {
        "bk-failures": [b"-1", b"1" + b"0" * 400, b"\xff", b"", b"NaN", "٣".encode(), b"999999999999999"],
        "bk-due": [b"inf", b"nan", b"-inf", b"1e400", b"4102444800", b"999999999999999", b"\xff", b"1e18"],
        "bk-done": [b"{}", b"7", b"[[[", deep, b"[1, null, {}]", b'["\\ud800"]', b"\xff\xff"],
        "bk-copy": [b"-5", b"9" * 15, b"x"],
        "bk-origin": [b"\xff", b"", b"o" * 500, b"a\nb"],
        "bk-topic": [b"\xff", b"another-topic", b"t" * 500],
        "bk-first-failure": [b"nan", b"1e400", b"-1"],
        "bk-null": [b"1", b"", b"\xff"],
        "bk-key": [b"forged", b"\xff\x00"],
        "bk-id": [b"\xff", b"i" * 400, b"i\n"],
        "bk-body": [b"base64", b"empty", b"\xff"],
        "bk-headers": [b"{", deep, b"[]", b'{"h-x": 1}', b'{"h-x": {"b64": "!"}}', b"\xff", b'{"odd-x": "\\ud800"}'],
        "bk-routing-key": [b"\xff", b"", b"r" * 300],
        "bk-error-type": [b"", b"\xff"],
    }
    name = source.choice(list(values))
    return name, source.choice(values[name])


def claimed(source: random.Random) -> dict[str, bytes]:
    """The headers that brokerkit itself would write, as a producer forges them who knows topic, group and handlers.

    If they were believed, a handler would be skipped, a first failure would be the last one, or the message would wait.
    """
    now = time.time()
    return {
        "bk-failures": b"%d" % source.choice([1, 2, 99]),
        "bk-origin": STOLEN.encode(),
        "bk-copy": b"1",
        "bk-topic": b"another-topic",
        "bk-done": json.dumps(source.choice([HANDLERS, HANDLERS[:1], HANDLERS[1:]])).encode(),
        "bk-due": b"%d" % (now + 3_000),
        "bk-wait": b"3000",
        "bk-first-failure": b"%d" % (now - 3_000),
        "bk-handler": HANDLERS[1].encode(),
        "bk-group": b"wallet",
        "bk-event": b"OnSomethingElse",
        "bk-only": json.dumps(HANDLERS[:1]).encode(),
        "bk-error-type": b"Reject",
        "bk-error": BROKEN.encode(),
        "bk-traceback": BROKEN.encode(),
        "bk-signature": b"0" * 64,
    }


def _with_forged(source: random.Random) -> Hostile:
    if source.random() < 0.4:
        made = claimed(source)
        # With an error it looks like a dead letter. Some brokers take few headers.
        headers = dict(list(made.items())[: source.choice([7, 8, 12, len(made)])])
    else:
        headers = dict(forged(source) for _ in range(source.randrange(1, 4)))
        if source.random() < 0.5:
            headers.setdefault("bk-failures", b"1")  # without it the others are not looked at
    table = source.choice([1, 1, ALWAYS_FAILS])
    body = source.choice([_member("1", table=table), b"x", b"{"])
    return Hostile(kind="forged " + " ".join(sorted(headers)), body=body, headers=tuple(headers.items()))


def envelopes(source: random.Random) -> dict[str, bytes]:
    """Bodies that look like somebody's envelope: brokerkit's own on Redis, or SNS's."""
    magic = b"\x00bk\x01"

    def pack(head: bytes, body: bytes, *, length: int | None = None) -> bytes:
        return magic + (len(head) if length is None else length).to_bytes(4, "big") + head + body

    sns = {"Type": "Notification", "MessageId": "1", "TopicArn": "arn:aws:sns:us-east-1:0:x", "Message": "{}"}
    return {
        "truncated magic": magic[: source.randrange(1, 5)],
        "truncated length": magic + b"\x00\x00",
        "length beyond the end": pack(b"{}", b"", length=2**32 - 1),
        "length one too long": pack(b'{"id":"1"', b"}", length=11),
        "length zero": pack(b"{}", b"x", length=0),
        "head is no object": pack(b"[]", b"x"),
        "head is deep": pack(b"[" * 50_000, b"x"),
        "head is binary": pack(b"\xff\xff", b"x"),
        "head with a lone surrogate": pack(b'{"headers":{"odd-x":"\\ud800"},"key":"\\udfff"}', b"x"),
        "head with a strange id": pack(b'{"id":{}}', b"x"),
        "head with strange headers": pack(b'{"headers":{"a":5}}', b"x"),
        "head with no base64": pack(b'{"key":["!"]}', b"x"),
        "head with more than ours": pack(b'{"id":"1","more":"kept"}', b"x"),
        "null with a body": pack(b'{"null":true}', b"x"),
        "SNS, another topic": json.dumps(sns).encode(),
        "SNS, no message": json.dumps({**sns, "Message": 5}).encode(),
        "SNS, deep": b'{"Type": "Notification", "Message": ' + b"[" * 50_000,
        "no base64": base64.b64encode(source.randbytes(20))[:-3] + b"*",
    }


def _with_envelopes(source: random.Random) -> Hostile:
    kind, body = source.choice(list(envelopes(source).items()))
    return Hostile(kind=kind, body=body)


def _failing(source: random.Random) -> Hostile:
    return Hostile(kind="the handler fails", body=_member(str(source.randrange(10**6)), table=ALWAYS_FAILS))


def _large(source: random.Random, size: int) -> Hostile:
    kind = source.choice(["large", "large name"])
    if kind == "large name":
        body = b'{"event": "%d-' % source.randrange(10**9)
        return Hostile(kind=kind, body=body + b"n" * (size - len(body) - 2) + b'"}', name=None)
    return Hostile(kind=kind, body=b"x" * size)
