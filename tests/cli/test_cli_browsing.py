"""``brokerkit inspect`` and ``brokerkit tail``: plain clients publish, the commands say what is there."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import tomllib
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aio_pika
import pytest
import redis
from tests.brokers.rabbitmq import RabbitBroker
from tests.brokers.redis import RedisBroker
from tests.cli.program import Cli, Result, Start
from tests.every_broker import Broker
from tests.tools.test_inspection import samples

from brokerkit import Bus, Message
from brokerkit._messages._delivery import ACK
from brokerkit.adapters.api import Subscription

RULES = {
    "accelbyte": "field:name",
    "session": "field:name",
    "thrillconnect": "field:msg_name",
    "thrillpots": "field:event_type",
}
SHOWS_ONLY_NEW = ("rabbitmq", "sns", "redis-pubsub")


def messages(family: str, place: str) -> list[tuple[str, bytes]]:
    """The samples of a family as a plain client sends them."""
    found: list[tuple[str, bytes]] = []
    for sample in samples(family):
        body = sample["wire"] | ({"event": sample["event"]} if place == "field:event" else {})
        found.append((sample["event"], json.dumps(body).encode()))
    return found


def arguments(broker: Broker) -> list[str]:
    endpoint = broker.settings.get("endpoint")
    return [broker.settings["url"], *(["--endpoint", endpoint] if endpoint else [])]


def configuration(out: str) -> dict[str, Any]:
    return tomllib.loads(out[out.index("[bus]") :])


def check(result: Result, family: str, rule: str, tmp_path: Path) -> None:
    assert result.code == 0, result.err
    number = len(samples(family))
    catch_all = sum(sample["event"] == "*" for sample in samples(family))
    assert f"looked at {number} messages\n" in result.out
    assert f"family: {family}\nformat: {family}\nknown names: {number - catch_all} of {number} messages" in result.out
    assert "warning" not in result.out
    bus = configuration(result.out)["bus"]
    rules = bus["name_from"] if isinstance(bus["name_from"], list) else [bus["name_from"]]
    assert (bus["format"], rules[0]) == (family, rule)
    file = tmp_path / f"{uuid.uuid4().hex}.toml"
    file.write_text(result.out[result.out.index("[bus]") :])
    Bus.from_config(file, **({"url": "amqp://u:p@localhost"} if "url" not in bus else {}))


async def ready(broker: Broker, topic: str) -> None:
    """Create a topic that takes what is published though nobody looks yet."""
    await broker.create(topic)  # type: ignore[arg-type]
    if broker.name == "rabbitmq":
        async with await aio_pika.connect(broker.settings["url"]) as connection:
            queue = await (await connection.channel()).declare_queue(f"{topic}-all", durable=True)
            await queue.bind(topic, "#")


@contextmanager
def publishing(send: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Publish again and again: who sees only what is new sees some of it."""
    over = threading.Event()

    def publish() -> None:
        while not over.wait(0.2):
            asyncio.run(send())  # type: ignore[arg-type]

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# ---- inspect ---------------------------------------------------------------------------------------------------------


def test_inspect_proposes_what_fits_every_familys_messages_of_a_plain_client(
    cli: Cli, broker: Broker, tmp_path: Path
) -> None:
    if broker.name in ("memory", "sqs-fifo"):
        return  # nobody else's program can write there; like sqs
    for family in ("evenbet", *RULES):
        place = next(place for place in broker.places if place != "topic") if family == "evenbet" else "body"
        topic = broker.topic(family)
        asyncio.run(ready(broker, topic))

        async def send(topic: str = topic, family: str = family, place: str = place) -> None:
            await broker.plain(topic, messages(family, place), place=place)

        yes = ["--yes"] if broker.name.startswith("sqs") else []
        # As many as there are: SQS is not asked for more.
        inspect = ["inspect", *arguments(broker), "--topic", topic, "--limit", str(len(samples(family))), *yes]
        if broker.name in SHOWS_ONLY_NEW:
            with publishing(send):
                result = cli(*inspect, "--wait", "30")
            assert "shows only new messages" in result.err
        else:
            asyncio.run(send())
            result = cli(*inspect)
        check(result, family, RULES.get(family, place), tmp_path)


@pytest.mark.parametrize(("push", "told"), [("rpush", "left"), ("lpush", "right")])
def test_inspect_says_which_end_of_a_list_holds_the_older_values(
    cli: Cli, redis_broker: RedisBroker, push: str, told: str
) -> None:
    url, topic = redis_broker.url.replace("redis://", "redis+list://"), f"list-{uuid.uuid4().hex}"
    with redis.Redis.from_url(redis_broker.url) as client:
        for number in range(10):
            getattr(client, push)(topic, json.dumps({"name": "a", "timestamp": 1_800_000_000 + number}))
    result = cli("inspect", url, "--topic", topic)
    if told == "left":
        assert "read from the left, where the older values are (timestamp rises)" in result.out
    else:
        assert "the left end holds the newer values (timestamp falls)" in result.out
        assert 'set read_from = "right"' in result.out
        again = cli("inspect", f"{url}?read_from=right", "--topic", topic)
        assert "read from the right, where the older values are (timestamp rises)" in again.out
        assert configuration(again.out)["bus"]["read_from"] == "right"


def fill(broker: RabbitBroker, family: str) -> str:
    """A queue that somebody else declared and filled; EvenBet's names are routing keys."""
    queue = f"inspected-{uuid.uuid4().hex}"

    async def publish() -> None:
        async with await aio_pika.connect(broker.url) as connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange(f"{queue}-exchange", aio_pika.ExchangeType.TOPIC)
            await (await channel.declare_queue(queue, durable=True)).bind(exchange, "#")
            for name, body in messages(family, "body"):
                await exchange.publish(aio_pika.Message(body), routing_key=name if family == "evenbet" else "any.thing")

    asyncio.run(publish())
    return queue


@pytest.fixture
def full_queue(rabbit_broker: RabbitBroker) -> str:
    return fill(rabbit_broker, "evenbet")


def test_inspect_finds_the_field_of_an_entry_that_holds_the_body(cli: Cli, redis_broker: RedisBroker) -> None:
    topic = f"inspected-{uuid.uuid4().hex}"
    with redis.Redis.from_url(redis_broker.url) as client:
        client.xadd(topic, {"message": json.dumps({"playerId": 5}), "event": "OnUserLoggedIn"})
    result = cli("inspect", redis_broker.url, "--topic", topic)
    assert configuration(result.out)["bus"]["body_field"] == "message"
    assert "known names: 1 of 1" in result.out


def test_inspect_finds_that_the_fields_of_an_entry_are_the_event(cli: Cli, redis_broker: RedisBroker) -> None:
    topic = f"inspected-{uuid.uuid4().hex}"
    with redis.Redis.from_url(redis_broker.url) as client:
        client.xadd(topic, {"playerId": "5", "event": "OnUserLoggedIn"})
    result = cli("inspect", redis_broker.url, "--topic", topic)
    found = configuration(result.out)["bus"]
    assert (found["body_field"], found["name_from"]) == ("*", "field:event")
    assert "known names: 1 of 1" in result.out


def test_inspect_proposes_nothing_that_would_read_empty_events(cli: Cli, redis_broker: RedisBroker) -> None:
    topic = f"inspected-{uuid.uuid4().hex}"
    with redis.Redis.from_url(redis_broker.url) as client:
        client.xadd(topic, {"data": json.dumps({"event": "OnUserLoggedIn", "inner": {"playerId": 5}})})
    result = cli("inspect", redis_broker.url, "--topic", topic)
    assert result.code == 0, result.err
    assert "cannot be read as it is: no event has a field of its model" in result.out
    assert "No configuration is proposed." in result.out
    assert "[bus]" not in result.out


@pytest.mark.parametrize("family", RULES)
def test_a_queue_of_rabbitmq_is_inspected_too(
    cli: Cli, rabbit_broker: RabbitBroker, family: str, tmp_path: Path
) -> None:
    result = cli("inspect", rabbit_broker.url, "--queue", fill(rabbit_broker, family), "--yes")
    check(result, family, RULES[family], tmp_path)


def test_where_a_look_touches_messages_it_says_so_and_is_refused_without_a_yes(
    cli: Cli, rabbit_broker: RabbitBroker, full_queue: str, tmp_path: Path
) -> None:
    refused = cli("inspect", rabbit_broker.url, "--queue", full_queue)
    assert (refused.code, refused.out) == (2, "")
    assert "counts as one more delivery" in refused.err
    assert "pass --yes" in refused.err
    result = cli("inspect", rabbit_broker.url, "--queue", full_queue, "--yes")
    check(result, "evenbet", "routing_key", tmp_path)
    bus = configuration(result.out)["bus"]
    assert bus["queue"] == full_queue
    assert "url" not in bus
    assert rabbit_broker.url not in result.out
    assert "set BROKERKIT_URL" in result.out

    async def left() -> int:
        # A consumer still gets all of it.
        bus = Bus(rabbit_broker.url, queue=full_queue, format="evenbet", name_from="routing_key")

        async def lost(_: object, *, gone: bool = True) -> None: ...

        async with bus:
            source = bus.adapter().subscribe(Subscription(topics=(full_queue,), is_queue=True), lost)
            await source.open()
            number = 0
            while number < len(samples("evenbet")):
                got = await source.receive(100)
                await source.settle([(one, ACK) for one in got])
                number += len(got)
            await source.stop()
            await source.close()
        return number

    assert asyncio.run(asyncio.wait_for(left(), 20)) == len(samples("evenbet"))


def test_a_terminal_is_asked(
    cli: Cli, rabbit_broker: RabbitBroker, full_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal:
        def __init__(self, answer: str) -> None:
            self.answer = answer

        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return f"{self.answer}\n"

    monkeypatch.setattr("sys.stdin", Terminal("n"))
    no = cli("inspect", rabbit_broker.url, "--queue", full_queue)
    assert (no.code, no.out) == (2, "")
    assert "Browse them? [y/N]" in no.err
    monkeypatch.setattr("sys.stdin", Terminal("y"))
    assert "known names: 39 of 39" in cli("inspect", rabbit_broker.url, "--queue", full_queue).out


def test_an_empty_topic_and_a_missing_place_are_errors(cli: Cli) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    assert "nothing to browse: give --topic TOPIC or --queue QUEUE" in cli("inspect", url).err
    assert "no topic 'nothing'" in cli("inspect", url, "--topic", "nothing").err

    async def create() -> None:
        async with Bus(url, topic="empty"):
            pass

    asyncio.run(create())
    result = cli("inspect", url, "--topic", "empty")
    assert (result.code, result.err) == (1, "error: there is no message in empty\n")


def test_a_limit_bounds_the_look_and_control_codes_do_not_reach_the_terminal(cli: Cli) -> None:
    url = f"memory://{uuid.uuid4().hex}"

    async def publish() -> None:
        async with Bus(url, topic="strange", format="json", name_from="header:event") as bus:
            for number in range(5):
                await bus.publish(Message("Strange\x1b[31m", b"%d" % number))

    asyncio.run(publish())
    result = cli("inspect", url, "--topic", "strange", "--limit", "2")
    assert "looked at 2 messages" in result.out
    assert "\x1b" not in result.out


# ---- tail ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kafka", "redis-streams", "redis-pubsub", "rabbitmq", "sns"])
def test_tail_shows_a_line_for_each_message_of_the_events_that_are_asked_for(
    cli: Cli, request: pytest.FixtureRequest, name: str
) -> None:
    from tests.conftest import MADE_BY

    broker: Broker = MADE_BY[name](request)
    topic = broker.topic()
    asyncio.run(ready(broker, topic))
    sent = [("OnGameDone", b'{"gameId": 1, "event": "OnGameDone"}'), ("OnUserLoggedIn", b'{"event": "OnUserLoggedIn"}')]

    async def send() -> None:
        await broker.plain(topic, sent, place="field:event")

    tail = ["tail", *arguments(broker), "--topic", topic, "--event", "OnGameDone", "--limit", "2"]
    with publishing(send):
        result = cli(*tail)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert len(lines) == 2
    assert all("  OnGameDone  " in line and '"gameId"' in line for line in lines)
    before = cli(*tail, "--from-start")
    if name in SHOWS_ONLY_NEW:
        assert before.code == 2
        assert "shows only new messages" in before.err
    else:
        assert len(before.out.splitlines()) == 2


def test_ctrl_c_ends_tail_without_a_word(start: Start, redis_broker: RedisBroker, tmp_path: Path) -> None:
    topic = f"tail-{uuid.uuid4().hex}"

    async def publish() -> None:
        async with Bus(redis_broker.url, topic=topic, provision="all", format="evenbet") as bus:
            await bus.publish("OnUserLoggedIn", {"nick": "ann"})

    asyncio.run(publish())
    process = start(["tail", redis_broker.url, "--topic", topic, "--from-start"])
    assert process.stdout is not None
    assert "OnUserLoggedIn" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")
