"""Traces over real brokers: from one to another, and through retries, dead letters and replays."""

from __future__ import annotations

import asyncio

import pytest

from brokerkit import Bus, Message, Reject, Retry, RetryPolicy
from brokerkit._metrics._instruments import system_of
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.tracing import instrument
from tests import every_broker, every_redis
from tests.every_broker import Broker, until
from tests.tracing.spans import NAME, Spans, attributes, id_of, links, trace_of

POLICY = RetryPolicy(attempts=3, first=0.05, cap=0.1)


def _traced(broker: Broker, spans: Spans) -> Bus:
    bus = broker.bus(retry=POLICY)
    instrument(bus, tracer_provider=spans.provider)
    return bus


async def test_attempts_dead_letter_and_replay_are_one_trace(broker: Broker) -> None:
    spans = Spans()
    bus, attempts, mended = _traced(broker, spans), list[int](), asyncio.Event()
    replays = not broker.at_most_once

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        attempts.append(message.attempt)
        if message.attempt == 1 and not mended.is_set():
            raise Retry("not yet")
        if not mended.is_set():
            raise Reject("not now")

    async with asyncio.timeout(90), bus, bus.serving():
        receipt = await bus.publish(OnPlayerSeatedDown(player_id=1), key="k" if "fifo" in broker.name else None)
        await until(lambda: len(attempts) == 2)
        if replays:
            await until(lambda: bus.stats["bus"].dead_lettered == 1)
            mended.set()
            await bus.dead_letters().replay()
            await until(lambda: bus.stats["bus"].handled == 1, seconds=60)
    [sent], processed = spans.named("publish"), spans.named("process")
    assert [attributes(span).get("brokerkit.outcome") for span in processed[:2]] == ["retry", "dead_letter"]
    assert [attributes(span)["brokerkit.attempt"] for span in processed[:2]] == [1, 2]
    assert len(processed) == (3 if replays else 2)
    assert {trace_of(span) for span in processed} == {trace_of(sent)}
    assert {(*links(span),) for span in processed} == {(id_of(sent),)}
    system = system_of(bus.runtime.settings.sources["bus"].url.get_secret_value().partition("://")[0])
    for span in (sent, *processed):
        assert attributes(span)["messaging.system"] == system
        assert attributes(span)["messaging.destination.name"] == broker.topic()
        assert attributes(span)["messaging.message.id"] == receipt.id
    if broker.name == "kafka":
        assert receipt.position is not None
        where = ("messaging.destination.partition.id", "messaging.kafka.offset")
        assert f"{attributes(sent)[where[0]]}@{attributes(sent)[where[1]]}" == receipt.position
        assert [attributes(processed[0])[name] for name in where] == [attributes(sent)[name] for name in where]
    if broker.name == "rabbitmq":
        assert attributes(sent)["messaging.rabbitmq.destination.routing_key"] == NAME


@pytest.mark.parametrize("second", ["rabbitmq", "redis-streams"])
async def test_two_services_on_two_brokers_are_one_trace(second: str, request: pytest.FixtureRequest) -> None:
    one = every_broker.kafka(request.getfixturevalue("kafka_broker"))
    two = (
        every_broker.rabbitmq(request.getfixturevalue("rabbit_broker"))
        if second == "rabbitmq"
        else every_redis.redis_streams(request.getfixturevalue("redis_broker"))
    )
    first_spans, second_spans = Spans(), Spans()
    wallet, forwarding, bonus = _traced(one, first_spans), _traced(two, first_spans), _traced(two, second_spans)

    @wallet.on(NAME)
    async def pay(event: OnPlayerSeatedDown) -> None:
        await forwarding.publish_many([OnPlayerSeatedDown(player_id=number) for number in (10, 11)])

    @bonus.on(NAME)
    def give(event: OnPlayerSeatedDown) -> None: ...

    async with asyncio.timeout(90), forwarding, bonus.serving(), wallet, wallet.serving():
        await wallet.publish(OnPlayerSeatedDown(player_id=1), key="k")
        await until(lambda: bonus.stats["bus"].handled == 2, seconds=60)
    everything = [*first_spans.named(""), *second_spans.named("")]
    assert len({trace_of(span) for span in everything}) == 1
    kinds = sorted(span.name.partition(" ")[0] for span in everything)
    assert kinds == ["create", "create", "process", "process", "process", "publish", "publish"]
    created = {id_of(span) for span in first_spans.named("create")}
    assert {span.parent.span_id for span in second_spans.named("process") if span.parent} == created
    systems = {attributes(span)["messaging.system"] for span in everything}
    assert systems == {"kafka", "rabbitmq" if second == "rabbitmq" else "redis"}
