"""Questions to a Kafka cluster that need no consumer: is it there, which topics has it, how far do they go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import (
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
    admin,
)

from brokerkit._errors import BrokerkitError, ConnectionLost, NotFound
from brokerkit.adapters.kafka._client import LEADERLESS, LIBRDKAFKA, Settings, kafka_error, translate

# The stubs of the client library export half of this module, and leave what its futures hold untyped.
library: Final[Any] = admin

POLL: Final = 0.02
"""Seconds between two looks at an answer that must not be waited for blindly."""


class KafkaAdmin:
    """One admin client, with its futures made awaitable and its errors translated."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._trouble: KafkaError | None = None
        self._client = library.AdminClient(settings.producer(self._on_error), logger=LIBRDKAFKA)

    def __repr__(self) -> str:
        return f"<KafkaAdmin {self._settings.where}>"

    async def reach(self) -> None:
        """Wait until the cluster answers.

        Raises:
            ConnectionLost: it did not within the connect timeout.
            AccessDenied: it refused the credentials.
        """
        timeout = self._settings.connect_timeout
        answer: Future[Any] = self._client.describe_cluster(request_timeout=timeout)
        while not answer.done():
            # A refused password shows in the error callback alone: the client goes on trying until the timeout.
            self._client.poll(0)
            if self._trouble is not None and self._trouble.code() == KafkaError._AUTHENTICATION:  # pyright: ignore[reportPrivateUsage]
                raise translate(self._trouble, f"cannot log in to {self._settings.where}")
            await asyncio.sleep(POLL)
        if answer.exception() is not None:
            raise ConnectionLost(self._unreachable(timeout)) from answer.exception()

    def _unreachable(self, timeout: float) -> str:
        text = f"{self._settings.where} did not answer within {timeout:g} s"
        if self._trouble is None:
            return text
        hint = ""
        if "SSL handshake failed" in self._trouble.str():
            hint = "; a broker that does not speak TLS needs the option security.protocol=SASL_PLAINTEXT"
        return f"{text}: {self._trouble.str()}{hint}"

    async def describe(self, topics: Sequence[str]) -> dict[str, int]:
        """The number of partitions of each topic that exists."""
        if not topics:
            return {}
        # describe_topics never creates a topic; list_topics(topic) does where the broker's auto.create.topics.enable is on.
        answers = self._client.describe_topics(
            TopicCollection(list(dict.fromkeys(topics))), request_timeout=self._timeout
        )
        found: dict[str, int] = {}
        for topic, answer in answers.items():
            try:
                found[topic] = len((await self._answer(answer, f"cannot look at topic {topic!r}")).partitions)
            except NotFound:
                continue
        return found

    async def create(self, topics: Mapping[str, int], config: Mapping[str, str] | None = None) -> None:
        """Create topics with so many partitions each (-1: the broker's default), and wait until they can be used."""
        if not topics:
            return
        new = [
            library.NewTopic(topic, num_partitions=partitions, replication_factor=-1, config=dict(config or {}))
            for topic, partitions in topics.items()
        ]
        for topic, answer in self._client.create_topics(new, request_timeout=self._timeout).items():
            try:
                await self._answer(answer, f"cannot create topic {topic!r}")
            except BrokerkitError as error:
                cause = error.__cause__
                exists = isinstance(cause, KafkaException) and (
                    kafka_error(cause).code() == KafkaError.TOPIC_ALREADY_EXISTS
                )
                if not exists:
                    raise
        # The controller answers before every broker knows the topic.
        try:
            async with asyncio.timeout(self._timeout):
                while len(await self.describe(list(topics))) < len(topics):
                    await asyncio.sleep(POLL)
        except TimeoutError as error:
            raise ConnectionLost(f"{self._settings.where} created {list(topics)} and does not show them") from error

    async def ends(self, partitions: Iterable[tuple[str, int]], *, first: bool = False) -> dict[tuple[str, int], int]:
        """The offset that the next message of each partition will have; with ``first`` that of its oldest message."""
        spec = library.OffsetSpec.earliest() if first else library.OffsetSpec.latest()
        asked = {TopicPartition(topic, partition): spec for topic, partition in partitions}
        if not asked:
            return {}
        deadline = asyncio.get_running_loop().time() + self._timeout
        while True:
            answers = self._client.list_offsets(asked, request_timeout=self._timeout)
            try:
                return {
                    (where.topic, where.partition): (
                        await self._answer(answer, f"cannot look at {where.topic!r}")
                    ).offset
                    for where, answer in answers.items()
                }
            except ConnectionLost as error:
                # A new topic, or one whose node has just died: its leader comes in a moment.
                cause = error.__cause__
                leaderless = isinstance(cause, KafkaException) and kafka_error(cause).code() in LEADERLESS
                if not leaderless or asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(POLL)

    async def delete_before(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Delete the messages before an offset of each partition.

        Raises:
            AccessDenied: that takes the right to delete from the topic.
        """
        asked = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
        for where, answer in self._client.delete_records(asked, request_timeout=self._timeout).items():
            await self._answer(answer, f"cannot remove messages of topic {where.topic!r}")

    async def message_limit(self, topic: str) -> int:
        """The most bytes of one message that a topic takes."""
        resource = library.ConfigResource(library.ConfigResource.Type.TOPIC, topic)
        (answer,) = self._client.describe_configs([resource], request_timeout=self._timeout).values()
        config = await self._answer(answer, f"cannot look at the configuration of topic {topic!r}")
        return int(config["max.message.bytes"].value)

    @property
    def _timeout(self) -> float:
        return self._settings.connect_timeout

    async def _answer(self, future: Future[Any], doing: str) -> Any:
        try:
            # Shielded, because the client library cannot deliver into a future that was cancelled.
            return await asyncio.shield(asyncio.wrap_future(future))
        except KafkaException as error:
            raise translate(kafka_error(error), f"{doing} on {self._settings.where}") from error

    def _on_error(self, error: KafkaError) -> None:
        # "All brokers are down" follows the error that says why, and says less.
        if self._trouble is None or error.code() != KafkaError._ALL_BROKERS_DOWN:  # pyright: ignore[reportPrivateUsage]
            self._trouble = error
