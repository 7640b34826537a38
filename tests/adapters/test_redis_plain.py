"""What is published to a Redis list or channel is a plain body, unless the envelope is asked for."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.adapters.redis_seam import raw_client, unique
from tests.brokers.redis import RedisBroker
from tests.every_broker import until

from brokerkit import Bus, ConfigError, InvalidMessage, Message, Receipt, RetryPolicy
from brokerkit.adapters.redis._wire import MAGIC
from brokerkit.events.evenbet import OnPlayerSeatedDown

NAME = "OnPlayerSeatedDown"
SCHEMES = ["redis+list", "redis+pubsub"]
IN_BODY: list[dict[str, Any]] = [
    {"format": "evenbet", "name_from": "field:event"},
    {"format": "json", "name_from": ("header:event", "field:event")},
    {"format": "cloudevents-structured"},
]
BESIDE: list[dict[str, Any]] = [{"format": "evenbet"}, {"format": "json"}, {"format": "cloudevents"}]


class Place:
    """A list or a channel, and what a plain client sees in it."""

    def __init__(self, url: str, scheme: str) -> None:
        self.url = url.replace("redis", scheme, 1)
        self.topic = unique()
        self._plain_url = url
        self._scheme = scheme

    def bus(self, **settings: Any) -> Bus:
        return Bus(self.url, **{"topic": self.topic, "provision": "all", "dead_letter": None} | settings)

    async def seen(self, bus: Bus, *publish: Any) -> list[bytes]:
        """What a plain client reads of what the functions publish."""
        async with raw_client(self._plain_url) as raw, raw.pubsub() as listener:
            await listener.subscribe(self.topic)
            async with bus:
                for one in publish:
                    await one(bus)
            if self._scheme == "redis+list":
                return await raw.lrange(self.topic, 0, -1)  # type: ignore[no-any-return]
            found: list[bytes] = []
            async with asyncio.timeout(10):
                while len(found) < len(publish):
                    if (got := await listener.get_message(timeout=1)) and got["type"] == "message":
                        found.append(got["data"])
            return found


@pytest.fixture(params=SCHEMES)
def place(request: pytest.FixtureRequest, redis_broker: RedisBroker) -> Place:
    return Place(redis_broker.url, request.param)


def seated(number: int) -> OnPlayerSeatedDown:
    return OnPlayerSeatedDown(player_id=number)


@pytest.mark.parametrize("settings", IN_BODY, ids=lambda one: one["format"])
async def test_a_body_that_holds_its_name_is_all_there_is(place: Place, settings: dict[str, Any]) -> None:
    (value,) = await place.seen(place.bus(**settings), lambda bus: bus.publish(seated(7)))
    body = json.loads(value)
    assert NAME in (body.get("event"), body.get("type"))
    assert '"playerId": 7' in json.dumps(body)


@pytest.mark.parametrize("settings", BESIDE, ids=lambda one: one["format"])
async def test_a_name_that_needs_a_header_is_refused_with_what_to_do(place: Place, settings: dict[str, Any]) -> None:
    async with place.bus(**settings) as bus:
        with pytest.raises(InvalidMessage, match='envelope = "brokerkit".*cloudevents-structured'):
            await bus.publish(seated(7))


async def test_what_the_publisher_gave_is_refused_by_its_name_and_never_dropped(place: Place) -> None:
    async with place.bus(**IN_BODY[0]) as bus:
        for given, named in (
            ({"headers": {"tenant": "a", "x": b"\xff"}}, "header 'tenant', header 'x'"),
            ({"headers": {"traceparent": "00-0-0-00"}}, "header 'traceparent'"),
            ({"headers": {"content-type": "text/plain"}}, "header 'content-type'"),
            ({"key": "table-7"}, "the key"),
            ({"id": "mine"}, "the id"),
        ):
            with pytest.raises(InvalidMessage, match=f"{named} cannot be sent"):
                await bus.publish(seated(7), **given)
        with pytest.raises(InvalidMessage, match="header 'a', the key, the id"):
            await bus.publish(Message(NAME, b'{"event":"OnPlayerSeatedDown"}', headers={"a": "b"}, key="k", id="i"))
        good, bad = await bus.publish_many([seated(1), Message(NAME, b'{"event":"OnPlayerSeatedDown"}', key="k")])
        assert isinstance(good, Receipt) and isinstance(bad, InvalidMessage)


async def test_an_id_that_the_format_has_a_place_for_travels(place: Place) -> None:
    bus = place.bus(format="cloudevents-structured")
    (value,) = await place.seen(bus, lambda bus: bus.publish(seated(7), id="mine"))
    assert json.loads(value)["id"] == "mine"


async def test_the_envelope_carries_all_when_it_is_asked_for(place: Place) -> None:
    bus = place.bus(format="evenbet", envelope="brokerkit")
    (value,) = await place.seen(bus, lambda bus: bus.publish(seated(7), key="k", headers={"tenant": "a"}, id="mine"))
    assert value.startswith(MAGIC)


async def test_a_reader_takes_both_and_what_its_handlers_publish_is_plain(place: Place) -> None:
    got: list[tuple[int | None, str | None, Any]] = []
    bus = place.bus(format="evenbet", name_from=("header:event", "field:event"), group="g")

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        got.append((event.player_id, message.id, message.headers.get("tenant")))
        if event.player_id == 1:
            await bus.publish(seated(100))  # follows from 1, which nobody said to write down

    async with bus, bus.serving(), place.bus(format="evenbet", envelope="brokerkit") as older:
        await older.publish(seated(1), id="one", headers={"tenant": "a"})
        await until(lambda: len(got) == 2)
        await bus.publish(seated(2))
        await until(lambda: len(got) == 3)
    assert got == [(1, "one", "a"), (100, None, None), (2, None, None)]


async def test_retries_and_dead_letters_of_plain_values_keep_what_is_known_of_them(redis_broker: RedisBroker) -> None:
    place = Place(redis_broker.url, "redis+list")
    bus, calls, mended = (
        place.bus(**IN_BODY[0], group="g", hold=0, lease=3, retry=RetryPolicy(attempts=2, first=0.3, jitter=False)),
        list[int](),
        False,
    )

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        calls.append(message.attempt)
        if not mended:
            raise RuntimeError("no luck")

    async with bus, bus.serving():
        await bus.publish(seated(1))
        await until(lambda: bus.stats["bus"].dead_lettered == 1)
        assert calls == [1, 2]
        letters = [letter async for letter in bus.dead_letters()]
        assert [b'"playerId":1' in (letter.message.body or b"") for letter in letters] == [True]
        mended = True
        assert await bus.dead_letters().replay() == 1
        await until(lambda: len(calls) == 3)
    async with raw_client(redis_broker.url) as raw:
        assert [key async for key in raw.scan_iter(f"*{place.topic}*")] == []


@pytest.mark.parametrize("url", ["redis://localhost", "kafka://localhost", "amqp://localhost", "memory://"])
def test_the_envelope_is_for_lists_and_channels_alone(url: str) -> None:
    with pytest.raises(ConfigError, match="envelope is for Redis lists and channels"):
        Bus(url, topic="t", group="g", envelope="plain")
