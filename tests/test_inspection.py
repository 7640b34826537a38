"""What messages tell about their producer, from the samples of every family, wherever their names are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit._inspection import inspect, known_name, observed
from brokerkit._message import Delivery

PLACES = frozenset({"header", "key", "topic", "routing_key", "type", "field"})
EVENTS = Path(__file__).parent / "events"


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
    return Delivery(wire, topic, key, headers or {}, None, None, None, 0, None, None, routing_key, type)


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
