"""What messages tell about their producer, from the samples of every family, wherever their names are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit._messages._delivery import Delivery
from brokerkit._tools._inspection import inspect, known_name, observed
from brokerkit.cli.inspect import report

PLACES = frozenset({"header", "key", "topic", "routing_key", "type", "field"})
EVENTS = Path(__file__).parents[1] / "events"


def samples(family: str) -> list[dict[str, Any]]:
    """The samples of one family; ThrillPots' are kept with those of ThrillConnect."""
    file = "thrillconnect" if family == "thrillpots" else family
    lines = (EVENTS / f"{file}_samples.jsonl").read_text(encoding="utf-8").splitlines()
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    if file == "thrillconnect":
        found = [one for one in found if (one["channel"] == "thrillpots-gateway") == (family == "thrillpots")]
        found = [one for one in found if "msg_name" in one["wire"] or "event_type" in one["wire"]]
    return found


def delivery(
    body: object,
    *,
    headers: Mapping[str, str | bytes] | None = None,
    topic: str = "events",
    key: str | None = None,
    routing_key: str | None = None,
    type: str | None = None,
) -> Delivery:
    wire = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Delivery(body=wire, topic=topic, key=key, headers=headers or {}, routing_key=routing_key, type=type)


def placed(sample: Mapping[str, Any], place: str) -> Delivery:
    """A sample with its name in one place."""
    name, body, where = sample["event"], sample["wire"], place.partition(":")[2]
    match place.partition(":")[0]:
        case "header":
            return delivery(body, headers={where: name.encode(), "trace": "x"})
        case "field":
            return delivery({**body, where: name})
        case other:
            return delivery(body, **{other: name})


@pytest.mark.parametrize(
    "place", ["header:event", "header:x-kind", "key", "routing_key", "type", "field:event", "topic"]
)
def test_evenbets_samples_are_known_wherever_the_name_is(place: str) -> None:
    found = inspect([placed(sample, place) for sample in samples("evenbet")], PLACES)
    assert (found.format, found.family, found.name_from) == ("evenbet", "evenbet", (place,))
    assert sum(found.known.values()) == found.messages == len(samples("evenbet"))
    assert (found.unknown, found.nameless, found.unreadable, found.names) == ({}, 0, {}, {})


@pytest.mark.parametrize(
    ("family", "rule"),
    [
        ("accelbyte", "field:name"),
        ("session", "field:name"),
        ("thrillconnect", "field:msg_name"),
        ("thrillpots", "field:event_type"),
    ],
)
def test_families_that_hold_their_name_are_known_by_it(family: str, rule: str) -> None:
    found = inspect([delivery(sample["wire"]) for sample in samples(family)], PLACES)
    assert (found.format, found.family, found.name_from[0]) == (family, family, rule)
    catch_all = sum(sample["event"] == "*" for sample in samples(family))
    assert sum(found.known.values()) == found.messages - catch_all
    assert sum(found.unknown.values()) == catch_all
    assert found.unreadable == {}
    assert found.nameless == 0


def test_one_event_that_two_families_share_is_told_by_the_envelope_around_it() -> None:
    for family in ("thrillpots", "thrillconnect"):
        shared = [one for one in samples(family) if one["event"] in ("RaffleWinEvent", "OptInEvent")]
        found = inspect([delivery(sample["wire"]) for sample in shared], PLACES)
        assert (found.format, found.messages) == (family, len(shared))


def test_names_that_a_producer_writes_in_another_way_are_translated() -> None:
    bodies = [delivery({"playerId": 1}, headers={"event": name}) for name in ("game.done", "poker.OnUserLoggedIn")]
    found = inspect(bodies, PLACES)
    assert found.names == {"game.done": "OnGameDone", "poker.OnUserLoggedIn": "OnUserLoggedIn"}
    assert (found.format, found.name_from) == ("evenbet", ("header:event",))
    assert found.known == {"OnGameDone": 1, "OnUserLoggedIn": 1}


@pytest.mark.parametrize("structured", [False, True])
def test_cloud_events_are_told_by_their_attributes(structured: bool) -> None:
    head = {"specversion": "1.0", "type": "OnUserLoggedIn", "source": "/x", "id": "1"}
    if structured:
        found = inspect([delivery({**head, "data": {"userId": 7}})], PLACES)
    else:
        found = inspect(
            [delivery({"userId": 7}, headers={f"ce_{name}": value for name, value in head.items()})], PLACES
        )
    assert found.format == ("cloudevents-structured" if structured else "cloudevents")
    assert (found.family, found.known, found.unreadable) == ("evenbet", {"OnUserLoggedIn": 1}, {})


def test_a_second_place_is_named_for_what_the_first_one_leaves() -> None:
    mixed = [placed(sample, "header:event") for sample in samples("evenbet")[:10]]
    mixed += [placed(sample, "header:kind") for sample in samples("evenbet")[10:15]]
    found = inspect(mixed, PLACES)
    assert found.name_from == ("header:event", "header:kind")
    assert sum(found.known.values()) == 15


def test_events_of_several_families_in_one_topic_take_the_format_that_knows_any() -> None:
    mixed = [placed(sample, "header:event") for sample in samples("evenbet")[:5]]
    mixed += [delivery(sample["wire"], headers={"event": sample["event"]}) for sample in samples("accelbyte")[:5]]
    found = inspect(mixed, PLACES)
    assert (found.format, found.family, found.name_from) == ("json", None, ("header:event",))
    assert sum(found.known.values()) == 10


def test_what_nobody_knows_is_described_and_the_likely_place_proposed() -> None:
    found = inspect([delivery({"kind": "a-thing", "event_name": f"Thing{number}"}) for number in range(3)], PLACES)
    assert (found.format, found.family, found.name_from) == ("json", None, ("field:event_name",))
    assert found.known == {}
    assert sum(found.unknown.values()) == 3
    assert found.guesses[0][:2] == ("field:event_name", "Thing0")


def test_common_words_in_bodies_are_no_event_names() -> None:
    found = inspect([delivery({"level": "error", "state": "balance"})], PLACES)
    assert (found.family, found.name_from, found.known) == (None, (), {})


def test_only_places_that_the_broker_has_are_proposed() -> None:
    both = delivery({"event": "OnGameDone"}, headers={"event": "OnGameDone"}, key="OnGameDone")
    assert inspect([both], frozenset({"field"})).name_from == ("field:event",)


def test_the_name_of_one_message_is_what_is_known_else_what_looks_like_one() -> None:
    assert known_name(delivery({"gameId": 1}, key="OnGameDone"), PLACES) == "OnGameDone"
    assert known_name(delivery({"type": "bonus-granted"}), PLACES) == "bonus-granted"
    assert known_name(delivery(b"\xff"), PLACES) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["OnGameDone", "session", "a:b"]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=10,
)


@given(
    st.lists(
        st.builds(
            delivery,
            JSON | st.binary(max_size=20),
            headers=st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.binary(max_size=5), max_size=3),
            key=st.none() | st.text(max_size=5),
            routing_key=st.none() | st.text(max_size=5),
        ),
        max_size=5,
    )
)
def test_whatever_lies_there_every_message_is_accounted_for(deliveries: Sequence[Delivery]) -> None:
    found = inspect(deliveries, PLACES)
    assert sum(found.known.values()) + sum(found.unknown.values()) + found.nameless == len(deliveries)
    for one in deliveries:
        known_name(one, PLACES)
        observed(one, PLACES)


# ---- what other programs write ------------------------------------------------------------------------------------

LOGIN: dict[str, Any] = {"playerId": 5, "nick": "ann"}


def text_of(value: object) -> str:
    return json.dumps(value)


READ: list[tuple[Any, str]] = [
    (
        {"Type": "Notification", "MessageId": "1", "TopicArn": "arn:aws:sns:x:1:t", "Message": text_of(LOGIN)}
        | {"MessageAttributes": {"event": {"Type": "String", "Value": "OnUserLoggedIn"}}},
        "sns",
    ),
    ({"detail-type": "OnUserLoggedIn", "source": "poker", "id": "1", "detail": LOGIN}, "eventbridge"),
    ({"messageType": ["urn:message:Poker:OnUserLoggedIn"], "message": LOGIN}, "masstransit"),
    ({"pattern": "OnUserLoggedIn", "data": LOGIN}, "nestjs"),
    ({"ver": "4", "sender": "n", "event": "OnUserLoggedIn", "data": LOGIN}, "moleculer"),
    ({"task_id": "1", "task_name": "OnUserLoggedIn", "args": [], "kwargs": LOGIN}, "taskiq"),
    ({"actor_name": "OnUserLoggedIn", "message_id": "1", "args": [], "kwargs": LOGIN}, "dramatiq"),
    ({"body": text_of(LOGIN), "properties": {"enqueue.topic": "OnUserLoggedIn"}, "headers": {}}, "enqueue"),
    ({"body": text_of(LOGIN), "headers": {"type": "App\\Message\\OnUserLoggedIn"}}, "symfony"),
    (
        {"specversion": "1.0", "type": "OnUserLoggedIn", "source": "/x", "id": "1", "data": LOGIN},
        "cloudevents-structured",
    ),
    (
        [{"specversion": "1.0", "type": "OnUserLoggedIn", "source": "/x", "id": "1", "data": LOGIN}],
        "cloudevents-structured",
    ),
]


@pytest.mark.parametrize(("body", "format"), READ, ids=[format for _, format in READ])
@pytest.mark.parametrize("content_type", [{}, {"content-type": "text/plain"}, {"content-type": "application/json"}])
def test_an_envelope_that_is_known_is_proposed_with_the_format_that_reads_it(
    body: Any, format: str, content_type: dict[str, str]
) -> None:
    found = inspect([delivery(body, headers=content_type)] * 3, PLACES)
    assert (found.problem, found.format, found.known) == ("", format, {"OnUserLoggedIn": 3})
    assert (found.foreign, found.unreadable, found.nameless) == ({}, {}, 0)


UNREAD: list[tuple[Any, str]] = [
    ({"event": "OnUserLoggedIn", "data": LOGIN}, "OnUserLoggedIn declares"),
    ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b", "RequestId": "1"}, "not an event"),
    (
        {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}] * 2},
        "a notification of an AWS service",
    ),
    (["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": "b", "s3Key": "k"}], "stays in S3"),
    (
        [{"specversion": "1.0", "type": "OnUserLoggedIn", "source": "/x", "id": "1", "data": LOGIN}] * 2,
        "batch of CloudEvents",
    ),
    (b"\x00\x00\x00\x00\x07" + text_of(LOGIN).encode(), "schema registry"),
    (b"\x1f\x8b\x08\x00\x00", "compressed"),
    (b'O:8:"Envelope":1:{s:1:"a";i:1;}', "PHP"),
    (b"plain words", "no body is a JSON object"),
    (b"", "no body is a JSON object"),
]


@pytest.mark.parametrize(("body", "said"), UNREAD, ids=[said for _, said in UNREAD])
@pytest.mark.parametrize("where", [{}, {"routing_key": "OnUserLoggedIn"}, {"headers": {"event": "OnUserLoggedIn"}}])
def test_what_would_read_empty_events_or_none_is_never_proposed(body: Any, said: str, where: dict[str, Any]) -> None:
    found = inspect([delivery(body, **where)] * 3, PLACES)
    assert said in found.problem
    assert not found.works or found.known == {}


@pytest.mark.parametrize(
    ("header", "value", "format"),
    [
        ("__TypeId__", "com.acme.poker.OnUserLoggedIn", "spring"),
        ("__TypeId__", "com.acme.Events$OnUserLoggedIn", "spring"),
        ("MT-MessageType", "urn:message:Poker:OnUserLoggedIn", "masstransit"),
        ("NServiceBus.EnclosedMessageTypes", "Poker.OnUserLoggedIn, Poker, Version=1.0.0.0, Culture=n", "nservicebus"),
        ("rbs2-msg-type", "Poker.OnUserLoggedIn, Poker", "rebus"),
        ("cap-msg-name", "OnUserLoggedIn", "cap"),
        ("message-type", "Poker.OnUserLoggedIn", "wolverine"),
        ("enqueue.topic", "OnUserLoggedIn", "enqueue"),
    ],
)
def test_a_header_that_one_program_writes_tells_its_format(header: str, value: str, format: str) -> None:
    found = inspect([delivery(LOGIN, headers={header: value}, topic="t")] * 2, PLACES)
    assert (found.format, found.problem, found.known) == (format, "", {"OnUserLoggedIn": 2})


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("event", '"OnUserLoggedIn"'),
        ("eventClass", "com.acme.poker.OnUserLoggedIn"),
        ("type", "App\\Message\\OnUserLoggedIn"),
        ("cloudEvents:type", "OnUserLoggedIn"),
        ("ce-type", "OnUserLoggedIn"),
    ],
)
def test_names_of_classes_in_headers_become_a_table_of_names(header: str, value: str) -> None:
    found = inspect([delivery(LOGIN, headers={header: value}, topic="t")] * 2, PLACES)
    assert (found.name_from, found.problem, found.known) == ((f"header:{header}",), "", {"OnUserLoggedIn": 2})
    assert found.names == ({} if value == "OnUserLoggedIn" else {value: "OnUserLoggedIn"})


def test_own_events_in_an_envelope_are_not_proposed_either() -> None:
    found = inspect([delivery({"pattern": "paid", "data": {"cents": 5}})], PLACES)
    assert (found.problem, found.format, found.unknown) == ("", "nestjs", {"paid": 1})


def entry(fields: Mapping[str, bytes]) -> Delivery:
    """An entry of a stream without the field that usually holds the body."""
    return Delivery(body=None, topic="t", headers=fields)


def test_the_field_of_an_entry_that_holds_the_body_is_found() -> None:
    entries = [entry({"message": text_of(LOGIN).encode(), "event": b"OnUserLoggedIn", "n": b"1"})] * 3
    found = inspect(entries, PLACES, by_fields=True)
    assert (found.body_field, found.format, found.name_from, found.problem) == (
        "message",
        "evenbet",
        ("header:event",),
        "",
    )


def test_entries_whose_fields_are_the_event_are_proposed() -> None:
    entries = [entry({"playerId": b"5", "event": b"OnUserLoggedIn", "bk-id": b"1"})] * 2
    found = inspect([*entries, entry({"event": b"\xff"})], PLACES, by_fields=True)
    assert (found.body_field, found.format, found.name_from, found.problem, found.known) == (
        "*",
        "evenbet",
        ("field:event",),
        "",
        {"OnUserLoggedIn": 2},
    )
    assert found.undecodable == {"a field of the entry is not UTF-8": 1}


def test_fields_are_the_event_of_an_unknown_name_too() -> None:
    found = inspect([entry({"id": b"5", "type": b"paid"})] * 2, PLACES, by_fields=True)
    assert (found.body_field, found.format, found.name_from, found.unknown) == (
        "*",
        "json",
        ("field:type",),
        {"paid": 2},
    )


def test_entries_without_anything_like_a_name_are_not_proposed() -> None:
    found = inspect([entry({"payload": b"<paid/>", "n": b"5"})], PLACES, by_fields=True)
    assert "none looks like an event name; the fields are n, payload" in found.problem


def test_a_few_foreign_bodies_among_right_ones_are_a_warning() -> None:
    right = [delivery(LOGIN, headers={"event": "OnUserLoggedIn"})] * 9
    found = inspect([*right, delivery({"data": LOGIN}, headers={"event": "OnUserLoggedIn"})], PLACES)
    assert found.problem == ""
    assert "the body has data" in found.foreign["OnUserLoggedIn"]


def test_what_cannot_be_decoded_is_counted_and_shown_and_takes_no_part() -> None:
    right = [delivery(LOGIN, headers={"event": "OnUserLoggedIn"})] * 2
    broken = delivery(LOGIN, headers={"unreadable-header-1": b"1", "event": "Other"})
    broken.unreadable("the names of 1 headers are not UTF-8")
    no_gzip = delivery(b"no gzip at all", headers={"event": "Other", "content-encoding": "gzip"})
    found = inspect([broken, *right, no_gzip, broken], PLACES)
    assert (found.messages, found.known, found.unknown, found.not_json, found.problem) == (
        5,
        {"OnUserLoggedIn": 2},
        {},
        0,
        "",
    )
    [(first, twice), (second, once)] = found.undecodable.items()
    assert (first, twice, once) == ("the names of 1 headers are not UTF-8", 2, 1)
    assert second.startswith("the body is not gzip")
    lines = report(found)
    assert f"warning: 2 messages cannot be decoded; each becomes a dead letter: {first}" in lines
    assert sum("cannot be decoded" in line for line in lines) == 2


def test_nothing_is_proposed_where_nothing_can_be_decoded() -> None:
    broken = delivery(b"no gzip at all", headers={"event": "OnUserLoggedIn", "content-encoding": "gzip"})
    found = inspect([broken, broken], PLACES)
    assert found.messages == 2
    assert found.problem.startswith("none can be decoded: the body is not gzip")
