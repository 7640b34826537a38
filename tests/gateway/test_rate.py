"""How many requests of a client are borne: pure arithmetic on times that somebody else gives."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from brokerkit._vendors.gateway._clients import AVERAGED, Client
from brokerkit.gateway import Player

rates = st.floats(min_value=0.05, max_value=1000)
pauses = st.lists(st.floats(min_value=0, max_value=30), min_size=1, max_size=200)


def new_client() -> Client:
    return Client(cast("Any", None), Player(operator_id="o", brand_id="b", player_id="p"))


@given(rates, pauses)
def test_a_client_that_keeps_to_the_rate_is_never_closed(rate: float, pauses: list[float]) -> None:
    client, now = new_client(), 1000.0
    for pause in pauses:
        assert client.may_ask(rate, now)
        now += max(pause, 1 / rate) * 1.000001


@given(rates, pauses)
def test_what_is_borne_in_any_time_is_the_rate_and_one_burst(rate: float, pauses: list[float]) -> None:
    client, now, borne = new_client(), 1000.0, list[float]()
    for pause in pauses:
        now += pause / rate
        if not client.may_ask(rate, now):
            break
        borne.append(now)
    burst = max(rate * AVERAGED, 1.0)
    for first, begun in enumerate(borne):
        assert len(borne) - first <= (borne[-1] - begun) * rate + burst + 1e-6


@given(rates)
def test_a_burst_is_borne_and_one_more_is_not(rate: float) -> None:
    client = new_client()
    burst = int(max(rate * AVERAGED, 1.0))
    assert all(client.may_ask(rate, 1000.0) for _ in range(burst))
    assert not client.may_ask(rate, 1000.0)
