"""What every adapter does the same on its real broker, beside what the conformance suite tries."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from brokerkit import (
    AccessDenied,
    ForeignBody,
    Handlers,
    Message,
    Retry,
    RetryPolicy,
    UnsupportedFeature,
    WrongNameRule,
)
from brokerkit.events import parse
from brokerkit.events.evenbet import OnPlayerSeatedDown, OnUserLoggedIn
from tests.every_broker import Broker, Recorder, until

SAMPLES = [
    json.loads(line)
    for line in (Path(__file__).parent / "events" / "evenbet_samples.jsonl").read_text(encoding="utf-8").splitlines()
]
FAST = RetryPolicy(attempts=3, first=0.05, cap=0.2)


def seated(number: int) -> OnPlayerSeatedDown:
    """An event that can be told from others."""
    return OnPlayerSeatedDown(player_id=number, table_id=number % 7)


async def test_the_samples_of_a_plain_client_reach_the_typed_handlers_wherever_the_name_is(broker: Broker) -> None:
    for place in broker.places:
        recorder = Recorder().record()
        by_topic = place == "topic"
        samples = SAMPLES[:5] if by_topic else SAMPLES
        topics = {s["event"]: broker.topic(s["event"] if by_topic else place.replace(":", "-")) for s in samples}
        for topic in set(topics.values()):
            await broker.create(topic)
        bus = broker.bus(
            topic=sorted(set(topics.values())),
            name_from=place,
            names={topic: event for event, topic in topics.items()} if by_topic else {},
            provision="group",
        )
        async with recorder.serving(bus):
            for topic in set(topics.values()):
                here = [sample for sample in samples if topics[sample["event"]] == topic]
                bodies = [
                    sample["wire"] | ({"event": sample["event"]} if place == "field:event" else {}) for sample in here
                ]
                messages = [
                    (sample["event"], json.dumps(body).encode()) for sample, body in zip(here, bodies, strict=True)
                ]
                await broker.plain(topic, messages, place=place)
            got = await recorder.wait_for(len(samples))
        expected = sorted(f"{sample['event']}{parse(sample['event'], sample['wire'])!r}" for sample in samples)
        for _, event, _ in got:
            if place == "field:event":
                del event.__pydantic_extra__["event"]
        assert sorted(f"{name}{event!r}" for name, event, _ in got) == expected, place


async def test_a_long_retry_is_made_durable_and_lets_the_key_go_on(broker: Broker) -> None:
    handlers, times, loop = Handlers(), dict[int, list[float]](), asyncio.get_running_loop()

    @handlers.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        times.setdefault(event.player_id or 0, []).append(loop.time())
        if event.player_id == 1 and message.attempt == 1:
            raise Retry("in two seconds", after=2.0)

    bus = broker.bus(hold=0.3)
    bus.include(handlers)
    async with bus, bus.serving():
        await bus.publish(seated(1), key="k")
        await bus.publish(seated(2), key="k")
        await until(lambda: len(times.get(1, [])) == 2 and 2 in times, seconds=30)
    first, second = times[1]
    assert 1.9 < second - first < 20.0
    if not broker.at_most_once and broker.name != "sqs-fifo":  # FIFO keeps a group in order across a retry
        assert times[2][0] < second


async def test_a_wrong_name_rule_stops_the_source_and_acknowledges_nothing(broker: Broker) -> None:
    place = broker.places[0] if broker.places[0] != "topic" else "field:event"
    wrong = broker.bus(name_from="field:nonsense", provision="group", lease=2.0, group="wrong")
    await broker.create(broker.topic())
    recorder = Recorder().record("OnPlayerSeatedDown")
    wrong.include(recorder.handlers)
    async with wrong, wrong.serving():
        pass  # the group is there now: what is published from here on waits for it
    async with wrong:
        serving = asyncio.ensure_future(wrong.serve())
        bodies = [json.dumps({"playerId": number, "event": "OnPlayerSeatedDown"}).encode() for number in range(120)]
        messages = [("OnPlayerSeatedDown", body) for body in bodies]
        await broker.plain(broker.topic(), messages, place=place)
        while broker.at_most_once and not serving.done():  # the first ones went before anybody listened
            await broker.plain(broker.topic(), messages, place=place)
        with pytest.raises(WrongNameRule, match=r"field:nonsense.*OnPlayerSeatedDown") as error:
            await asyncio.wait_for(serving, 40)
    assert "nothing was acknowledged" in str(error.value)
    if broker.at_most_once:
        return
    right = broker.bus(name_from=place, provision="group", lease=2.0, group="wrong")
    async with recorder.serving(right):
        # On a slow broker some come twice: the first reader's leases end one after another.
        await until(lambda: {event.player_id for _, event, _ in recorder.got} == set(range(120)), seconds=40)


async def test_an_envelope_of_somebody_else_stops_the_source_and_acknowledges_nothing(broker: Broker) -> None:
    place = broker.places[0] if broker.places[0] != "topic" else "field:event"
    guarded = broker.bus(name_from=place, provision="group", lease=2.0, group="guarded")
    await broker.create(broker.topic())
    guarded.include(Recorder().record("OnPlayerSeatedDown").handlers)
    async with guarded, guarded.serving():
        pass  # the group is there now: what is published from here on waits for it
    async with guarded:
        serving = asyncio.ensure_future(guarded.serve())
        bodies = [{"event": "OnPlayerSeatedDown", "data": {"playerId": number}} for number in range(10)]
        messages = [("OnPlayerSeatedDown", json.dumps(body).encode()) for body in bodies]
        await broker.plain(broker.topic(), messages, place=place)
        while broker.at_most_once and not serving.done():  # the first ones went before anybody listened
            await broker.plain(broker.topic(), messages, place=place)
        with pytest.raises(ForeignBody, match="wrapper='data'"):
            await asyncio.wait_for(serving, 40)
    if broker.at_most_once:
        return
    recorder = Recorder().record("OnPlayerSeatedDown")
    relaxed = broker.bus(name_from=place, provision="group", lease=2.0, group="guarded", foreign="handle")
    async with recorder.serving(relaxed):
        got = await recorder.wait_for(10, seconds=40)
    assert sorted(json.loads(message.body or b"")["data"]["playerId"] for _, _, message in got) == list(range(10))


async def test_a_byte_order_mark_is_read_alike_wherever_the_name_is(broker: Broker) -> None:
    for place in [place for place in broker.places if place != "topic"]:
        await broker.create(broker.topic(place.replace(":", "-")))
        topic, recorder = broker.topic(place.replace(":", "-")), Recorder().record("OnPlayerSeatedDown")
        async with recorder.serving(broker.bus(topic=topic, name_from=place, provision="group")):
            body = json.dumps({"playerId": 1, "event": "OnPlayerSeatedDown"}).encode()
            while not recorder.got:  # where nothing is kept, until somebody listens
                await broker.plain(topic, [("OnPlayerSeatedDown", b"\xef\xbb\xbf" + body)], place=place)
                await asyncio.sleep(0.2)
        assert recorder.got[0][1].player_id == 1


async def test_a_broadcast_reaches_every_process_or_is_refused(broker: Broker) -> None:
    first, second = (Recorder().record("OnPlayerSeatedDown") for _ in range(2))
    if broker.one_group or broker.name == "kafka-share":
        with pytest.raises(UnsupportedFeature, match="broadcast"):
            broker.bus(broadcast=True)
        return
    async with first.serving(broker.bus(broadcast=True)) as bus, second.serving(broker.bus(broadcast=True)):
        # "From now on" begins when the subscription stands, which on Kafka is some seconds after the group is joined.
        while not (first.got and second.got):
            await bus.publish(seated(0))
            await asyncio.sleep(0.05)
        await bus.publish_many([seated(number) for number in range(1, 50)])
        await until(lambda: all(len({e.player_id for _, e, _ in each.got}) == 50 for each in (first, second)))


async def test_several_handlers_run_in_order_and_only_those_that_failed_again(broker: Broker) -> None:
    handlers, ran, done = Handlers(), list[str](), asyncio.Event()

    @handlers.on("*")
    async def last(event: Any) -> None:
        ran.append("last")
        done.set()

    @handlers.on("OnUserLoggedIn", retry=FAST)
    def first(event: OnUserLoggedIn) -> None:
        ran.append("first")

    @handlers.on("OnUserLoggedIn", retry=FAST)
    async def second(event: OnUserLoggedIn, message: Message) -> None:
        ran.append("second")
        if message.attempt == 1:
            raise RuntimeError

    bus = broker.bus()
    bus.include(handlers)
    async with bus, bus.serving():
        await bus.publish(OnUserLoggedIn())
        await asyncio.wait_for(done.wait(), 20)
    assert ran == ["first", "second", "second", "last"]


async def test_messages_to_which_a_producer_gave_one_id_are_all_dead_letters(broker: Broker) -> None:
    if broker.at_most_once:
        return  # nothing is stored
    bus = broker.bus(id_from="header:deal", retry=RetryPolicy(attempts=1))

    @bus.on("OnPlayerSeatedDown")
    async def fail(_: object) -> None:
        raise RuntimeError("broken")

    bodies = [b'{"playerId": %d}' % number for number in range(5)]
    async with bus, bus.serving():
        await bus.publish_many(
            [Message("OnPlayerSeatedDown", body, headers={"deal": "one for all"}) for body in bodies]
        )
        await until(lambda: bus.stats["bus"].dead_lettered == len(bodies))
    letters = await broker.dead_letters(len(bodies))
    assert sorted(letter.body or b"" for letter in letters) == bodies


async def test_a_wrong_password_is_one_clear_error_in_time(broker: Broker) -> None:
    settings = broker.wrong_password
    if not settings:
        return  # nothing to reach, or a stand-in that takes any password
    with pytest.raises(AccessDenied) as error:
        async with asyncio.timeout(30), broker.bus(connect_timeout=3.0, **settings):
            pass
    shown = f"{error.value!r} {error.value}"
    assert "secret" not in shown
    assert "wrong" not in shown or "password" in shown
    assert len(str(error.value)) < 1_000
