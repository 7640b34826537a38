"""What a bridge promises, between real brokers: bytes, key, headers, name and id as they were, and nothing lost."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import aio_pika
import pytest

from brokerkit import Bus, ConfigError, Message
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._outgoing import Receipt
from brokerkit._tools._bridge import FROM, HOPS
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.adapters.thrillconnect_server import PUSHED, playing
from tests.bridge.pair import Pair
from tests.brokers.rabbitmq import RabbitBroker
from tests.brokers.redis import RedisBroker
from tests.every_broker import until

BODIES = (b'{"a": 1.10}', b"no json \xff\x00", b'{"cut', b"", b" {} ", "ż".encode())
PAIRS = (
    ("memory", "memory"),
    ("rabbitmq", "kafka"),
    ("kafka", "rabbitmq"),
    ("redis-streams", "sqs"),
    ("redis-streams", "sqs-fifo"),
    ("redis-list", "redis-streams"),
    ("sqs", "redis-streams"),
)


async def publish(bus: Bus, *messages: Message) -> None:
    """Publish, and see that the broker has all of them."""
    for result in await bus.publish_many(messages):
        assert isinstance(result, Receipt), result


def seen(delivery: Delivery) -> tuple[Any, ...]:
    message = Message("", delivery.body, key=delivery.key, headers=delivery.headers)
    return delivery.body, message.key, message.headers


@pytest.mark.parametrize("pair", PAIRS, indirect=True, ids="-to-".join)
async def test_everything_comes_as_it_was(pair: Pair) -> None:
    bodies = [body for body in BODIES if body or "sqs" not in f"{pair.old.name} {pair.new.name}"]
    sent = [
        Message(
            f"Event{number % 3}",
            body,
            key=f"player-{number % 2}",
            headers={"event": f"Event{number % 3}", "h": f"v{number}", "content-type": "application/x-mine"},
            id=f"id-{number}",
        )
        for number, body in enumerate(bodies)
    ]
    async with pair.bridge() as bridge, bridge.serving(), pair.reading() as got, pair.producer() as producer:
        await publish(producer, *sent)
        await until(lambda: len(got) >= len(sent))
    assert {one.id: seen(one) for one in got} == {one.id: (one.body, one.key, one.headers) for one in sent}
    assert bridge.stats[FROM].dead_lettered == 0


@pytest.mark.parametrize("pair", [("rabbitmq", "kafka"), ("rabbitmq", "rabbitmq")], indirect=True, ids="-to-".join)
async def test_the_name_in_a_routing_key_is_not_lost(pair: Pair) -> None:
    async with pair.bridge(format="evenbet") as bridge, bridge.serving(), pair.reading() as got:
        await pair.old.plain(pair.topic, [("OnGameDone", b"no json")], place="routing_key")
        await until(lambda: len(got) == 1)
    [one] = got
    name = one.routing_key if pair.new.name == "rabbitmq" else one.headers["event"]
    assert (name, one.body) == (b"OnGameDone" if isinstance(name, bytes) else "OnGameDone", b"no json")
    assert ("event" in one.headers) == (pair.new.name == "kafka")


@pytest.mark.parametrize("pair", [("rabbitmq", "kafka"), ("rabbitmq", "rabbitmq")], indirect=True, ids="-to-".join)
async def test_what_only_rabbitmq_has_goes_along(pair: Pair, rabbit_broker: RabbitBroker) -> None:
    handled: list[int | None] = []
    reader = pair.new.bus(topic=pair.to_topic, format="json", name_from="header:event", group="reader")

    @reader.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown) -> None:
        handled.append(event.player_id)

    packed = aio_pika.Message(
        gzip.compress(b'{"playerId": 1, "tableId": 1}'),
        headers={"event": "OnPlayerSeatedDown"},
        content_encoding="gzip",
        priority=7,
        reply_to="answers",
    )
    async with pair.bridge() as bridge, bridge.serving(), pair.reading() as got, reader, reader.serving():
        async with await aio_pika.connect(rabbit_broker.url) as connection:
            exchange = await (await connection.channel()).get_exchange(pair.topic, ensure=False)
            await exchange.publish(packed, "any")
        await until(lambda: bool(got and handled), seconds=60)
    assert handled == [1]
    [one] = got
    if pair.new.name == "rabbitmq":
        properties = one.native.header.properties
        assert (properties.priority, properties.reply_to, properties.content_encoding) == (7, "answers", "gzip")
    else:
        assert one.headers["bk-property-priority"] == b"7"


@pytest.mark.parametrize("pair", [("redis-list", "redis-streams")], indirect=True, ids="-to-".join)
async def test_a_plain_message_without_a_name_passes(pair: Pair) -> None:
    async with pair.bridge() as bridge, bridge.serving(), pair.reading() as got:
        await pair.old.plain(pair.topic, [("", b"\x00 whatever")], place="topic")
        await until(lambda: len(got) == 1)
    assert (got[0].body, got[0].key, Message("", b"", headers=got[0].headers).headers) == (b"\x00 whatever", None, {})


@pytest.mark.parametrize("pair", [("redis-list", "memory")], indirect=True, ids="-to-".join)
async def test_a_filter_acknowledges_the_others_and_keeps_what_has_no_name(pair: Pair) -> None:
    async with pair.bridge(events=["Wanted"]) as bridge, bridge.serving(), pair.reading() as got:
        async with pair.producer() as producer:
            await publish(producer, *(Message(name, name.encode(), id=name) for name in ("Other", "Wanted", "Third")))
        await pair.old.plain(pair.topic, [("", b"nameless")], place="topic")
        await until(lambda: bool(got and bridge.stats[FROM].dead_lettered))
        assert (await bridge.health(lag=True)).sources[FROM].lag == 0
    assert [one.id for one in got] == ["Wanted"]
    assert bridge.stats[FROM].skipped == 2
    [letter] = await pair.old.dead_letters(1, group="bridge")
    assert letter.body == b"nameless"


@pytest.mark.parametrize("pair", [("redis-streams", "sqs"), ("rabbitmq", "kafka")], indirect=True, ids="-to-".join)
async def test_what_the_target_can_never_take_is_a_dead_letter_and_the_others_go_on(pair: Pair) -> None:
    large = b"x" * 1_100_000
    async with pair.bridge() as bridge, bridge.serving(), pair.reading() as got, pair.producer() as producer:
        await publish(
            producer, *(Message("E", body, key="k", id=str(body[:5])) for body in (b"first", large, b"third"))
        )
        await until(lambda: len(got) == 2 and bridge.stats[FROM].dead_lettered == 1)
    assert {one.body for one in got} == {b"first", b"third"}
    [letter] = await pair.old.dead_letters(1, group="bridge")
    assert letter.body == large
    assert letter.headers["bk-error-type"] in ("MessageTooLarge", b"MessageTooLarge")


@pytest.mark.parametrize("pair", [("memory", "redis-streams")], indirect=True, ids="-to-".join)
async def test_everything_waits_in_order_while_the_target_is_away(pair: Pair, redis_broker: RedisBroker) -> None:
    messages = [Message("E", b"%d" % number, key=f"k{number % 3}", id=f"{number}") for number in range(300)]
    async with pair.bridge(publish_timeout=2.0) as bridge, bridge.serving(), pair.producer() as producer:
        async with pair.reading() as got:
            await publish(producer, *messages[:100])
            await until(lambda: len(got) == 100)
        await asyncio.to_thread(redis_broker.stop)
        try:
            await publish(producer, *messages[100:])
            async with asyncio.timeout(20):
                while not (await bridge.health()).targets["to"].failures:
                    await asyncio.sleep(0.05)
            assert bridge.stats[FROM].handled == 100
        finally:
            await asyncio.to_thread(redis_broker.start)
        async with pair.reading() as got:
            await until(lambda: len({one.id for one in got}) == 200, seconds=40)
    for key in ("k0", "k1", "k2"):
        came = list(dict.fromkeys(one.id for one in got if one.key == key.encode()))
        assert came == [one.id for one in messages[100:] if one.key == key]
    assert (bridge.stats[FROM].failed, bridge.stats[FROM].dead_lettered) == (0, 0)


@pytest.mark.parametrize("pair", [("memory", "kafka")], indirect=True, ids="-to-".join)
async def test_from_a_websocket(pair: Pair) -> None:
    async with playing() as server:
        url = f"{server.url}?topic=thrillpots&token=good&format=thrillconnect"
        bridge = Bus.bridge(url, pair.urls[1], to_topic=pair.to_topic)
        async with bridge, bridge.serving(), pair.reading() as got:
            await until(lambda: bool(server.connections))
            texts = [json.dumps(one, indent=1) for one in PUSHED]
            await server.push(*texts)
            await until(lambda: len(got) == len(texts))
    assert sorted(one.body or b"" for one in got) == sorted(text.encode() for text in texts)


def test_a_bridge_that_would_feed_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match="read what it publishes"):
        Bus.bridge("redis://user:one@localhost/0", "rediss://LOCALHOST/0", topic="events", group="g")
    Bus.bridge("redis://localhost/0", "redis://localhost/0", topic="events", to_topic="others", group="g")
    Bus.bridge("redis://localhost/0", "redis://localhost/1", topic="events", group="g")


def test_several_topics_need_a_place_to_go_to() -> None:
    with pytest.raises(ConfigError, match="to_topic"):
        Bus.bridge("redis://localhost", "kafka://localhost", topic=["a", "b"], group="g")


def test_urls_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="url is missing"):
        Bus.bridge(topic="a", group="g")
    monkeypatch.setenv("BROKERKIT_SOURCES__FROM__URL", "memory://a")
    monkeypatch.setenv("BROKERKIT_TARGETS__TO__URL", "memory://b")
    assert repr(Bus.bridge(topic="a", group="g")) == "<Bus: closed, sources ['from'], targets ['to'], 1 handlers>"
    monkeypatch.setenv("BROKERKIT_TARGETS__MORE__URL", "memory://c")
    with pytest.raises(ConfigError, match="to', not more"):
        Bus.bridge(topic="a", group="g")


async def test_two_bridges_that_feed_each_other_end_in_a_dead_letter(pair: Pair) -> None:
    there = pair.bridge()
    back = Bus.bridge(*reversed(pair.urls), topic=pair.to_topic, to_topic=pair.topic, group="bridge")
    async with there, back, there.serving(), back.serving(), pair.producer() as producer:
        await publish(producer, Message("E", b"round"))
        await until(lambda: there.stats[FROM].dead_lettered + back.stats[FROM].dead_lettered == 1)
        assert there.stats[FROM].handled + back.stats[FROM].handled == 16


async def test_a_message_says_how_many_bridges_it_came_over(pair: Pair) -> None:
    async with pair.bridge() as bridge, bridge.serving(), pair.reading() as got, pair.producer() as producer:
        await publish(producer, Message("E", b"1"))
        await until(lambda: len(got) == 1)
    assert got[0].headers[HOPS] == "1"
