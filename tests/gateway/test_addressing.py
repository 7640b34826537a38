"""Whom an event is for, for events and clients of every kind."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit import Bus, formats
from brokerkit._consuming._routes import Route
from brokerkit._messages._delivery import Delivery
from brokerkit._vendors.gateway._clients import Client, Clients
from brokerkit._vendors.gateway._events import Addressing, Event
from brokerkit._vendors.gateway._settings import Keywords
from brokerkit.gateway import Gateway, GatewaySettings, Player

FEW = st.sampled_from(["a", "b"])
ID: Any = st.none() | st.sampled_from(["", "a", "a:b", 7, True, 1.5, ["a"], {"a": "a"}])


def delivery(body: bytes) -> Delivery:
    made = Delivery(body=body, topic="topic")
    made.route = Route("PlayerBonusAdded", (), known=True)
    return made


@given(st.lists(st.tuples(FEW, FEW, FEW)), st.tuples(FEW, st.none() | FEW, st.none() | FEW))
def test_clients_are_found_by_what_an_event_says_and_leave_nothing(
    players: list[tuple[str, str, str]], event: tuple[str, str | None, str | None]
) -> None:
    clients = Clients()
    made = [Client(Mock(), Player(operator_id=o, brand_id=b, player_id=p)) for o, b, p in players]
    for client in made:
        clients.add(client)
    operator, brand, player = event
    if brand is None:
        player = None
    found = clients.of(Event(operator, brand, player, "source", "name", b""))
    wanted = [
        client
        for client, (o, b, p) in zip(made, players, strict=True)
        if o == operator and brand in (None, b) and player in (None, p)
    ]
    assert sorted(map(id, found)) == sorted(map(id, wanted))
    for client in made:
        clients.remove(client)
    assert clients._operators == {}


@given(
    st.dictionaries(st.sampled_from(["operator_id", "brand_id", "player_id", "source", "data"]), ID)
    .map(lambda body: json.dumps(body).encode())
    .flatmap(lambda body: st.sampled_from([body, body[:-1], body.decode().encode("utf-16"), b"\xef\xbb\xbf" + body]))
)
def test_only_a_player_of_null_is_everybody_and_every_frame_is_json_in_utf8(body: bytes) -> None:
    addressing = Addressing("source", formats.get("thrillconnect"), GatewaySettings(check=print))
    event = addressing(delivery(body))
    if event is None:
        return
    said = json.loads(event.body.decode())
    assert event.operator_id in (str(said.get("operator_id")), str(said.get("brand_id")).partition(":")[0])
    if event.player_id is None:
        assert said["player_id"] is None
    else:
        assert str(said["player_id"]) == event.player_id
        assert event.brand_id


def test_the_keywords_are_the_settings() -> None:
    assert list(Keywords.__annotations__) == list(GatewaySettings.model_fields)


def test_a_gateway_shows_no_secret() -> None:
    bus = Bus("memory://", topic="t", group="g", broadcast=True)
    headers = {"Authorization": "very-secret"}
    gateway = Gateway(bus, check="https://auth/?key=very-secret", check_headers=headers)
    shown = [gateway, gateway._settings, gateway._door, gateway._check, gateway._push, gateway._requests]
    assert "very-secret" not in repr(shown)
    with pytest.raises(Exception, match=r"check_timeout") as error:
        Gateway(bus, check="https://auth/?key=very-secret", check_headers=headers, check_timeout=-1)
    assert "very-secret" not in str(error.value)
