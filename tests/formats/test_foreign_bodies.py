"""Events inside somebody else's envelope: they are told before one of them is acknowledged, or else counted."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import logging
from collections.abc import Mapping
from typing import Any, Final

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from brokerkit import DecodeError, ForeignBody, Message, WrongNameRule
from brokerkit.events import Family, families, get_family, register
from brokerkit.events._presence import Fit, Presence
from tests.every_broker import Broker, Recorder, until

NAME: Final = "OnPlayerSeatedDown"
WRAPPED: Final = {"event": NAME, "data": {"playerId": 5}}


class Sparse(BaseModel):
    """All of its fields may be absent, and what it does not know is dropped."""

    player: int | None = None
    cents: int | None = None


class Keys(TypedDict, total=False):
    """The same as a dict."""

    player: int
    cents: int


@dataclasses.dataclass
class Plain:
    """The same as a dataclass."""

    player: int | None = None
    cents: int | None = None


class Strict(BaseModel):
    """Its field must be there."""

    player: int


class Nothing(BaseModel):
    """It has no fields."""


MODELS: Final = {"Sparse": Sparse, "Keys": Keys, "Plain": Plain, "Strict": Strict, "Emptied": Nothing}
if "sparse" not in families():
    register(Family(name="sparse", models=MODELS))


def message(body: Mapping[str, Any], name: str = NAME) -> Message:
    return Message(name, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("model", "body", "fit"),
    [
        (Sparse, {"data": {"player": 1}}, Fit.FOREIGN),
        (Sparse, {"player": 1}, Fit.RIGHT),
        (Sparse, {"player": 1, "more": {"cents": 1}}, Fit.RIGHT),
        (Sparse, {"cents": 1, "data": {"player": 1, "cents": 1}}, Fit.FOREIGN),
        (Sparse, {"Message": '{"player": 1}'}, Fit.FOREIGN),
        (Sparse, {}, Fit.UNDECIDED),
        (Sparse, {"event": "Sparse"}, Fit.UNDECIDED),
        (Keys, {"data": 1}, Fit.FOREIGN),
        (Plain, {"data": 1}, Fit.FOREIGN),
        (Nothing, {"data": 1}, Fit.UNDECIDED),
        (Strict, {"player": 1}, Fit.RIGHT),
    ],
)
def test_a_body_is_foreign_where_it_sets_nothing_or_less_than_something_inside_it(
    model: type[Any], body: Mapping[str, Any], fit: Fit
) -> None:
    assert Presence(model, ["event"]).judge(body) is fit


PARTY_CREATED: Final = "OnPartyCreated"
PARTY: Final = {
    "id": "2",
    "name": PARTY_CREATED,
    "timestamp": "2026-05-23T20:56:24Z",
    "userId": "u",
    "sessionId": "s",
    "payload": {"userIds": ["u"], "namespace": "n", "topicName": "t", "message": "e30="},
}
BESIDE: Final = (
    {"id": "1"},
    {"id": "1", "name": PARTY_CREATED, "timestamp": "2026-05-23T20:56:24Z"},
    {"id": "1", "name": PARTY_CREATED, "namespace": "n", "version": 1, "traceId": "t", "spanContext": "c"},
)


@pytest.mark.parametrize("beside", BESIDE, ids=len)
@pytest.mark.parametrize("wrapper", ["data", "payload", "detail", "body", "message"])
@pytest.mark.parametrize(
    "wrapped",
    [
        PARTY,
        {"sessionId": "s"},
        json.dumps(PARTY),
        [PARTY],
        base64.b64encode(json.dumps(PARTY).encode()).decode(),
    ],
    ids=["object", "short", "text", "list", "base64"],
)
def test_fields_that_all_events_of_a_family_have_do_not_hide_an_envelope(
    beside: Mapping[str, Any], wrapper: str, wrapped: Any
) -> None:
    family = get_family("accelbyte")
    body = {**beside, wrapper: wrapped}
    if wrapper == "payload" and not isinstance(wrapped, dict):
        with pytest.raises(DecodeError):  # the model declares an object there
            family.read(PARTY_CREATED, body)
        return
    presence = Presence(family.models[PARTY_CREATED], ["name"], family.shared())
    assert presence.judge(body) is Fit.FOREIGN
    assert presence.suspects(family.read(PARTY_CREATED, body))  # so that later ones are counted


@pytest.mark.parametrize("name", [PARTY_CREATED, "MatchFoundEvent"])
def test_an_event_of_nothing_but_the_familys_common_fields_is_not_called_foreign(name: str) -> None:
    family = get_family("accelbyte")
    presence = Presence(family.models[name], ["name"], family.shared())
    body = {"id": "1", "name": name, "namespace": "n", "timestamp": "2026-05-23T20:56:24Z"}
    for found in (body, {**body, "more": {"other": 1}}, {**body, "more": {"id": "3"}}):
        assert presence.judge(found) is not Fit.FOREIGN


def test_an_object_that_belongs_where_it_is_makes_no_event_foreign() -> None:
    family = get_family("accelbyte")
    presence = Presence(family.models[PARTY_CREATED], ["name"], family.shared())
    assert presence.judge(PARTY) is Fit.RIGHT
    assert presence.judge({"id": "1", "name": PARTY_CREATED, "payload": PARTY["payload"]}) is Fit.RIGHT
    assert presence.judge({"id": "1", "name": PARTY_CREATED, "payload": {"namespace": "n"}}) is Fit.RIGHT


def test_a_required_field_that_all_events_have_does_not_hide_an_envelope() -> None:
    class Paid(BaseModel):
        id: str
        cents: int | None = None

    class Left(BaseModel):
        id: str
        table: int | None = None

    family = Family(name="required", models={"Paid": Paid, "Left": Left})
    presence = Presence(Paid, [], family.shared())
    assert presence.judge({"id": "1", "data": {"cents": 5}}) is Fit.FOREIGN
    assert presence.suspects(family.read("Paid", {"id": "1", "data": {"cents": 5}}))
    assert presence.judge({"id": "1", "cents": 5}) is Fit.RIGHT
    assert presence.judge({"id": "1", "by": {"who": 5}}) is not Fit.FOREIGN
    assert Family(name="single", models={"Paid": Paid}).shared() == frozenset()


async def served(memory: Broker, *bodies: Message, **settings: Any) -> tuple[BaseException, list[Any], Any]:
    """The error with which serving ends that begins with such messages, what handlers got, and the figures."""
    bus, recorder = memory.bus(**settings), Recorder().record(*settings.pop("handled", (NAME,)))
    bus.include(recorder.handlers)
    async with asyncio.timeout(20), bus:
        await bus.publish_many(bodies)
        with pytest.raises(WrongNameRule) as error:
            await bus.serve()
    return error.value, recorder.got, bus.stats["bus"]


@pytest.mark.parametrize("unknown", [None, "ack"])
async def test_a_source_stops_when_its_first_messages_have_no_field_of_their_models(
    memory: Broker, unknown: str | None
) -> None:
    wrapped = [message(WRAPPED)] * 5
    error, got, stats = await served(memory, *wrapped, max_in_flight=3, unknown=unknown)
    assert isinstance(error, ForeignBody)
    assert (got, stats.handled, stats.dead_lettered) == ([], 0, 0)
    said = str(error)
    assert "first 3 messages" in said
    assert "nothing was acknowledged" in said
    assert f"{NAME} declares " in said
    assert "the body has data, event" in said
    assert "wrapper='data'" in said


async def test_one_that_nothing_follows_stops_the_source_too(memory: Broker) -> None:
    error, got, _ = await served(memory, message(WRAPPED))
    assert isinstance(error, ForeignBody)
    assert got == []


async def test_a_known_program_is_named_with_what_to_do(memory: Broker) -> None:
    notification = {
        "Type": "Notification",
        "MessageId": "1",
        "TopicArn": "arn:x",
        "Message": json.dumps({"playerId": 1}),
    }
    error, _, _ = await served(memory, message(notification), max_in_flight=1)
    assert "SNS notification" in str(error)
    assert 'format = "sns" reads it' in str(error)


@pytest.mark.parametrize("model", ["Sparse", "Keys", "Plain"])
async def test_models_of_any_kind_are_guarded(memory: Broker, model: str) -> None:
    bus = memory.bus(format="json", max_in_flight=1)
    bus.include(Recorder().record(f"sparse:{model}").handlers)
    async with asyncio.timeout(20), bus:
        await bus.publish(message({"data": {"player": 1}}, model))
        with pytest.raises(ForeignBody):
            await bus.serve()


async def test_those_before_the_first_good_one_are_handled_in_order_counted_and_warned_of_once(
    memory: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder().record(NAME)
    caplog.set_level(logging.WARNING, "brokerkit")
    async with recorder.serving(memory.bus(concurrency=1)) as bus:
        stats = bus.stats["bus"]
        await bus.publish_many([message({"data": {"playerId": 1}}), message({}), message(WRAPPED)], key="k")
        await until(lambda: stats.received == 3)
        assert recorder.got == []
        await bus.publish(message({"playerId": 2}), key="k")
        await until(lambda: stats.handled == 4)
        await bus.publish(message({"data": {"playerId": 3}}))
        await until(lambda: stats.handled == 5)
    bodies = [json.loads(found.body or b"") for _, _, found in recorder.got]
    assert bodies == [{"data": {"playerId": 1}}, {}, WRAPPED, {"playerId": 2}, {"data": {"playerId": 3}}]
    assert stats.foreign == 3
    assert caplog.text.count("without any of its fields") == 1


async def test_events_that_may_be_empty_do_not_stop_a_source(memory: Broker) -> None:
    recorder = Recorder().record("sparse:Emptied", "sparse:Sparse")
    async with recorder.serving(memory.bus(format="json", max_in_flight=2)) as bus:
        stats = bus.stats["bus"]
        await bus.publish_many([*[message({"any": 1}, "Emptied")] * 3, *[message({}, "Sparse")] * 3])
        await until(lambda: stats.handled == 6)
    assert stats.foreign == 0


async def test_the_name_and_id_that_rules_read_are_no_sign_of_a_right_body(memory: Broker) -> None:
    """AccelByte's base event declares its name and id, and an envelope has both."""
    bus = memory.bus(format="accelbyte", id_from="field:id", max_in_flight=1)
    bus.include(Recorder().record("onPartyCreated").handlers)
    async with asyncio.timeout(20), bus:
        await bus.publish(message({"name": "onPartyCreated", "id": "1", "detail": {"sessionId": "s"}}, ""))
        with pytest.raises(ForeignBody):
            await bus.serve()


@pytest.mark.parametrize("wrapper", ["data", "payload"])
async def test_an_envelope_with_an_id_stops_a_source_and_is_counted_later(memory: Broker, wrapper: str) -> None:
    wrapped = message({"name": PARTY_CREATED, "id": "1", wrapper: PARTY})
    bus = memory.bus(format="accelbyte", max_in_flight=1)
    bus.include(Recorder().record(PARTY_CREATED).handlers)
    async with asyncio.timeout(20), bus:
        await bus.publish(wrapped)
        with pytest.raises(ForeignBody, match=f"wrapper='{wrapper}'"):
            await bus.serve()
    recorder = Recorder().record(PARTY_CREATED)
    async with recorder.serving(memory.bus(format="accelbyte", topic=memory.topic(wrapper), group="later")) as bus:
        stats = bus.stats["bus"]
        await bus.publish(message(PARTY))
        await until(lambda: stats.handled == 1)
        await bus.publish(wrapped)
        await until(lambda: stats.handled == 2)
    assert stats.foreign == 1


async def test_a_source_can_be_told_to_handle_them_all(memory: Broker) -> None:
    recorder = Recorder().record(NAME)
    async with recorder.serving(memory.bus(foreign="handle")) as bus:
        stats = bus.stats["bus"]
        await bus.publish(message(WRAPPED))
        await until(lambda: stats.handled == 1)
    assert stats.foreign == 1


async def test_a_stop_before_the_first_good_one_gives_everything_back(memory: Broker) -> None:
    async with Recorder().record(NAME).serving(memory.bus()) as bus:
        stats = bus.stats["bus"]
        await bus.publish_many([message(WRAPPED), message({}), message({"x": 1}, "Strange")])
        await until(lambda: stats.received == 3)
    assert (stats.handled, stats.skipped, stats.released) == (0, 0, 3)
