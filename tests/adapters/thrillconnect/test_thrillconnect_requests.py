"""Requests to ThrillConnect and their answers, against a real server that plays ThrillConnect."""

from __future__ import annotations

import asyncio

import pytest
from tests.adapters.thrillconnect.seam import CHOICE, JACKPOT, Noted, consuming, make_bus
from tests.adapters.thrillconnect_server import ThrillConnectServer, sample
from tests.every_broker import until

from brokerkit import Bus, Handlers, Message
from brokerkit._errors import Closed, ConnectionLost
from brokerkit.events.thrillconnect import (
    JackpotUpdate,
    OptInChoiceV2,
    OptInEvent,
    OptInPlayer,
    OptInTarget,
    PlayerRaffleTicketResponse,
    RaffleTicketQuestion,
)
from brokerkit.thrillconnect import RequestFailed, client_of

QUESTION = RaffleTicketQuestion(player_id="pl-7", instance_id="i-2", brand_id="northlight:lumen")
ERROR = sample("PlayerRaffleTicketResponse") | {
    "msg_type": "Error",
    "msg_name": "InvalidRequest",
    "data": {"message": "unknown instance"},
}


async def test_requests_get_their_answers_and_handlers_see_them_too(server: ThrillConnectServer, noted: Noted) -> None:
    async with consuming(make_bus(server, noted), server) as client:
        joined, left, tickets = await asyncio.gather(
            client.opt_in(CHOICE),
            client.opt_in(CHOICE.model_copy(update={"opt_in": False})),
            client.raffle_tickets(QUESTION),
        )
        assert (joined.data.opted_in, left.data.opted_in) == (True, False)
        assert joined.data.instance_id == "i-1"
        assert tickets.data.model_extra == {"instance_id": "i-2", "tickets": 9}
        await until(lambda: len(noted.names) == 3)
    assert sorted(noted.names) == ["OptInEvent", "OptInEvent", "PlayerRaffleTicketResponse"]
    assert {type(event) for event in noted.events} == {OptInEvent, PlayerRaffleTicketResponse}
    assert server.requests[1] == {
        "PlayerOptInRequest": {
            "instance_id": "i-1",
            "player_id": "pl-7",
            "brand_id": "northlight:lumen",
            "player_country": "SE",
            "opt_in": True,
        }
    }


async def test_answers_are_told_apart_by_player_and_instance(server: ThrillConnectServer, noted: Noted) -> None:
    server.answers = False
    answer = sample("PlayerRaffleTicketResponse")
    async with consuming(make_bus(server, noted), server) as client:
        asked = [
            asyncio.create_task(client.raffle_tickets(QUESTION.model_copy(update=update)))
            for update in ({}, {"instance_id": "i-9"}, {"player_id": "pl-9"})
        ]
        await until(lambda: len(server.requests) == 4)
        about = [("pl-7", "i-3"), ("pl-9", "i-2"), ("pl-7", "i-9"), ("pl-7", "i-2")]
        await server.push(
            *(
                {**answer, "player_id": player, "data": {"instance_id": instance, "tickets": number}}
                for number, (player, instance) in enumerate(about)
            )
        )
        answers = await asyncio.gather(*asked)
        assert [one.data.model_extra["tickets"] for one in answers] == [3, 2, 1]


async def test_of_requests_that_are_alike_the_oldest_gets_the_answer(server: ThrillConnectServer, noted: Noted) -> None:
    server.answers = False
    async with consuming(make_bus(server, noted), server) as client:
        asked = [asyncio.create_task(client.raffle_tickets(QUESTION)) for _ in range(2)]
        await until(lambda: len(server.requests) == 3)
        for number in (1, 2):
            await server.push({**sample("PlayerRaffleTicketResponse"), "data": {"tickets": number}})
        answers = await asyncio.gather(*asked)
        assert [one.data.model_extra for one in answers] == [{"tickets": 1}, {"tickets": 2}]


async def test_the_second_form_of_opting_in_is_sent(server: ThrillConnectServer, noted: Noted) -> None:
    choice = OptInChoiceV2(
        target=OptInTarget(type="source", id="slots-main"),
        operator_id="northlight",
        player=OptInPlayer(id="pl-7", country="SE", brand_id="lumen"),
        opt_in=True,
        opt_linked=False,
    )
    async with consuming(make_bus(server, noted), server) as client:
        await client.opt_in_v2(choice)
        await until(lambda: len(server.requests) == 2)
    assert server.requests[1] == sample("PlayerOptInRequestV2")


async def test_a_handler_may_ask_and_may_still_ask_while_the_bus_stops(server: ThrillConnectServer) -> None:
    handlers, begun, answers = Handlers(), asyncio.Event(), list[PlayerRaffleTicketResponse]()

    @handlers.on("JackpotUpdate")
    async def ask(event: JackpotUpdate, message: Message) -> None:
        answers.append(await message.native.raffle_tickets(QUESTION))
        begun.set()
        await until(lambda: "stopped" in repr(bus.adapter()._source))  # type: ignore[attr-defined]
        answers.append(await message.native.raffle_tickets(QUESTION))

    bus = Bus(server.url, topic="thrillpots", format="thrillconnect", options={"token": "good"})
    bus.include(handlers)
    async with consuming(bus, server):
        await server.push(JACKPOT)
        await begun.wait()
    assert len(answers) == 2


async def test_an_error_message_ends_the_one_request_that_it_can_mean(
    server: ThrillConnectServer, noted: Noted
) -> None:
    server.answers = False
    async with consuming(make_bus(server, noted), server) as client:
        asked = asyncio.create_task(client.opt_in(CHOICE))
        await until(lambda: len(server.requests) == 2)
        await server.push({**ERROR, "player_id": "pl-8"}, {**ERROR, "player_id": "pl-7"})
        with pytest.raises(RequestFailed, match="unknown instance") as caught:
            await asked
        assert caught.value.answer is not None
        assert caught.value.answer.msg_name == "InvalidRequest"
        await until(lambda: noted.names == ["InvalidRequest"] * 2)


async def test_an_error_message_that_may_mean_two_requests_ends_neither(
    server: ThrillConnectServer, noted: Noted
) -> None:
    server.answers = False
    async with consuming(make_bus(server, noted), server) as client:
        asked = [asyncio.create_task(one) for one in (client.opt_in(CHOICE), client.raffle_tickets(QUESTION))]
        await until(lambda: len(server.requests) == 3)
        await server.push({**ERROR, "player_id": None})
        await server.push({**ERROR, "player_id": None, "data": {"instance_id": "i-2"}})
        with pytest.raises(RequestFailed):
            await asked[1]
        assert not asked[0].done()
        asked[0].cancel()
        await asyncio.wait(asked)
        assert "0 requests wait" in repr(client)


async def test_a_request_without_an_answer_fails_in_time(server: ThrillConnectServer, noted: Noted) -> None:
    server.answers = False
    async with consuming(make_bus(server, noted), server) as client:
        with pytest.raises(RequestFailed, match="no answer to PlayerOptInRequest within 0.1 s") as caught:
            await client.opt_in(CHOICE, timeout=0.1)
        assert caught.value.answer is None
        asked = asyncio.create_task(client.raffle_tickets(QUESTION))
        await until(lambda: len(server.requests) == 3)
        server.cut()
        with pytest.raises(ConnectionLost, match="before PlayerRaffleTicketsRequest's answer"):
            await asked


async def test_requests_need_a_bus_that_consumes(server: ThrillConnectServer, noted: Noted) -> None:
    bus = make_bus(server, noted)
    client = client_of(bus)
    with pytest.raises(Closed):
        await client.opt_in(CHOICE)
    async with consuming(bus, server):
        assert (await client.opt_in(CHOICE)).msg_name == "OptInEvent"
    with pytest.raises(Closed):
        await client.raffle_tickets(QUESTION)
