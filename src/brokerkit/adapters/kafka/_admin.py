"""Asks a Kafka cluster what needs no consumer: whether it answers, which topics it has, where they end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
    admin,
)

from brokerkit.adapters.api import AccessDenied, BrokerkitError, Closed, ConnectionLost, NotFound, watch
from brokerkit.adapters.kafka._client import LIBRDKAFKA, Partition, Settings, check_topic, ignored
from brokerkit.adapters.kafka._errors import LEADERLESS, Needed, kafka_error, translate, translated

# The type stubs of the client library export half of this module, and leave the results of its futures untyped.
library: Final[Any] = admin
library_isolation: Final[Any] = IsolationLevel
library_offsets: Final[Any] = ConsumerGroupTopicPartitions

_EACH: Final = 0.05
"""Seconds more to wait for each topic to create: a broker creates its partitions one after another."""

_AT_ONCE: Final = 1_000
"""Topics in one request."""

_RECORDS: Final = 2_000
"""Metadata records that one request may create. A KRaft controller takes 10,000 at once."""

_DEFAULT_PARTITIONS: Final = 16
"""Assumed for a topic with the broker's default number of partitions, which is not known here."""

POLL: Final = 0.02
"""Seconds between two checks of an answer, while errors are watched too."""


class Identity(NamedTuple):
    """What tells a topic from another one of the same name.

    Attributes:
        id: the broker's own id of the topic. It is the same for all topics of brokers that have none (before Kafka 2.8).
        partitions: how many it has.
    """

    id: str
    partitions: int


class GroupSetting(NamedTuple):
    """A setting of a group.

    Attributes:
        value: as text.
        own: it was set for this group. Otherwise the group has it from the broker.
    """

    value: str
    own: bool


class KafkaAdmin:
    """One admin client. Its futures can be awaited, and its errors are translated."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._last_error: KafkaError | None = None
        with translated(f"cannot make a client of {settings.where}"):
            self._open: Any = settings.login.make(
                library.AdminClient, settings.configure_admin(self._on_error), logger=LIBRDKAFKA
            )

    @property
    def _client(self) -> Any:
        if self._open is None:
            raise Closed(f"{self._settings.where} is closed")
        if self._settings.login.changes:
            # Errors wait for a poll, and a refused password is read again when its error arrives.
            self._open.poll(0)
        return self._open

    def __repr__(self) -> str:
        return f"<KafkaAdmin {self._settings.where}>"

    async def reach(self) -> None:
        """Wait until the cluster answers.

        Raises:
            ConnectionLost: it did not answer within the connect timeout.
            AccessDenied: it refused the credentials.
        """
        timeout = self._settings.connect_timeout
        with translated(f"cannot reach {self._settings.where}"):
            answer: Future[Any] = self._client.describe_cluster(request_timeout=timeout)
        while not answer.done():
            # Only the error callback tells a refused password: the client goes on trying until the timeout.
            with translated(f"cannot reach {self._settings.where}"):
                self._client.poll(0)
            if self._last_error is not None and self._last_error.code() == KafkaError._AUTHENTICATION:  # pyright: ignore[reportPrivateUsage]
                raise translate(self._last_error, f"cannot log in to {self._settings.where}")
            await asyncio.sleep(POLL)
        if answer.exception() is not None:
            raise ConnectionLost(self._unreachable(timeout)) from answer.exception()

    def close(self) -> None:
        """End the client with its threads and connections. Without this they live until the garbage collector runs."""
        self._open = None

    def _unreachable(self, timeout: float) -> str:
        text = f"{self._settings.where} did not answer within {timeout:g} s"
        if self._last_error is None:
            return text
        return f"{text}: {self._last_error.str()}"

    async def topics(self) -> list[str]:
        """The names of all topics that this user may see."""
        with translated(f"cannot list the topics of {self._settings.where}"):
            return list((await asyncio.to_thread(self._client.list_topics, timeout=self._timeout)).topics)

    async def describe(self, topics: Iterable[str], *, denied: set[str] | None = None) -> dict[str, int]:
        """The number of partitions of each topic that exists. For ``denied`` see `identify`."""
        return {topic: found.partitions for topic, found in (await self.identify(topics, denied=denied)).items()}

    async def identify(self, topics: Iterable[str], *, denied: set[str] | None = None) -> dict[str, Identity]:
        """The id and the number of partitions of each topic that exists.

        Args:
            topics: their names.
            denied: gets the topics that this user may not look at. The broker does not tell whether they exist.

        Raises:
            AccessDenied: this user may not look at one of the topics, and ``denied`` is None.
        """
        names = list(dict.fromkeys(topics))
        for topic in names:
            check_topic(topic)
        found: dict[str, Identity] = {}
        for first in range(0, len(names), _AT_ONCE):
            found |= await self._identify(names[first : first + _AT_ONCE], denied)
        return found

    async def _identify(self, topics: list[str], denied: set[str] | None) -> dict[str, Identity]:
        # describe_topics never creates a topic. list_topics(topic) does if the broker's auto.create.topics.enable is on.
        answers = self._client.describe_topics(TopicCollection(topics), request_timeout=self._timeout)
        found: dict[str, Identity] = {}
        for topic, answer in answers.items():
            try:
                description = await self._answer(
                    answer, f"cannot describe topic {topic!r}", self._settings.needed("Describe", topic)
                )
            except NotFound:
                continue
            except AccessDenied:
                if denied is None:
                    raise
                denied.add(topic)
                continue
            found[topic] = Identity(str(description.topic_id), len(description.partitions))
        return found

    async def create(
        self, topics: Mapping[str, int], config: Mapping[str, str] | None = None, *, only_try: bool = False
    ) -> None:
        """Create topics, and wait until they can be used.

        Args:
            topics: the number of partitions of each topic; -1 is the broker's default.
            config: settings of all topics.
            only_try: create nothing, but check whether it would work.
        """
        for part in _split_requests(topics):
            await self._create(part, config, only_try=only_try)
        if not topics or only_try:
            return
        # The controller answers before every broker knows the topic.
        try:
            async with asyncio.timeout(self._timeout + _EACH * len(topics)):
                missing = set(topics)
                while missing := missing - (await self.describe(missing)).keys():
                    await asyncio.sleep(POLL)
        except TimeoutError as error:
            names = ", ".join(list(topics)[:3])
            raise ConnectionLost(f"{self._settings.where} created {names} but does not list them") from error

    async def _create(self, topics: Mapping[str, int], config: Mapping[str, str] | None, *, only_try: bool) -> None:
        new = [
            library.NewTopic(topic, num_partitions=partitions, replication_factor=-1, config=dict(config or {}))
            for topic, partitions in topics.items()
        ]
        answers = self._client.create_topics(new, request_timeout=self._timeout, validate_only=only_try)
        for topic, answer in answers.items():
            try:
                await self._answer(answer, f"cannot create topic {topic!r}", self._settings.needed("Create", topic))
            except BrokerkitError as error:
                cause = error.__cause__
                exists = isinstance(cause, KafkaException) and (
                    kafka_error(cause).code() == KafkaError.TOPIC_ALREADY_EXISTS
                )
                if not exists:
                    raise

    async def ends(self, partitions: Iterable[Partition], *, first: bool = False) -> dict[Partition, int]:
        """The offset behind the last readable message of each partition. With ``first``, the offset of its oldest message.

        Messages of an open transaction, and all messages behind them, cannot be read yet.
        """
        return await self._offsets(partitions, library.OffsetSpec.earliest() if first else library.OffsetSpec.latest())

    async def offsets_at(self, partitions: Iterable[Partition], milliseconds: int) -> dict[Partition, int]:
        """The offset of the first message of each partition with this Unix time or a later one; -1 if there is none."""
        return await self._offsets(partitions, library.OffsetSpec.for_timestamp(milliseconds))

    async def _offsets(self, partitions: Iterable[Partition], spec: Any) -> dict[Partition, int]:
        asked = {TopicPartition(topic, partition): spec for topic, partition in partitions}
        if not asked:
            return {}
        deadline = asyncio.get_running_loop().time() + self._timeout
        while True:
            answers = self._client.list_offsets(
                asked, request_timeout=self._timeout, isolation_level=library_isolation.READ_COMMITTED
            )
            try:
                return {
                    (where.topic, where.partition): (
                        await self._answer(
                            answer,
                            f"cannot find the ends of {where.topic!r}",
                            self._settings.needed("Describe", where.topic),
                        )
                    ).offset
                    for where, answer in answers.items()
                }
            except ConnectionLost as error:
                # A new topic, or one whose node has just died. It gets a leader in a moment.
                cause = error.__cause__
                leaderless = isinstance(cause, KafkaException) and kafka_error(cause).code() in LEADERLESS
                if not leaderless or asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(POLL)

    async def delete_before(self, offsets: Mapping[Partition, int]) -> None:
        """Delete the messages before an offset of each partition.

        Raises:
            AccessDenied: this user has no right to delete from the topic.
        """
        asked = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
        for where, answer in self._client.delete_records(asked, request_timeout=self._timeout).items():
            doing = f"cannot remove messages of topic {where.topic!r}"
            await self._answer(answer, doing, self._settings.needed("Delete", where.topic))

    async def topic_settings(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """The settings of each topic that exists, those included that it has from the cluster.

        Raises:
            AccessDenied: this user may not see them.
        """
        names = list(dict.fromkeys(topics))
        found: dict[str, dict[str, str]] = {}
        for first in range(0, len(names), _AT_ONCE):
            kind = library.ConfigResource.Type.TOPIC
            asked = [library.ConfigResource(kind, topic) for topic in names[first : first + _AT_ONCE]]
            for resource, answer in self._client.describe_configs(asked, request_timeout=self._timeout).items():
                doing = f"cannot read the configuration of topic {resource.name!r}"
                try:
                    config = await self._answer(answer, doing, self._settings.needed("DescribeConfigs", resource.name))
                except NotFound:
                    continue
                found[resource.name] = {name: str(entry.value) for name, entry in config.items()}
        return found

    async def group_settings(self, group: str) -> dict[str, GroupSetting]:
        """The settings of a group, those included that it has from the broker. A group need not exist to have settings.

        Raises:
            AccessDenied: this user may not see them.
        """
        resource = library.ConfigResource(library.ConfigResource.Type.GROUP, group)
        (answer,) = self._client.describe_configs([resource], request_timeout=self._timeout).values()
        needed = self._settings.needed("DescribeConfigs", "", group=group)
        found = await self._answer(answer, f"cannot read the settings of group {group!r}", needed)
        own = library.ConfigSource.GROUP_CONFIG.value
        return {name: GroupSetting(str(entry.value), entry.source == own) for name, entry in found.items()}

    async def set_group(self, group: str, settings: Mapping[str, str]) -> None:
        """Set some settings of a group, and leave the others.

        Raises:
            AccessDenied: this user may not set them.
            BrokerkitError: the broker refuses a value.
        """
        entries = [
            library.ConfigEntry(name, value, incremental_operation=library.AlterConfigOpType.SET)
            for name, value in settings.items()
        ]
        resource = library.ConfigResource(library.ConfigResource.Type.GROUP, group, incremental_configs=entries)
        (answer,) = self._client.incremental_alter_configs([resource], request_timeout=self._timeout).values()
        needed = self._settings.needed("AlterConfigs", "", group=group)
        await self._answer(answer, f"cannot set {', '.join(settings)} of group {group!r}", needed)

    async def members(self, group: str) -> int:
        """How many members a group has now; 0 if there is no such group.

        Raises:
            AccessDenied: this user may not see it.
        """
        (answer,) = self._client.describe_consumer_groups([group], request_timeout=self._timeout).values()
        try:
            found = await self._answer(
                answer, f"cannot describe group {group!r}", self._settings.needed("Describe", "", group=group)
            )
        except BrokerkitError as error:
            cause = error.__cause__
            if isinstance(cause, KafkaException) and kafka_error(cause).code() == KafkaError.GROUP_ID_NOT_FOUND:
                return 0
            raise
        return len(found.members)

    async def commit_for(self, group: str, offsets: Mapping[Partition, int]) -> None:
        """Set the offsets of a group that has no members. The broker refuses it for a group that has some.

        Raises:
            AccessDenied: this user may not read as that group.
        """
        asked = library_offsets(group, [TopicPartition(*tp, offset) for tp, offset in offsets.items()])
        (answer,) = self._client.alter_consumer_group_offsets([asked], request_timeout=self._timeout).values()
        doing = f"cannot move the group {group!r}"
        found = await self._answer(answer, doing, self._settings.needed("Read", "", group=group))
        for each in found.topic_partitions:
            if each.error is not None:
                needed = self._settings.needed("Read", each.topic, group=group)
                raise translate(each.error, f"{doing} on partition {each.partition} of {each.topic!r}", needed=needed)

    async def broker_setting(self, name: str) -> str | None:
        """One setting of a broker of this cluster; None if it has no such setting.

        Raises:
            AccessDenied: this user may not see it.
        """
        cluster = await self._answer(
            self._client.describe_cluster(request_timeout=self._timeout), "cannot list brokers"
        )
        resource = library.ConfigResource(library.ConfigResource.Type.BROKER, str(cluster.nodes[0].id))
        (answer,) = self._client.describe_configs([resource], request_timeout=self._timeout).values()
        needed = self._settings.needed("DescribeConfigs", "")
        found = await self._answer(answer, "cannot read the settings of a broker", needed)
        return str(found[name].value) if name in found else None

    @property
    def _timeout(self) -> float:
        return self._settings.connect_timeout

    async def _answer(self, future: Future[Any], doing: str, needed: Needed | None = None) -> Any:
        with translated(f"{doing} on {self._settings.where}", needed):
            if future.done():
                # Most of the answers to one request are there with the first. To wait for each would cost ten times as much.
                return future.result()
            # Shielded: the client library cannot set the result of a cancelled future.
            waiting = asyncio.wrap_future(future)
            watch(waiting, ignored)
            return await asyncio.shield(waiting)

    def _on_error(self, error: KafkaError) -> None:
        # "All brokers are down" follows an error that gives the reason. Keep the reason.
        if self._last_error is None or error.code() != KafkaError._ALL_BROKERS_DOWN:  # pyright: ignore[reportPrivateUsage]
            self._last_error = error


def _split_requests(topics: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Split topics into requests that a controller accepts. Each topic, its settings and each partition are a record."""
    part: dict[str, int] = {}
    records = 0
    for topic, partitions in topics.items():
        own = 3 + (partitions if partitions > 0 else _DEFAULT_PARTITIONS)
        if part and records + own > _RECORDS:
            yield part
            part, records = {}, 0
        part[topic] = partitions
        records += own
    if part:
        yield part
