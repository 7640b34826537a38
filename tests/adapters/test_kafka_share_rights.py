"""Users with exactly the rights of docs/rights.md run every role of a share group on a Kafka that asks for rights."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.kafka_roles import SHARE_ROLES, Acl, Role
from tests.adapters.test_kafka_rights import Account, letters, look, publish, purge, says, working
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until

from brokerkit import AccessDenied
from brokerkit._url import Url
from brokerkit.adapters.api import Connection
from brokerkit.adapters.kafka._admin import KafkaAdmin
from brokerkit.adapters.kafka._client import Settings


@pytest.fixture
async def account(secured_kafka: KafkaBroker, tmp_path: Path) -> Account:
    group = f"share-{uuid.uuid4().hex[:8]}"  # its settings stay at the broker
    return Account(secured_kafka, tmp_path / "letters.jsonl", scheme="kafka+share", group=group)


def admin_of(account: Account) -> KafkaAdmin:
    return KafkaAdmin(Settings(Connection(url=Url.parse(account.broker.url))))


async def set_up(account: Account) -> None:
    """Have the group begin at the first message, as somebody who may do that."""
    await admin_of(account).set_group(account.group, {"share.auto.offset.reset": "earliest"})


async def consume(account: Account, **settings: Any) -> None:
    await account.create(account.topic)
    await account.send(account.topic, "good", "bad")
    async with working(account.bus(lease=15.0, **settings)):
        pass


async def consume_alone(account: Account) -> None:
    await set_up(account)
    await consume(account, dead_letter=account.file)


async def consume_what_exists(account: Account) -> None:
    await set_up(account)
    for ending in ("dlq", "share-retry.now", "share-retry.1s"):
        await account.create(f"{account.topic}.{account.group}.{ending}")
    await consume(account, provision="check")


async def replay(account: Account) -> None:
    await account.create(account.topic, account.letters, f"{account.topic}.{account.group}.share-retry.now")
    await account.send(account.letters, "1")
    async with account.bus() as bus:
        assert await bus.dead_letters().replay() == 1
        assert await letters(bus) == 0


Run = Callable[[Account], Awaitable[None]]
RUNS: dict[str, Run] = dict(
    zip(
        (role.name for role in SHARE_ROLES),
        (publish, consume_alone, consume_what_exists, consume, look, replay, purge),
        strict=True,
    )
)


@pytest.mark.parametrize("role", SHARE_ROLES, ids=[role.name for role in SHARE_ROLES])
async def test_a_role_runs_with_exactly_the_rights_of_the_page(account: Account, role: Role) -> None:
    await account.log_in(role.needs)
    await RUNS[role.name](account)


LEFT_OUT = [(role, right) for role in SHARE_ROLES[1:] for right in role.needs]  # to publish is that of Kafka


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


async def test_who_may_do_all_that_helps_loses_nothing_that_kafka_drops(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    role = SHARE_ROLES[3]
    await account.log_in(role.needs + role.uses)
    await consume(account)
    keeps = "errors.deadletterqueue.topic.name" in await admin_of(account).group_settings(account.group)
    assert keeps == ("for good" not in caplog.text)  # from Kafka 4.4 on
