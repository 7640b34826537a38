"""What every adapter does the same on its real broker, seen by a user of the bus."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from brokerkit import (
    AccessDenied,
    BrokerkitError,
    ConfigError,
    ConnectionLost,
    Handlers,
    Message,
    MessageTooLarge,
    NotFound,
    Receipt,
    Reject,
    Retry,
    RetryPolicy,
    UnsupportedFeature,
    WrongNameRule,
)
from brokerkit._message import Delivery, text
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


async def test_what_is_published_arrives_unchanged(broker: Broker) -> None:
    recorder = Recorder().record("OnPlayerSeatedDown")
    headers = {"trace": 'é "quoted" \n', "binary": b"\xff\x00", "empty": "", "data": "d", "key": "k"}
    async with recorder.serving(broker.bus(group="unchanged")) as bus:
        receipt = await bus.publish(seated(1), key="table 7/é", headers=headers, id="id-1")
        [(_, event, message)] = await recorder.wait_for(1)
    assert receipt.id == "id-1"
    assert event == seated(1)
    assert (message.key, message.id, message.attempt, message.topic) == ("table 7/é", "id-1", 1, broker.topic())
    assert {name: message.headers[name] for name in headers} == headers
    assert json.loads(message.body or b"") == {"params": {"playerId": 1, "tableId": 1}}


async def test_publish_many_gives_one_result_each(broker: Broker) -> None:
    recorder = Recorder().record("OnPlayerSeatedDown")
    async with recorder.serving(broker.bus()) as bus:
        batch: list[Any] = [seated(number) for number in range(250)]
        batch.insert(100, ("OnPlayerSeatedDown", {"playerId": "no number"}))
        if broker.largest is not None:
            batch.insert(101, Message("OnPlayerSeatedDown", b'"' + b"x" * broker.largest + b'"'))
        results = await bus.publish_many(batch)
        got = await recorder.wait_for(250)
    assert sorted(event.player_id for _, event, _ in got) == list(range(250))
    failures = [result for result in results if not isinstance(result, Receipt)]
    assert [type(failure).__name__ for failure in failures] == [
        "InvalidMessage",
        *(["MessageTooLarge"] if broker.largest else []),
    ]
    if broker.largest is not None:
        assert isinstance(results[101], MessageTooLarge)
        assert results[101].limit <= broker.largest < results[101].size


async def test_a_failing_handler_is_tried_again_and_others_are_not_held_up(broker: Broker) -> None:
    handlers, attempts, done = Handlers(), defaultdict[int, list[int]](list), asyncio.Event()

    @handlers.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        attempts[event.player_id or 0].append(message.attempt)
        if event.player_id == 3 and len(attempts[3]) < 3:
            raise RuntimeError("not yet")
        if all(len(attempts[number]) >= (3 if number == 3 else 1) for number in range(10)):
            done.set()

    bus = broker.bus(retry=FAST)
    bus.include(handlers)
    async with bus, bus.serving():
        await bus.publish_many([seated(number) for number in range(10)])
        await asyncio.wait_for(done.wait(), 20)
        await until(lambda: bus.stats["bus"].handled == 10)
    assert attempts == {**{number: [1] for number in range(10)}, 3: [1, 2, 3]}


async def test_dead_letters_keep_body_key_and_headers_and_say_why(broker: Broker) -> None:
    handlers = Handlers()
    undecodable = b'{"playerId": "not a number'

    @handlers.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown) -> None:
        if event.player_id == 1:
            raise Reject("player 1 is banned")
        if event.player_id == 2:
            raise RuntimeError("always fails")

    bus = broker.bus(retry=FAST)
    bus.include(handlers)
    async with bus, bus.serving():
        for number in (1, 2, 3):
            await bus.publish(seated(number), key=f"table-{number}", headers={"trace": f"t{number}"}, id=f"id-{number}")
        await bus.publish(Message("OnPlayerSeatedDown", undecodable))
        await until(lambda: bus.stats["bus"].dead_lettered == 3 and bus.stats["bus"].handled == 1)
    if broker.at_most_once:
        return  # Pub/Sub stores nothing: they are counted and logged

    letters = {header(letter, "bk-error-type"): letter for letter in await broker.dead_letters(3)}
    assert letters.keys() == {"Reject", "RuntimeError", "DecodeError"}
    assert letters["DecodeError"].body == undecodable
    rejected, failed = letters["Reject"], letters["RuntimeError"]
    assert json.loads(rejected.body or b"") == {"params": {"playerId": 1, "tableId": 1}}
    assert header(rejected, "bk-error") == "player 1 is banned"
    assert header(rejected, "trace") == "t1"
    assert header(rejected, "event") == header(rejected, "bk-event") == "OnPlayerSeatedDown"
    assert header(failed, "bk-failures") == "3"
    assert header(failed, "bk-handler").endswith("handle")
    assert header(failed, "bk-origin") == "id-2"
    assert failed.id != "id-2"
    assert text(failed.key or b"") == "table-2"

    # Settled: nothing comes again.
    again = Recorder().record()
    async with again.serving(broker.bus()) as bus:
        await bus.publish(seated(4))
        await again.wait_for(1)
    assert [event.player_id for _, event, _ in again.got] == [4]


async def test_messages_of_one_key_are_handled_in_order(broker: Broker) -> None:
    handlers, seen, handled = Handlers(), defaultdict[str, list[int]](list), 0

    @handlers.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        nonlocal handled
        await asyncio.sleep((event.player_id or 0) % 3 / 1000)
        seen[str(message.key)].append(event.player_id or 0)
        handled += 1

    bus = broker.bus(concurrency=16)
    bus.include(handlers)
    async with bus, bus.serving():
        for key in range(8):
            await bus.publish_many([seated(number) for number in range(20)], key=f"key-{key}")
        await until(lambda: handled >= 160)
    assert len(seen) == 8
    if broker.name not in ("sqs", "sns"):  # a standard queue gives no order, and says so
        assert all(numbers == list(range(20)) for numbers in seen.values())


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
    assert 1.9 < second - first < 6.0
    if not broker.at_most_once and broker.name != "sqs-fifo":  # FIFO keeps a group in order across a retry
        assert times[2][0] < second


async def test_a_stop_loses_nothing_and_repeats_nothing_that_finished(broker: Broker) -> None:
    counts = defaultdict[int, int](int)

    def made() -> Handlers:
        handlers = Handlers()

        @handlers.on("OnPlayerSeatedDown")
        async def handle(event: OnPlayerSeatedDown) -> None:
            await asyncio.sleep(0.002)
            counts[event.player_id or 0] += 1

        return handlers

    # Leases that outlast any pause of a busy stand-in: what is tested here is the stop.
    bus = broker.bus(concurrency=4, lease=30.0)
    bus.include(made())
    async with bus, bus.serving():
        if broker.at_most_once:
            await bus.publish_many([seated(number) for number in range(100)])
            await until(lambda: len(counts) == 100)
            return
    async with bus:
        await bus.publish_many([seated(number) for number in range(400)])
    async with bus, bus.serving():
        await until(lambda: len(counts) > 30)
    assert len(counts) < 400
    again = broker.bus(concurrency=50, lease=30.0)
    again.include(made())
    async with again, again.serving():
        await until(lambda: len(counts) == 400, seconds=40)
    assert set(counts.values()) == {1}


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
        got = await recorder.wait_for(120, seconds=40)
    assert {event.player_id for _, event, _ in got} == set(range(120))


async def test_two_groups_each_get_everything_and_members_of_one_share(broker: Broker) -> None:
    if broker.one_group:
        return  # the queue (list) is the group: asserted with the adapter
    first, second, third = (Recorder().record("OnPlayerSeatedDown") for _ in range(3))
    group = {"group": "a"}
    async with (
        first.serving(broker.bus(**group)) as bus,
        second.serving(broker.bus(**group)),
        third.serving(broker.bus(group="b")),
    ):
        await bus.publish_many([seated(number) for number in range(200)])
        await third.wait_for(200)
        if not broker.at_most_once:
            await until(lambda: len(first.got) + len(second.got) >= 200)
            shared = [event.player_id for _, event, _ in first.got + second.got]
            assert sorted(shared) == list(range(200))
    assert sorted(event.player_id for _, event, _ in third.got) == list(range(200))


async def test_a_broadcast_reaches_every_process_or_is_refused(broker: Broker) -> None:
    first, second = (Recorder().record("OnPlayerSeatedDown") for _ in range(2))
    if broker.one_group:
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


@pytest.mark.parametrize(
    ("what", "expected"),
    [("unreachable", ConnectionLost), ("wrong_password", AccessDenied), ("bad_option", ConfigError)],
)
async def test_what_cannot_work_is_one_clear_error_in_time(
    broker: Broker, what: str, expected: type[BrokerkitError]
) -> None:
    settings = getattr(broker, what)
    if not settings:
        return  # nothing to reach, or a stand-in that takes any password
    with pytest.raises(expected) as error:
        async with asyncio.timeout(8), broker.bus(connect_timeout=3.0, **settings):
            pass
    shown = f"{error.value!r} {error.value}"
    assert "secret" not in shown
    assert "wrong" not in shown or "password" in shown
    assert len(str(error.value)) < 1_000


async def test_a_missing_topic_is_not_found(broker: Broker) -> None:
    if not broker.topics_must_exist:
        return
    bus = broker.bus(topic=broker.topic("nowhere"), provision="check", connect_timeout=5.0)
    bus.include(Recorder().record().handlers)
    with pytest.raises(NotFound, match=broker.topic("nowhere").removesuffix(".fifo")):
        await asyncio.wait_for(bus.serve(), 15)


async def test_a_bus_opens_again_after_it_was_closed(broker: Broker) -> None:
    bus = broker.bus()
    recorder = Recorder().record("OnPlayerSeatedDown")
    bus.include(recorder.handlers)
    for number in range(2):
        async with bus, bus.serving():
            await bus.publish(seated(number))
            await recorder.wait_for(number + 1)
    assert [event.player_id for _, event, _ in recorder.got] == [0, 1]


def header(letter: Delivery, name: str) -> str:
    """A header as text."""
    return str(text(letter.headers[name]))
