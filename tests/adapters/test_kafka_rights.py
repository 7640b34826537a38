"""Users with exactly the rights of docs/rights.md run every role on a Kafka that asks for rights."""

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from tests.adapters.kafka_roles import ROLES, Acl, Role
from tests.adapters.kafka_users import PASSWORD, make_user
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until

from brokerkit import AccessDenied, Bus, Message, RetryPolicy
from brokerkit.adapters import make
from brokerkit.adapters.api import Connection, Seekable, SeekTo, Subscription, Url

GROUP = "wallet"
OPTIONS = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-256"}


class Account:
    """A topic and a group of their own, users who may do something with them, and somebody who may do everything."""

    def __init__(self, broker: KafkaBroker, letters: Path, *, scheme: str = "kafka", group: str = GROUP) -> None:
        self.broker = broker
        self.file = f"file://{letters}"
        self.topic = f"t{uuid.uuid4().hex[:10]}"
        self.group = group
        self.user = ""
        self._scheme = scheme

    @property
    def letters(self) -> str:
        return f"{self.topic}.{self.group}.dlq"

    def acl(self, acl: Acl) -> Acl:
        """Put in the names of topic and group."""
        return replace(acl, name=acl.name.replace("TOPIC", self.topic).replace("GROUP", self.group))

    async def log_in(self, rights: Iterable[Acl]) -> None:
        """From now on, be a new user with these rights."""
        self.user = await make_user(self.broker, [self.acl(acl) for acl in rights])

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.user}:{PASSWORD}@{self.broker.sasl_address}"

    def bus(self, **settings: Any) -> Bus:
        usual: dict[str, Any] = {
            "options": OPTIONS,
            "topic": self.topic,
            "group": self.group,
            "format": "json",
            "name_from": "header:event",
            "unknown": "ack",
            "hold": 0.0,
            "retry": RetryPolicy(attempts=2, first=1.0, cap=1.0),
        }
        return Bus(self.url, **{**usual, **settings})

    async def create(self, *names: str) -> None:
        await asyncio.to_thread(self._create, names)

    def _create(self, names: Iterable[str]) -> None:
        client = AdminClient({"bootstrap.servers": self.broker.address, "log_level": 0})
        for answer in client.create_topics([NewTopic(name, 1) for name in names]).values():
            answer.result()

    async def send(self, topic: str, *names: str) -> None:
        """As somebody else's program does."""
        await asyncio.to_thread(self._send, topic, names)

    def _send(self, topic: str, names: Iterable[str]) -> None:
        producer = self.broker.producer(log_level=0)
        for name in names:
            producer.produce(topic, body(name), headers={"event": "Paid"})
        assert producer.flush(30) == 0


@pytest.fixture
async def account(secured_kafka: KafkaBroker, tmp_path: Path) -> Account:
    return Account(secured_kafka, tmp_path / "letters.jsonl")


def body(n: str) -> bytes:
    return json.dumps({"n": n}).encode()


def message() -> Message:
    return Message("Paid", body("1"), headers={"event": "Paid"})


# ---- what each role does ---------------------------------------------------------------------------------------------


async def publish(account: Account) -> None:
    await account.create(account.topic)
    async with account.bus() as bus:
        await bus.publish(message())


async def create_and_publish(account: Account) -> None:
    async with account.bus(provision="all") as bus:
        await bus.publish(message())


@asynccontextmanager
async def working(bus: Bus) -> AsyncIterator[None]:
    """Serve until "good" is handled, and "bad" is a dead letter after a retry."""
    handled: list[str] = []
    stored: list[object] = []

    @bus.on("*")
    async def _(event: Any, message: Message) -> None:
        handled.append(found := json.loads(message.body or b"")["n"])
        if found == "bad":
            raise RuntimeError("no")

    bus.add_hook(lambda notice: stored.append(notice) if notice.kind == "dead_letter" else None)
    async with bus, bus.serving():
        yield
        await until(lambda: bool(stored), seconds=60)
        assert sorted(handled) == ["bad", "bad", "good"]


async def consume(account: Account, **settings: Any) -> None:
    await account.create(account.topic)
    await account.send(account.topic, "good", "bad")
    async with working(account.bus(**settings)):
        pass


async def consume_alone(account: Account) -> None:
    await consume(account, dead_letter=account.file)


async def consume_what_exists(account: Account) -> None:
    await account.create(account.letters, f"{account.topic}.{GROUP}.retry.1s")
    await consume(account, provision="check")


async def broadcast(account: Account) -> None:
    await account.create(account.topic)
    async with working(account.bus(group=None, broadcast=True, dead_letter=account.file)):
        await account.send(account.topic, "good", "bad")


async def lag(account: Account) -> None:
    await account.create(account.topic)
    await account.send(account.topic, "1", "2")
    adapter = make(Connection(url=Url.parse(account.url), options=OPTIONS))
    await adapter.open()
    source = adapter.subscribe(Subscription(topics=(account.topic,), group=GROUP, provision="off"), _ignore)
    try:
        assert await source.lag() == 2
    finally:
        await source.close()
        await adapter.close()


async def _ignore(_: object, *, gone: bool = True) -> None:
    """Nothing is lost here."""


async def browse(account: Account) -> None:
    await account.create(account.topic)
    await account.send(account.topic, "1", "2")
    adapter = make(Connection(url=Url.parse(account.url), options=OPTIONS))
    await adapter.open()
    try:
        assert len([one async for one in adapter.browse([account.topic])]) == 2
    finally:
        await adapter.close()


async def seek(account: Account) -> None:
    await account.create(account.topic)
    await account.send(account.topic, "1", "2")
    adapter = make(Connection(url=Url.parse(account.url), options=OPTIONS))
    assert isinstance(adapter, Seekable)
    await adapter.open()
    try:
        plan = await adapter.plan_seek([account.topic], GROUP, SeekTo(edge="end"))
        await adapter.seek(GROUP, plan)
        assert (await adapter.plan_seek([account.topic], GROUP, SeekTo(edge="end"))).moves[0].now == "2"
    finally:
        await adapter.close()


async def letters(bus: Bus) -> int:
    return len([letter async for letter in bus.dead_letters()])


async def look(account: Account) -> None:
    await account.create(account.topic, account.letters)
    await account.send(account.letters, "1")
    async with account.bus() as bus:
        assert await letters(bus) == 1


async def replay(account: Account) -> None:
    await account.create(account.topic, f"{account.topic}.{GROUP}.retry.1s", account.letters)
    await account.send(account.letters, "1")
    async with account.bus() as bus:
        assert await bus.dead_letters().replay() == 1
        assert await letters(bus) == 0


async def purge(account: Account) -> None:
    await account.create(account.topic, account.letters)
    await account.send(account.letters, "1")
    async with account.bus() as bus:
        assert await bus.dead_letters().purge() == 1
        assert await letters(bus) == 0


Run = Callable[[Account], Awaitable[None]]
RUNS: dict[str, Run] = dict(
    zip(
        (role.name for role in ROLES),
        (
            publish,
            consume_alone,
            consume_what_exists,
            consume,
            broadcast,
            lag,
            browse,
            seek,
            look,
            replay,
            purge,
            create_and_publish,
        ),
        strict=True,
    )
)


@pytest.mark.parametrize("role", ROLES, ids=[role.name for role in ROLES])
async def test_a_role_runs_with_exactly_the_rights_of_the_page(account: Account, role: Role) -> None:
    await account.log_in(role.needs)
    await RUNS[role.name](account)


def says(text: str, account: Account, missing: Acl) -> bool:
    """Whether an error names the user, the object and the right, or the lesser right that the missing one includes."""
    acl = account.acl(missing)
    lesser = {"Read": "Describe", "Write": "Describe", "AlterConfigs": "DescribeConfigs"}
    rights = (missing.right, lesser.get(missing.right, missing.right))
    name = acl.name.removesuffix("*")
    return any(f"user {account.user!r} needs the right {right} on {acl.object} '{name}" in text for right in rights)


LEFT_OUT = [(role, right) for role in ROLES for right in role.needs]


@pytest.mark.parametrize(("role", "missing"), LEFT_OUT, ids=[f"{role.name}: {right}" for role, right in LEFT_OUT])
async def test_a_right_that_is_left_out_is_named(
    account: Account, role: Role, missing: Acl, caplog: pytest.LogCaptureFixture
) -> None:
    await account.log_in(right for right in role.needs if right != missing)
    task = asyncio.create_task(RUNS[role.name](account))
    await until(lambda: task.done() or any(says(line, account, missing) for line in caplog.messages), seconds=60)
    task.cancel()
    [result] = await asyncio.gather(task, return_exceptions=True)
    if not any(says(line, account, missing) for line in caplog.messages):
        assert says(str(result), account, missing), result
        assert isinstance(result, AccessDenied)
    assert not isinstance(result, KafkaException)


async def test_a_user_who_may_only_read_has_no_trouble_with_a_producer(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    await account.log_in(ROLES[1].needs)
    with caplog.at_level(logging.INFO):
        await consume(account, dead_letter=account.file)
    assert "producer" not in caplog.text
    assert "CLUSTER_AUTHORIZATION_FAILED" not in caplog.text


async def test_a_user_who_may_only_read_learns_in_time_that_it_may_not_publish(account: Account) -> None:
    await account.create(account.topic)
    await account.log_in(ROLES[1].needs)
    async with account.bus(publish_timeout=5.0) as bus:
        for _ in range(2):
            with pytest.raises(AccessDenied, match=f"user '{account.user}' needs the right Write on topic"):
                await bus.publish(message())


async def test_any_user_who_can_log_in_can_open_a_bus(account: Account) -> None:
    """Each time: a client that failed in the background had ended some of the starts."""
    await account.log_in([])
    for _ in range(20):
        adapter = make(Connection(url=Url.parse(account.url), options=OPTIONS))
        await adapter.open()
        await adapter.close()


async def test_without_checks_retry_topics_that_may_not_be_read_are_done_without(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    await account.create(f"{account.topic}.{GROUP}.retry.1s")
    await account.log_in(ROLES[1].needs)
    await consume(account, provision="off", dead_letter=account.file)
    assert says(caplog.text, account, Acl("Read", "topic", "TOPIC.GROUP.*"))
