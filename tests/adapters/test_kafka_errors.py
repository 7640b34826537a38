"""What consumers and producers do about errors: the table as pure logic, and changed answers of a real broker."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from confluent_kafka import KafkaError
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until
from tests.kafka_relay import (
    FETCH,
    GROUP_HEARTBEAT,
    HEARTBEAT,
    INIT_PRODUCER_ID,
    OFFSET_COMMIT,
    OFFSET_FETCH,
    PRODUCE,
    Relay,
)

from brokerkit import Bus, Notice
from brokerkit._errors import AccessDenied, BrokerkitError, ConnectionLost, NotFound, PublishError
from brokerkit.adapters.kafka._errors import Reaction, cause, reaction, translate
from brokerkit.events.evenbet import OnPlayerSeatedDown

CODES = {name: code for name, code in vars(KafkaError).items() if isinstance(code, int) and code}
ANSWERS = {name: code for name, code in CODES.items() if code > -100}

ENDS = {
    "CLUSTER_AUTHORIZATION_FAILED",
    "FENCED_INSTANCE_ID",
    "GROUP_AUTHORIZATION_FAILED",
    "GROUP_MAX_SIZE_REACHED",
    "INCONSISTENT_GROUP_PROTOCOL",
    "INVALID_GROUP_ID",
    "INVALID_REQUEST",
    "INVALID_SESSION_TIMEOUT",
    "MSG_SIZE_TOO_LARGE",
    "SASL_AUTHENTICATION_FAILED",
    "TOPIC_AUTHORIZATION_FAILED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "UNKNOWN_TOPIC_OR_PART",
    "UNRELEASED_INSTANCE_ID",
    "UNSUPPORTED_ASSIGNOR",
    "UNSUPPORTED_COMPRESSION_TYPE",
    "UNSUPPORTED_FOR_MESSAGE_FORMAT",
    "UNSUPPORTED_VERSION",
}


def fatal(name: str) -> KafkaError:
    """What a consumer polls after a fatal error."""
    said = KafkaError(CODES[name]).str()
    return KafkaError(KafkaError._FATAL, f"Fatal error: {said}: ConsumerGroupHeartbeat fatal error: {said}")


def test_no_answer_of_a_broker_ends_a_source_but_those_that_nothing_here_can_change() -> None:
    assert {name for name, code in ANSWERS.items() if reaction(KafkaError(code)) is Reaction.END} == ENDS


@pytest.mark.parametrize(
    "name", ["REBALANCE_IN_PROGRESS", "ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "FENCED_MEMBER_EPOCH"]
)
def test_a_change_of_the_group_is_no_fault(name: str) -> None:
    assert reaction(KafkaError(CODES[name])) is Reaction.IGNORE


@pytest.mark.parametrize(
    "name",
    [
        "NOT_COORDINATOR",
        "COORDINATOR_LOAD_IN_PROGRESS",
        "COORDINATOR_NOT_AVAILABLE",
        "KAFKA_STORAGE_ERROR",
        "FENCED_LEADER_EPOCH",
        "THROTTLING_QUOTA_EXCEEDED",
        "GROUP_ID_NOT_FOUND",
        "_TRANSPORT",
        "_WAIT_COORD",
        "UNKNOWN",
    ],
)
def test_what_passes_is_reported_and_a_publish_tries_again(name: str) -> None:
    error = KafkaError(CODES[name])
    assert reaction(error) is Reaction.REPORT
    assert name == "UNKNOWN" or isinstance(translate(error, "publishing", sending=True), ConnectionLost)


@pytest.mark.parametrize(
    "name", ["_BAD_MSG", "_BAD_COMPRESSION", "_NOT_IMPLEMENTED", "_AUTO_OFFSET_RESET", "_STATE", "_FS"]
)
def test_an_error_of_the_client_itself_ends_the_source_because_it_may_have_skipped_messages(name: str) -> None:
    assert reaction(KafkaError(CODES[name])) is Reaction.END


def test_what_librdkafka_calls_retriable_is_tried_again() -> None:
    error = KafkaError(KafkaError._STATE, "not yet", retriable=True)
    assert reaction(error) is Reaction.REPORT
    assert isinstance(translate(error, "asking"), ConnectionLost)


@pytest.mark.parametrize("name", sorted(set(ANSWERS) - ENDS))
def test_what_is_fatal_to_one_client_is_none_to_the_next(name: str) -> None:
    error = fatal(name)
    assert reaction(error) is Reaction.RENEW
    assert reaction(KafkaError(CODES[name], "gone", fatal=True)) is Reaction.RENEW
    assert isinstance(
        translate(KafkaError(CODES[name], "gone", fatal=True), "publishing", sending=True), ConnectionLost
    )


@pytest.mark.parametrize("name", sorted(ENDS))
def test_what_is_fatal_to_every_client_ends_the_source(name: str) -> None:
    error = fatal(name)
    assert cause(error) == CODES[name]
    assert reaction(error) is Reaction.END
    assert reaction(KafkaError(CODES[name], "no", fatal=True)) is Reaction.END


def test_a_client_that_leaves_partitions_unread_is_replaced() -> None:
    text = 'Failed to fetch committed offsets for 2 partition(s) in group "wallet": Broker: Not coordinator'
    assert reaction(KafkaError(KafkaError.NOT_COORDINATOR, text)) is Reaction.RENEW


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("TOPIC_AUTHORIZATION_FAILED", AccessDenied),
        ("UNKNOWN_TOPIC_OR_PART", NotFound),
        ("_PURGE_QUEUE", ConnectionLost),
        ("_FATAL", ConnectionLost),
        ("INVALID_RECORD", PublishError),
    ],
)
def test_a_failed_publish_is_translated(name: str, kind: type[BrokerkitError]) -> None:
    error = translate(KafkaError(CODES[name]), "publishing", sending=True)
    assert type(error) is kind
    assert name in str(error)


# On a real broker, some of whose answers are changed on their way.


class Scene:
    def __init__(self, relay: Relay, **options: Any) -> None:
        self.relay = relay
        self.handled: list[int | None] = []
        self.lost: list[str] = []
        self.published = 0
        self.bus = Bus(
            f"kafka://{relay.address}",
            topic=f"errors-{uuid.uuid4().hex[:10]}",
            group=f"wallet-{uuid.uuid4().hex[:10]}",
            provision="all",
            format="evenbet",
            options={"retry.backoff.ms": 20, **options},
        )
        self.bus.on("OnPlayerSeatedDown")(self.handle)
        self.bus.add_hook(self.told)

    async def handle(self, event: OnPlayerSeatedDown) -> None:
        self.handled.append(event.player_id)

    def told(self, notice: Notice) -> None:
        if notice.kind == "connection_lost" and notice.source:
            self.lost.append(str(notice.error))

    async def publish(self) -> None:
        """One message more, which must be handled."""
        self.published += 1
        await self.bus.publish(OnPlayerSeatedDown(player_id=self.published), key=str(self.published))
        await until(lambda: set(range(1, self.published + 1)) <= set(self.handled), seconds=40)

    async def answer(self, api: int, name: str) -> None:
        """Give one answer this error; a message that is published meanwhile is handled."""
        rule = self.relay.answer(api, CODES[name])
        await self.publish()
        async with asyncio.timeout(20):
            await rule.given.wait()
        await self.publish()


@pytest.fixture
async def relay(kafka_broker: KafkaBroker) -> AsyncIterator[Relay]:
    async with Relay(kafka_broker.address) as relay:
        yield relay


async def test_a_classic_member_survives_answers_that_are_not_fatal(relay: Relay) -> None:
    scene = Scene(relay, **{"heartbeat.interval.ms": 200, "session.timeout.ms": 6000})
    async with scene.bus, scene.bus.serving():
        await scene.publish()
        for name in ("REBALANCE_IN_PROGRESS", "NOT_COORDINATOR", "COORDINATOR_LOAD_IN_PROGRESS"):
            await scene.answer(OFFSET_COMMIT, name)
        for name in ("COORDINATOR_NOT_AVAILABLE", "UNKNOWN_MEMBER_ID"):
            await scene.answer(HEARTBEAT, name)
        for name in ("KAFKA_STORAGE_ERROR", "FENCED_LEADER_EPOCH", "THROTTLING_QUOTA_EXCEEDED", "UNKNOWN"):
            await scene.answer(FETCH, name)
        await until(lambda: scene.bus.stats["bus"].handled >= scene.published)


async def test_a_member_of_the_newer_protocol_is_made_anew_after_what_is_fatal_to_it(relay: Relay) -> None:
    scene = Scene(relay, **{"group.protocol": "consumer"})
    async with scene.bus, scene.bus.serving():
        await scene.publish()
        for name in ("NOT_COORDINATOR", "FENCED_MEMBER_EPOCH"):
            await scene.answer(GROUP_HEARTBEAT, name)
        assert scene.lost == []
        for name in ("GROUP_ID_NOT_FOUND", "UNKNOWN"):
            await scene.answer(GROUP_HEARTBEAT, name)
        assert [each for each in scene.lost if "a new client replaces this one" in each]
        async with asyncio.timeout(20):
            while not (await scene.bus.health()).ready:
                await asyncio.sleep(0.05)


async def test_a_group_that_may_not_be_read_ends_the_source(relay: Relay) -> None:
    scene = Scene(relay, **{"group.protocol": "consumer"})
    with pytest.raises(AccessDenied, match="GROUP_AUTHORIZATION_FAILED|Group authorization failed"):
        async with scene.bus, scene.bus.serving():
            await scene.publish()
            await scene.answer(GROUP_HEARTBEAT, "GROUP_AUTHORIZATION_FAILED")


async def test_partitions_whose_offset_could_not_be_fetched_are_not_left_unread(relay: Relay) -> None:
    scene = Scene(relay, **{"heartbeat.interval.ms": 200})
    rule = relay.answer(OFFSET_FETCH, CODES["INVALID_TXN_STATE"])
    async with scene.bus, scene.bus.serving():
        await scene.publish()
        assert rule.given.is_set()
        assert [each for each in scene.lost if "Failed to fetch committed" in each]


async def test_a_publish_outlives_answers_that_are_not_fatal_and_a_producer_that_is_of_no_more_use(
    relay: Relay,
) -> None:
    scene = Scene(relay)
    async with scene.bus:
        for name in (
            "KAFKA_STORAGE_ERROR",
            "THROTTLING_QUOTA_EXCEEDED",
            "INVALID_PRODUCER_EPOCH",
            "OUT_OF_ORDER_SEQUENCE_NUMBER",
        ):
            rule = relay.answer(PRODUCE, CODES[name])
            await scene.bus.publish(OnPlayerSeatedDown(player_id=1))
            assert rule.given.is_set()


async def test_a_producer_without_the_right_to_be_one_says_so(relay: Relay) -> None:
    scene = Scene(relay)
    relay.answer(INIT_PRODUCER_ID, CODES["CLUSTER_AUTHORIZATION_FAILED"], times=1_000)
    async with scene.bus:
        with pytest.raises(AccessDenied, match="CLUSTER_AUTHORIZATION_FAILED"):
            await scene.bus.publish(OnPlayerSeatedDown(player_id=1))
