"""What is published is what readers with the same settings find, or it is refused."""

from __future__ import annotations

import json
from typing import Any, Final
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from brokerkit import Bus, Handlers, InvalidMessage, Message, formats
from brokerkit._config._settings import SourceSettings, TargetSettings
from brokerkit._consuming._routes import Routes
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import as_text
from brokerkit._messages._name_rules import compile_rules
from brokerkit._messages._outgoing import Outgoing
from brokerkit._publishing._target import Target
from brokerkit._status._figures import Figures
from brokerkit._status._hooks import Hooks
from brokerkit.adapters import make
from brokerkit.events import Family, families, find, register
from brokerkit.events.accelbyte import PartyCreated
from brokerkit.events.evenbet import OnUserLoggedIn
from brokerkit.events.thrillpots import JackpotUpdateEvent, JackpotValues
from tests.events.strategies import events

URL: Final = "memory://read-back"
OURS: Final = ("accelbyte", "evenbet", "session", "thrillconnect", "thrillpots")
FORMATS: Final = [name for name in formats.names() if formats.get(name).preparation is None]
EVENTS: Final = [(family, name) for family in OURS for name in families()[family].models]


class Typed(BaseModel):
    """It has a field that a rule may want for the name."""

    type: str | None = None
    amount: int | None = None


class Closed(BaseModel):
    """It takes no field that it does not declare."""

    model_config = ConfigDict(extra="forbid")

    amount: int


if "read-back" not in families():
    register(Family(name="read-back", models={"Typed": Typed, "Closed": Closed}))


def written(what: Any, payload: Any = None, *, url: str = URL, **given: Any) -> tuple[Outgoing, dict[str, Any]]:
    """What a target makes of an event, and the settings of a source that reads it."""
    call = {name: given.pop(name, None) for name in ("key", "headers", "id")}
    given.setdefault("topic", "t")
    target = TargetSettings.model_validate({"url": url, **given})
    made = Target("t", make(target.connection()), target, Hooks(), Figures().target("t")).prepare(what, payload, **call)
    return made, {"url": url, **given, "topic": made.topic}


def read(outgoing: Outgoing, given: dict[str, Any], *names: str) -> tuple[str, str | None, Any]:
    """Name, id and event that a source finds in a message."""
    source = SourceSettings.model_validate(given)
    handlers = Handlers()
    handlers._on(*(names or ("*",)))(lambda event: None)
    headers = {**outgoing.headers, **({"content-type": outgoing.content_type} if outgoing.content_type else {})}
    came = Delivery(
        body=outgoing.body,
        topic=outgoing.topic,
        key=outgoing.key,
        headers=headers,
        id=outgoing.id,
        routing_key=outgoing.routing_key,
        type=outgoing.type,
    )
    came.routing_key, came.type = outgoing.routing_key or outgoing.name, outgoing.type
    wire = source.wire
    stated = source.name_from
    name_of = compile_rules(stated or wire.name_from, what="name_from", fields_if=None if stated else wire.fields_if)
    route = Routes(handlers, source, source="s")[name_of(came)]
    [call] = route.calls
    found = compile_rules(wire.id_from, what="id_from", fields_if=wire.fields_if)(came) if wire.id_from else None
    return route.name, str(as_text(found)) if found else came.id, call.read(came)


RULES: Final = st.sampled_from(
    [
        (),
        "header:kind",
        ["header:kind", "key"],
        "key",
        "topic",
        ["topic", "header:kind"],
        "type",
        "field:zzz",
        "field:type",
    ]
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(
    st.sampled_from(EVENTS).flatmap(
        lambda one: st.tuples(st.just(one), events(families()[one[0]].models[one[1]]))  # type: ignore[arg-type]
    ),
    st.sampled_from(FORMATS),
    RULES,
    st.none() | st.sampled_from(["k", "OnGameDone"]),
    st.dictionaries(
        st.sampled_from(["ce_type", "ce_id", "ce_specversion", "content-type", "event", "x"]), st.just("1.0")
    ),
    st.none() | st.just("id-1"),
    st.booleans(),
)
def test_every_event_is_read_back_or_refused_in_every_format(
    one: Any, wire: str, rules: Any, key: str | None, headers: dict[str, str], id: str | None, named: bool
) -> None:
    (family, name), event = one
    given: dict[str, Any] = {"format": wire, "key": key, "headers": headers, "id": id}
    if rules:
        given |= {"name_from": rules, "topic": None if "topic" in rules else "t"}
    what = (f"{family}:{name}", event) if named or len(find(type(event))) != 1 else (event, None)
    try:
        outgoing, reading = written(*what, **given)
    except InvalidMessage as refused:
        usual = formats.get(wire).family in (None, family) and not (rules or key or headers or id)
        assert not usual or "is only read" in str(refused), refused
        return
    found, found_id, read_event = read(outgoing, reading, f"{family}:{name}")
    assert (found, found_id) == (name, outgoing.id)
    own = {"zzz", "type", "name", "class"} & set(read_event.__pydantic_extra__ or {}) - set(
        event.__pydantic_extra__ or {}
    )
    for field in own:  # the name, where a rule puts it beside the payload
        assert read_event.__pydantic_extra__.pop(field) == name
        read_event.__pydantic_fields_set__.discard(field)
    if getattr(event, "name", name) is None:  # AccelByte's own readers need it
        event = event.model_copy(update={"name": name})
    assert read_event == event


JACKPOT: Final = {
    "source": "thrillpots",
    "operator_id": "o",
    "brand_id": "b",
    "player_id": None,
    "timestamp": 1_700_000_000_000,
    "msg_type": "Event",
    "data": {},
}


def test_a_name_field_that_says_something_else_is_refused() -> None:
    with pytest.raises(InvalidMessage, match=r"JackpotUpdate.*msg_name.*'text'"):
        written("JackpotUpdate", {**JACKPOT, "msg_name": "text"}, format="thrillconnect")
    written("JackpotUpdate", {**JACKPOT, "msg_name": "JackpotUpdate"}, format="thrillconnect")
    with pytest.raises(InvalidMessage, match=r"onPartyCreated.*name.*'OnPartyCreated'"):
        written("onPartyCreated", {"name": "OnPartyCreated"}, format="accelbyte")


@pytest.mark.parametrize("wire", ["accelbyte", "json", "cloudevents"])
@pytest.mark.parametrize(
    "what", [("onPartyCreated", {"sessionId": "s"}), (PartyCreated.model_validate({"sessionId": "s"}), None)]
)
def test_accelbytes_events_go_out_with_the_name_that_its_own_subscribers_look_for(wire: str, what: Any) -> None:
    outgoing, _ = written(*what, format=wire)
    assert json.loads(outgoing.body or b"") == {"sessionId": "s", "name": "onPartyCreated"}


def test_an_id_in_the_body_is_the_messages_id() -> None:
    event = JackpotUpdateEvent(event_id=uuid4(), data=JackpotValues())
    outgoing, reading = written(event, format="thrillpots")
    assert read(outgoing, reading)[1] == outgoing.id == str(event.event_id)
    written(event, format="thrillpots", id=str(event.event_id))
    with pytest.raises(InvalidMessage, match="event_id"):
        written(event, format="thrillpots", id="another")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"format": "session"}, "know only the family 'session'"),
        ({"format": "json", "names": {"OnGameDone": "OnUserLoggedIn"}}, "take 'OnGameDone' for 'OnUserLoggedIn'"),
        ({"format": "json", "name_from": ["topic", "header:event"]}, "take the topic 't' for the event name"),
        ({"format": "cloudevents", "headers": {"ce_type": "Other"}}, "'ce_type' is written by the format"),
        ({"format": "cloudevents", "headers": {"ce_id": "7"}}, "'ce_id' is written by the format"),
        ({"format": "cloudevents-structured", "headers": {"ce_specversion": "1.0"}}, "'ce_specversion'"),
        ({"format": "cloudevents-structured", "headers": {"content-type": "text/plain"}}, "no content type of its own"),
    ],
)
def test_settings_and_headers_by_which_readers_find_another_event_are_refused(given: Any, message: str) -> None:
    with pytest.raises(InvalidMessage, match=message):
        written("OnGameDone", {"gameId": 1}, **given)


def test_a_key_that_readers_take_for_the_name_is_refused() -> None:
    given: dict[str, Any] = {"url": "redis://127.0.0.1:1/0", "format": "json", "name_from": ["key", "header:event"]}
    with pytest.raises(InvalidMessage, match="take the key for the event name"):
        written("OnGameDone", {"gameId": 1}, key="table-1", **given)
    written("OnGameDone", {"gameId": 1}, key="OnGameDone", **given)
    written("OnGameDone", {"gameId": 1}, **given)


def test_rules_of_a_target_are_written_in_formats_that_write_the_name_elsewhere_too() -> None:
    for wire in ("cloudevents", "cloudevents-structured"):
        outgoing, reading = written("OnGameDone", {"gameId": 1}, format=wire, name_from="header:kind")
        assert outgoing.headers["kind"] == "OnGameDone"
        assert read(outgoing, reading)[0] == "OnGameDone"


def test_a_field_of_the_payload_is_not_taken_for_the_name() -> None:
    rule: dict[str, Any] = {"format": "json", "name_from": "field:type"}
    with pytest.raises(InvalidMessage, match="which holds something else"):
        written("read-back:Typed", {"amount": 1}, **rule)
    written("read-back:Typed", {"amount": 1, "type": "Typed"}, **rule)
    with pytest.raises(InvalidMessage, match="Closed refuses that field"):
        written("read-back:Closed", {"amount": 1}, **rule)


def test_a_message_goes_out_as_it_is_whatever_it_says() -> None:
    outgoing, _ = written(Message("OnGameDone", b"{}", headers={"event": "Other"}), format="json")
    assert outgoing.headers["event"] == "Other"


@pytest.mark.parametrize(
    ("what", "payload", "given"),
    [
        pytest.param("OnUserLoggedIn", {"userId": 5}, {"format": "evenbet"}, id="a-misspelt-field"),
        pytest.param("OnUserLoggedIn", {"data": {"playerId": 5}}, {"format": "evenbet"}, id="an-envelope"),
        pytest.param("OnUserLoggedIn", {"params": {"userId": 5}}, {"format": "evenbet"}, id="under-the-wrapper"),
        pytest.param("onPartyCreated", {"user": "u"}, {"format": "accelbyte"}, id="a-name-is-filled-in"),
        pytest.param("Typed", {"amuont": 5}, {"format": "json"}, id="a-model-that-drops-it"),
    ],
)
def test_a_payload_without_a_single_field_of_its_model_is_refused(
    what: Any, payload: Any, given: dict[str, Any]
) -> None:
    with pytest.raises(InvalidMessage, match="readers would find none of its fields"):
        written(what, payload, **given)


@pytest.mark.parametrize(
    ("what", "payload"),
    [
        ("OnUserLoggedIn", {}),
        ("OnUserLoggedIn", {"playerId": None}),
        ("OnUserLoggedIn", {"playerId": 5, "userId": 5}),
        ("OnUserLoggedIn", {"params": {"playerId": 5}}),
        (OnUserLoggedIn(), None),
        (OnUserLoggedIn.model_validate({"userId": 5}), None),
    ],
)
def test_an_event_that_holds_nothing_or_something_else_beside_its_fields_is_published(what: Any, payload: Any) -> None:
    made, _ = written(what, payload, format="evenbet")
    assert made.name == "OnUserLoggedIn"


async def test_a_refusal_reaches_nobody() -> None:
    async with Bus("memory://read-back-refused", topic="t", format="thrillconnect") as bus:
        with pytest.raises(InvalidMessage):
            await bus.publish("JackpotUpdate", {**JACKPOT, "msg_name": "text"})
        assert [type(one) for one in await bus.publish_many([("JackpotUpdate", {**JACKPOT, "msg_name": "text"})])] == [
            InvalidMessage
        ]
