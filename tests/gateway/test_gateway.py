"""Events of real brokers at WebSocket clients: who gets what, and who is let in."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from tests import every_broker, every_redis
from tests.certificates import self_signed
from tests.every_broker import Broker, Recorder, until
from tests.gateway.scene import Tokens, body, client, closed, event, gateway, receive, subscribe, url
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from brokerkit import AccessDenied, Bus, ConfigError, Message, UnsupportedFeature
from brokerkit.events.thrillconnect import OptIn, OptInChoice, RaffleTicketQuestion
from brokerkit.gateway import Gateway, Player

BUS: dict[str, Any] = {"group": "gateway", "broadcast": True, "format": "thrillconnect"}


@pytest.fixture(params=["memory", "redis-streams", "kafka"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Brokers of three kinds: what differs beyond them is the adapters', and tested there."""
    match request.param:
        case "memory":
            return every_broker.memory()
        case "redis-streams":
            return every_redis.redis_streams(request.getfixturevalue("redis_broker"))
        case _:
            return every_broker.kafka(request.getfixturevalue("kafka_broker"))


@pytest.fixture
def bus() -> Bus:
    return every_broker.memory().bus(**BUS)


async def test_a_player_gets_the_own_events_in_order_and_those_for_everybody_and_none_of_another(
    broker: Broker,
) -> None:
    bus = broker.bus(**BUS)
    async with bus, gateway(bus) as served, client(served, "pl-1") as one, client(served, "pl-2") as two:
        mine = [event("pl-1") for _ in range(20)]
        everybody = event(None, "JackpotUpdate")
        for message in mine:
            await bus.publish(message, key="k")
        await bus.publish(event("pl-3"), key="k")
        await bus.publish(event(None, "JackpotUpdate", brand_id="other"), key="k")
        await bus.publish(event("pl-1", operator_id="other"), key="k")
        last = event("pl-2")
        await bus.publish(everybody, key="k")
        await bus.publish(last, key="k")
        # In order, because they have one key.
        assert [await receive(one) for _ in range(20)] == [body(message) for message in mine]
        assert await receive(one) == body(everybody)
        assert [await receive(two) for _ in range(2)] == [body(everybody), body(last)]
        assert served.stats.sent == 23
        assert served.stats.connected == 2
    assert served.stats.connected == 0


async def test_our_own_client_reads_the_gateway_and_asks_it(broker: Broker) -> None:
    async def opt_in(choice: OptInChoice, player: Player) -> OptIn:
        return OptIn(instance_id=choice.instance_id, player_id=player.player_id, opted_in=choice.opt_in)

    def tickets(question: RaffleTicketQuestion, player: Player) -> dict[str, Any]:
        return {"instance_id": question.instance_id, "player_id": player.player_id}

    recorder = Recorder().record()
    bus = broker.bus(**BUS)
    answers = {"PlayerOptInRequest": opt_in, "PlayerRaffleTicketsRequest": tickets}
    async with bus, gateway(bus, answers=answers) as served:
        ours = Bus(
            f"thrillconnect+{url(served, 'pl-7')}",
            topic=["thrillgate", "thrillpots/JackpotUpdate"],
            format="thrillconnect",
        )
        async with recorder.serving(ours):
            await until(lambda: any(each.subscriptions == 2 for each in served._clients))
            sent = [event("pl-7"), event(None, "JackpotUpdate", data={"id": "j"})]
            await bus.publish(event("pl-8"))
            await bus.publish(event("pl-7", "OptInEvent"))
            for message in sent:
                await bus.publish(message, key="k")
            got = await recorder.wait_for(2)
            assert [json.loads(message.body or b"") for _, _, message in got] == [body(message) for message in sent]
            native: Any = got[0][2].native
            about = {"player_id": "pl-7", "brand_id": "northlight:lumen"}
            accepted = await native.opt_in(OptInChoice(instance_id="i-1", player_country="SE", opt_in=True, **about))
            assert (accepted.data.instance_id, accepted.data.opted_in) == ("i-1", True)
            counted = await native.raffle_tickets(RaffleTicketQuestion(instance_id="i-2", **about))
            assert counted.data.instance_id == "i-2"


async def test_events_of_other_formats_get_an_envelope() -> None:
    bus = every_broker.memory().bus(group="gateway", broadcast=True, format="evenbet")
    rules = {"operator_from": "header:operator", "brand_from": "header:brand", "player_from": ["key", "field:playerId"]}
    async with (
        bus,
        gateway(bus, source="evenbet", msg_names={"OnGameDone": "Done"}, public="OnGameDone", **rules) as served,
        client(served, "pl-1", [{"source": "evenbet", "event_type": "*"}]) as one,
    ):
        place = {"operator": "northlight", "brand": "northlight:lumen"}
        await bus.publish(Message("OnUserLoggedIn", b'{"secret": 0}'), headers=place)  # for nobody, and not public
        await bus.publish(Message("OnUserLoggedIn", b'{"playerId": "pl-1", "pot": 1.10}'), headers=place)
        text = await one.recv()
        assert isinstance(text, str)
        assert text.endswith('"data":{"playerId": "pl-1", "pot": 1.10}}')
        envelope = json.loads(text)
        assert envelope.pop("timestamp") == pytest.approx(time.time() * 1000, abs=60_000)
        assert {**envelope, "data": None} == {
            "msg_type": "Event",
            "source": "evenbet",
            "msg_name": "OnUserLoggedIn",
            "operator_id": "northlight",
            "brand_id": "lumen",
            "player_id": "pl-1",
            "data": None,
        }
        await bus.publish(Message("OnGameDone", b'{"gameId": 1}'), headers=place)
        done = await receive(one)
        assert (done["msg_name"], done["player_id"], done["data"]) == ("Done", None, {"gameId": 1})
        assert served.stats.unaddressed == 1


@pytest.mark.parametrize(
    "wrong",
    [
        event(""),  # which is not null
        event("pl-1", player_id=["pl-1"]),
        event("pl-1", operator_id=None),
        event("pl-1", brand_id=None),
        event("pl-1", brand_id="other:lumen"),
        Message("PlayerBonusAdded", event("pl-1").body.decode().encode("utf-16")),  # type: ignore[union-attr]
        Message("PlayerBonusAdded", event("pl-1").body.replace(b"PlayerBonusAdded", b"PlayerBonusAdded\xed\xa0\x80")),  # type: ignore[union-attr]
    ],
)
async def test_what_cannot_be_addressed_or_read_goes_to_nobody_and_is_counted(wrong: Message, bus: Bus) -> None:
    async with bus, gateway(bus) as served, client(served, "pl-1") as one:
        await bus.publish(wrong, headers={})
        await bus.publish(good := event("pl-1"))
        assert await receive(one) == body(good)
        assert (served.stats.sent, served.stats.dropped) == (1, 0)


async def test_only_what_was_subscribed_to_comes(bus: Bus) -> None:
    wanted = [{"source": "thrillgate", "event_type": "PlayerBonusAdded"}]
    async with bus, gateway(bus, max_subscriptions=2) as served, client(served, "pl-1", wanted) as one:
        await bus.publish(event("pl-1", "PlayerBonusRemoved"))
        await bus.publish(event(None, "JackpotUpdate"))
        await bus.publish(added := event("pl-1"))
        assert await receive(one) == body(added)
        await subscribe(one, [{"source": "thrillpots", "event_type": "*"}])  # beside the first one
        await bus.publish(added := event("pl-1"))
        await bus.publish(update := event(None, "JackpotUpdate"))
        assert [await receive(one) for _ in range(2)] == [body(added), body(update)]
        await one.send(json.dumps({"SubscribeRequest": {"events": [{"source": "third", "event_type": "*"}]}}))
        assert (await receive(one))["data"] == {"request": "SubscribeRequest", "reason": "more than 2 subscriptions"}
        await one.send(json.dumps({"SubscribeRequest": {"events": [{"source": "s" * 300, "event_type": "*"}]}}))
        assert "more than 256 characters" in (await receive(one))["data"]["reason"]


async def test_a_player_hears_nothing_before_subscribing(bus: Bus) -> None:
    async with bus, gateway(bus) as served, connect(url(served, "pl-1")) as one:
        await until(lambda: served.stats.connected == 1)
        await bus.publish(event("pl-1"))
        await until(lambda: served.stats.events == 1)
        await subscribe(one)
        assert served.stats.sent == 0


ABOUT = {"instance_id": "i-1", "player_id": "pl-1", "brand_id": "northlight:lumen"}


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"{}", "a request is a text frame"),
        ("{", "it is not JSON"),
        ("[" * 30_000, "it is not JSON"),
        ("[]", "a request is one object whose only key is the request's name"),
        ('{"SubscribeRequest": {}, "b": 1}', "a request is one object whose only key is the request's name"),
        ('{"Nothing": {}}', "there is no such request"),
        ('{"SubscribeRequest": {"events": "*"}}', "events"),
        ('{"SubscribeRequest": null}', "SubscribeRequest"),
        (json.dumps({"PlayerRaffleTicketsRequest": ABOUT}), "this gateway does not answer this request"),
        (json.dumps({"PlayerRaffleTicketsRequest": ABOUT | {"player_id": "pl-2"}}), "another player"),
        (json.dumps({"PlayerRaffleTicketsRequest": ABOUT | {"brand_id": "lumen"}}), "another player"),
        (
            json.dumps({"PlayerOptInRequest": ABOUT | {"player_country": "SE", "opt_in": True}}),
            "the request cannot be answered now",
        ),
    ],
)
async def test_a_bad_request_is_answered_with_an_error_and_the_connection_stays(
    frame: str | bytes, reason: str, bus: Bus
) -> None:
    def fail(_: object, __: object) -> None:
        raise RuntimeError("a secret")

    async with (
        bus,
        gateway(bus, answers={"PlayerOptInRequest": fail}) as served,
        client(served, "pl-1") as one,
    ):
        await one.send(frame)
        error = await receive(one)
        assert error["msg_type"] == "Error"
        assert error["player_id"] == "pl-1"
        assert reason in error["data"]["reason"]
        assert "secret" not in json.dumps(error)
        assert error["data"].get("instance_id") == ("i-1" if "i-1" in str(frame) else None)
        await bus.publish(good := event("pl-1"))
        assert await receive(one) == body(good)


@pytest.mark.parametrize(
    ("token", "place", "code", "status", "reason"),
    [
        ("nobody", "northlight/lumen", 4401, 401, "the token is unknown or has expired"),
        ("", "northlight/lumen", 4401, 401, "there is no token in the query"),
        ("pl-old", "northlight/lumen", 4401, 401, "the token is unknown or has expired"),
        ("pl-1", "northlight/other", 4403, 403, "the token is not for this operator and brand"),
        ("pl-1", "other/lumen", 4403, 403, "the token is not for this operator and brand"),
        ("barred", "northlight/lumen", 4403, 403, "the token is not for this operator and brand"),
        ("broken", "northlight/lumen", 1013, 503, "the token cannot be checked now; try again later"),
    ],
)
@pytest.mark.parametrize("refuse", ["close", "http"])
async def test_who_is_not_let_in_hears_why_and_others_are_unharmed(
    token: str,
    place: str,
    code: int,
    status: int,
    reason: str,
    refuse: str,
    bus: Bus,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    tokens = Tokens()
    tokens.expires["pl-old"] = time.time() - 1
    async with bus, gateway(bus, tokens, refuse=refuse) as served, client(served, "pl-2") as other:
        if refuse == "close":
            async with connect(url(served, token, place=place)) as refused:
                assert await closed(refused) == (code, reason)
        else:
            with pytest.raises(InvalidStatus) as error:
                await connect(url(served, token, place=place))
            assert error.value.response.status_code == status
            assert error.value.response.body.decode().strip() == reason
        assert served.stats.refused == 1
        await bus.publish(good := event("pl-2"))
        assert await receive(other) == body(good)
        assert all(asked.token not in repr(asked) for asked in tokens.asked if asked.token)
    ours = [record for record in caplog.records if record.name.startswith("brokerkit")]
    assert not any(
        secret in record.getMessage() + str(record.exc_info) for record in ours for secret in ("broken", "?token")
    )


async def test_a_token_that_runs_out_closes_its_connection_then_and_no_other(bus: Bus) -> None:
    tokens = Tokens()
    tokens.lasts["pl-1"] = 1.0
    tokens.expires["pl-2"] = time.time() + 3600
    async with bus, gateway(bus, tokens) as served, connect(url(served, "pl-1")) as one, client(served, "pl-2") as two:
        assert await closed(one) == (4401, "the token has expired")
        assert time.time() >= tokens.expires["pl-1"]
        await bus.publish(good := event("pl-2"))
        assert await receive(two) == body(good)
        assert (served.stats.expired, served.stats.connected) == (1, 1)


async def test_pages_of_other_origins_are_refused_and_what_is_no_page_is_not(bus: Bus) -> None:
    async with bus, gateway(bus, origins="https://play.example") as served:
        async with connect(url(served, "pl-1"), origin=Origin("https://play.example")) as one:
            await subscribe(one)
        async with connect(url(served, "pl-1")) as one:
            await subscribe(one)
        with pytest.raises(InvalidStatus) as error:
            await connect(url(served, "pl-1"), origin=Origin("https://other.example"))
        assert error.value.response.status_code == 403


async def test_with_a_certificate_it_speaks_tls(bus: Bus, tmp_path: Path) -> None:
    file, key = self_signed(tmp_path)
    async with bus, gateway(bus, certificate=file, key=key) as served:
        secure = url(served, "pl-1").replace("ws://", "wss://")
        async with connect(secure, ssl=ssl.create_default_context(cafile=file)) as one:
            await subscribe(one)
            await bus.publish(sent := event("pl-1"))
            assert await receive(one) == body(sent)


async def test_it_ends_with_the_error_that_ends_its_source_and_closes_its_clients(bus: Bus) -> None:
    tokens = Tokens()
    tokens.lasts["pl-1"] = 3.0
    async with bus, gateway(bus, tokens) as first:
        # A gateway whose source is another one, with a token that runs out.
        bus_of_second = Bus(f"thrillconnect+{url(first, 'pl-1')}", topic=["thrillgate"], format="thrillconnect")
        second = Gateway(bus_of_second, check=Tokens(), port=0, drain=0.5)
        serving = asyncio.create_task(second.serve())
        await until(lambda: bool(second.port))
        async with client(second, "pl-1") as one:
            await bus.publish(sent := event("pl-1"))
            assert await receive(one) == body(sent)
            with pytest.raises(AccessDenied, match="the token has expired"):
                await serving
            assert (await closed(one))[0] == 1001


async def test_other_paths_are_not_found_and_health_is_told(bus: Bus) -> None:
    async with bus, gateway(bus) as served:
        base = f"ws://127.0.0.1:{served.port}"
        for path, status in [("/", 404), ("/v1/events/northlight?token=pl-1", 404), ("/healthz", 200)]:
            with pytest.raises(InvalidStatus) as error:
                await connect(base + path)
            assert error.value.response.status_code == status


async def test_a_stop_closes_everybody_with_1001_in_bounded_time(bus: Bus) -> None:
    async with bus:
        async with gateway(bus) as served:
            reader = await connect(url(served, "pl-1"))
            silent, writer = await asyncio.open_connection("127.0.0.1", served.port)  # which never sends its request
            await until(lambda: served.stats.connected == 1)
            begun = time.monotonic()
        assert await closed(reader) == (1001, "the gateway stops; connect again")
        assert time.monotonic() - begun < 5
        assert await silent.read() == b""
        writer.close()


def test_a_source_that_is_not_broadcast_is_refused() -> None:
    with pytest.raises(ConfigError, match="source 'bus' needs broadcast = true"):
        Gateway(Bus("memory://", topic="t", group="g"), check=Tokens())
    with pytest.raises(UnsupportedFeature, match="broadcast"):
        Gateway(Bus("sqs://eu-west-1/", topic="t", broadcast=True), check=Tokens())
    Gateway(Bus("redis+pubsub://localhost", topic="t"), check=Tokens())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "gateway.check is missing"),
        ({"check": "no.such:function"}, "check = 'no.such:function' cannot be imported"),
        ({"check": "https://user:very-secret@auth/"}, "credentials go into check_headers"),
        ({"check": Tokens(), "prot": 1}, "did you mean 'port'"),
        ({"check": Tokens(), "player_from": "nowhere"}, "player_from: 'nowhere' is not a rule"),
        ({"check": Tokens(), "answers": {"Nothing": print}}, "'Nothing' is not a request"),
        ({"check": Tokens(), "sources": "other"}, "there is no source 'other'"),
        ({"check": Tokens(), "certificate": "/no/such.pem"}, "certificate = '/no/such.pem' cannot be used"),
    ],
)
def test_wrong_settings_are_errors_that_say_which(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        Gateway(Bus("memory://", topic="t", group="g", broadcast=True), **settings)
    assert "very-secret" not in str(error.value)
