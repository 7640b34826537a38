"""Users with exactly the rights of docs/aws.md run every role on a moto that asks for rights, and call nothing else."""

import asyncio
import copy
import json
import logging
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self
from urllib.parse import quote

import boto3
import pytest
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from tests.adapters.aws_account import make_user
from tests.adapters.aws_roles import S3_ROLES, SNS_ROLES, SQS_ROLES, Role
from tests.every_broker import until, until_async

from brokerkit import AccessDenied, Bus, Message, RetryPolicy
from brokerkit.adapters import make
from brokerkit.adapters.api import Connection, Delivery, Subscription, Url
from brokerkit.adapters.aws import _source
from brokerkit.adapters.aws._client import AwsClient, right
from brokerkit.adapters.aws.sqs import SqsAdapter

GROUP = "wallet"
Log = pytest.LogCaptureFixture


class Account:
    """Users of one AWS account, and an administrator's clients."""

    def __init__(self, options: dict[str, str], clients: Sequence[Any]) -> None:
        self.url = options["endpoint_url"]
        self.iam = boto3.client("iam", **options)
        self.sqs, self.sns, self.s3 = clients
        self.topic = f"t{uuid.uuid4().hex[:10]}"
        self.bucket = f"b{uuid.uuid4().hex[:10]}"
        self.called: set[str] = set()

    async def another(self) -> Self:
        """With names of its own, and what they name."""
        found = copy.copy(self)
        found.topic, found.bucket = f"t{uuid.uuid4().hex[:10]}", f"b{uuid.uuid4().hex[:10]}"
        await found.queues()
        await found.s3.create_bucket(Bucket=found.bucket)
        return found

    async def user(self, rights: Iterable[str]) -> str:
        """The credentials of a new user with these rights, for a URL."""
        # moto asks for the name of the operation; AWS for that of the same without Batch.
        actions = sorted({action for each in rights for action in (each, f"{each}Batch")})
        id, secret = await asyncio.to_thread(make_user, self.iam, f"u{uuid.uuid4().hex[:10]}", actions)
        return f"{id}:{quote(secret, safe='')}"

    def bus(self, user: str, kind: str = "sqs", **settings: Any) -> Bus:
        usual: dict[str, Any] = {
            "endpoint": self.url,
            "topic": self.topic,
            "group": GROUP,
            "format": "json",
            "name_from": "header:event",
            "unknown": "ack",
            "connect_timeout": 60.0,
            "lease": 5.0,
            "hold": 0.0,
            "retry": RetryPolicy(attempts=2, first=0.1, cap=0.1),
        }
        return Bus(f"{kind}://{user}@us-east-1/", **{**usual, **settings})

    async def queues(self) -> None:
        for name in (self.topic, f"{self.topic}__{GROUP}__dlq"):
            await self.sqs.create_queue(QueueName=name)

    async def send(self, *bodies: str) -> None:
        url = (await self.sqs.get_queue_url(QueueName=self.topic))["QueueUrl"]
        for body in bodies:
            event = {"event": {"DataType": "String", "StringValue": "Paid"}}
            await self.sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=event)


@pytest.fixture
async def account(strict_moto: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Account]:
    monkeypatch.setattr(_source, "_LONG_POLL", 1)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(get_session().create_client(service, **strict_moto))
            for service in ("sqs", "sns", "s3")
        ]
        account = Account(strict_moto, clients)
        connect = AwsClient._connect

        async def connected(self: AwsClient) -> Any:
            session = await connect(self)

            def note(model: Any, **_: object) -> None:
                account.called.add(right(model.service_model.service_name, model.name))

            session.client.meta.events.register("before-call", note)
            return session

        monkeypatch.setattr(AwsClient, "_connect", connected)
        yield account


def note(bus: Bus, handled: list[str], fails: set[str]) -> None:
    @bus.on("*")
    async def _(event: Any, message: Message) -> None:
        found = json.loads(message.body or b"")["n"]
        if found in fails:
            raise RuntimeError("no")
        handled.append(found)


def body(n: str, size: int = 0) -> bytes:
    return json.dumps({"n": n, "pad": "x" * size}).encode()


def message(n: str, size: int = 0) -> Message:
    return Message("Paid", body(n, size), headers={"event": "Paid"})


async def letters(bus: Bus) -> int:
    return len([letter async for letter in bus.dead_letters()])


# ---- what each role does ---------------------------------------------------------------------------------------------


async def publish(account: Account, user: str) -> None:
    async with account.bus(user) as bus:
        await bus.publish(message("1"))


@asynccontextmanager
async def working(bus: Bus) -> AsyncIterator[None]:
    """Serve until the message "good" is handled, "bad" is a dead letter after a retry, and nothing is in hand."""
    handled: list[str] = []
    note(bus, handled, {"bad"})
    stored = asyncio.Event()
    bus.add_hook(lambda notice: stored.set() if notice.kind == "dead_letter" else None)
    async with bus, bus.serving():
        yield
        async with asyncio.timeout(90):
            await stored.wait()
        await until(lambda: handled == ["good"], seconds=90)
        await until_async(lambda: _nothing_waits(bus))


async def consume(account: Account, user: str) -> None:
    async with working(account.bus(user)):
        await account.send('{"n": "good"}', '{"n": "bad"}')


async def _nothing_waits(bus: Bus) -> bool:
    return all(source.in_flight == 0 for source in (await bus.health()).sources.values())


async def end_crash_loops(account: Account, user: str) -> None:
    adapter = SqsAdapter(
        Connection(url=Url.parse(f"sqs://{user}@us-east-1/"), endpoint=account.url, connect_timeout=60)
    )
    await adapter.open()
    subscription = Subscription(topics=(account.topic,), group=GROUP, provision="off")
    source = adapter.subscribe(subscription, _ignore)
    delivery = Delivery(body=b"", topic=account.topic, native={"MessageId": "m-1"})
    try:
        assert await source.begin_alone(delivery) == 1
        assert await source.begin_alone(delivery) == 2
        await source.end_alone(delivery)
    finally:
        await adapter.close()


async def _ignore(_: object, *, gone: bool = True) -> None:
    """Nothing is lost here."""


async def create_queues(account: Account, user: str) -> None:
    account.topic += "-new"
    bus = account.bus(user, provision="all")
    async with working(bus):
        for sent in await bus.publish_many([message("good"), message("bad")]):
            if isinstance(sent, Exception):
                raise sent


async def lag(account: Account, user: str) -> None:
    adapter = make(Connection(url=Url.parse(f"sqs://{user}@us-east-1/"), endpoint=account.url, connect_timeout=60))
    await adapter.open()
    source = adapter.subscribe(Subscription(topics=(account.topic,), group=GROUP, provision="off"), _ignore)
    try:
        assert await source.lag() is not None
    finally:
        await adapter.close()


async def _store_a_letter(account: Account) -> None:
    """As somebody else's program does."""
    url = (await account.sqs.get_queue_url(QueueName=f"{account.topic}__{GROUP}__dlq"))["QueueUrl"]
    event = {"event": {"DataType": "String", "StringValue": "Paid"}}
    await account.sqs.send_message(QueueUrl=url, MessageBody='{"n": "dead"}', MessageAttributes=event)


async def look(account: Account, user: str) -> None:
    await _store_a_letter(account)
    async with account.bus(user) as bus:
        assert await letters(bus) == 1


async def replay(account: Account, user: str) -> None:
    await _store_a_letter(account)
    async with account.bus(user) as bus:
        assert await letters(bus) == 1
        assert await bus.dead_letters().replay() == 1


async def purge(account: Account, user: str) -> None:
    await _store_a_letter(account)
    async with account.bus(user) as bus:
        assert await letters(bus) == 1
        assert await bus.dead_letters().purge() == 1


async def sns_publish(account: Account, user: str) -> None:
    await account.sns.create_topic(Name=account.topic)
    bus = account.bus(user, "sns")
    async with bus:
        await bus.publish(message("1"))


async def sns_consume(account: Account, user: str, provision: str = "check") -> None:
    arn = (await account.sns.create_topic(Name=account.topic))["TopicArn"]
    if provision == "check":
        await account.queues()
        url = (await account.sqs.create_queue(QueueName=f"{account.topic}__{GROUP}"))["QueueUrl"]
        found = await account.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        endpoint = found["Attributes"]["QueueArn"]
        raw = {"RawMessageDelivery": "true"}
        await account.sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=endpoint, Attributes=raw)
    event = {"event": {"DataType": "String", "StringValue": "Paid"}}
    async with working(account.bus(user, "sns", provision=provision)):
        for n in ("good", "bad"):
            await account.sns.publish(TopicArn=arn, Message=json.dumps({"n": n}), MessageAttributes=event)


async def sns_create(account: Account, user: str) -> None:
    await sns_consume(account, user, "group")


async def broadcast(account: Account, user: str) -> None:
    arn = (await account.sns.create_topic(Name=account.topic))["TopicArn"]
    handled: list[str] = []
    bus = account.bus(user, "sns", group=None, broadcast=True, dead_letter="file:///tmp/never-written")
    note(bus, handled, set())
    event = {"event": {"DataType": "String", "StringValue": "Paid"}}
    async with bus, bus.serving():
        await account.sns.publish(TopicArn=arn, Message='{"n": "good"}', MessageAttributes=event)
        await until(lambda: handled == ["good"], seconds=90)
        await until_async(lambda: _nothing_waits(bus))


def _bucket(account: Account, **query: str) -> dict[str, str]:
    words = "&".join(f"{name}={value}" for name, value in {"above": "2000", **query}.items())
    return {"large_payloads": f"s3://{account.bucket}?{words}"}


async def _send_large(account: Account) -> None:
    await account.s3.put_object(Bucket=account.bucket, Key="k", Body=body("bad", 5_000))
    await account.s3.put_object(Bucket=account.bucket, Key="l", Body=body("good", 5_000))
    kind = "software.amazon.payloadoffloading.PayloadS3Pointer"
    url = (await account.sqs.get_queue_url(QueueName=account.topic))["QueueUrl"]
    attributes = {
        "event": {"DataType": "String", "StringValue": "Paid"},
        "ExtendedPayloadSize": {"DataType": "Number", "StringValue": "5000"},
    }
    for key in "kl":
        text = json.dumps([kind, {"s3BucketName": account.bucket, "s3Key": key}])
        await account.sqs.send_message(QueueUrl=url, MessageBody=text, MessageAttributes=attributes)


async def consume_s3(account: Account, user: str, **query: str) -> None:
    """A reader needs no right to write, not even for a dead letter."""
    async with working(account.bus(user, **_bucket(account, **query))):
        await _send_large(account)
    left = (await account.s3.list_objects_v2(Bucket=account.bucket)).get("Contents", [])
    assert [found["Key"] for found in left] == (["k"] if query else ["k", "l"])


async def consume_s3_and_delete(account: Account, user: str) -> None:
    await consume_s3(account, user, delete="true")


async def publish_s3(account: Account, user: str) -> None:
    async with account.bus(user, **_bucket(account)) as bus:
        await bus.publish(message("1", 5_000))


Run = Callable[[Account, str], Awaitable[None]]
SQS_RUNS: dict[str, Run] = dict(
    zip(
        (role.name for role in SQS_ROLES),
        (publish, consume, end_crash_loops, create_queues, lag, look, replay, purge),
        strict=True,
    )
)
SNS_RUNS: dict[str, Run] = dict(
    zip((role.name for role in SNS_ROLES), (sns_publish, sns_consume, sns_create, broadcast), strict=True)
)
S3_RUNS: dict[str, tuple[Run, Role]] = {
    S3_ROLES[0].name: (consume_s3, SQS_ROLES[1]),
    S3_ROLES[1].name: (publish_s3, SQS_ROLES[0]),
    S3_ROLES[2].name: (consume_s3_and_delete, SQS_ROLES[1]),
}


async def _run(account: Account, run: Run, rights: Iterable[str]) -> None:
    await run(account, await account.user(rights))


def _ids(role: Role) -> str:
    return role.name


@pytest.mark.parametrize("role", SQS_ROLES, ids=_ids)
async def test_a_role_on_sqs_calls_exactly_what_the_page_says(account: Account, role: Role) -> None:
    await account.queues()
    await _run(account, SQS_RUNS[role.name], role.all)
    assert account.called == role.all


@pytest.mark.parametrize("role", SNS_ROLES, ids=_ids)
async def test_a_role_on_sns_calls_exactly_what_the_page_says(account: Account, role: Role) -> None:
    await _run(account, SNS_RUNS[role.name], role.all)
    assert account.called == role.all


@pytest.mark.parametrize("role", S3_ROLES, ids=_ids)
async def test_bodies_in_s3_need_exactly_what_the_page_says(account: Account, role: Role) -> None:
    await account.queues()
    await account.s3.create_bucket(Bucket=account.bucket)
    run, beside = S3_RUNS[role.name]
    await _run(account, run, role.all | beside.all)
    assert account.called == role.all | beside.all


# ---- what a missing right looks like ---------------------------------------------------------------------------------


ALIKE = {
    "create queues": SQS_ROLES[1].needs,
    "replay dead letters": SQS_ROLES[5].needs,
    "purge dead letters": SQS_ROLES[5].needs,
    "consume, and create what is the group's": SNS_ROLES[1].needs,
    "broadcast": SNS_ROLES[1].needs,
}
"""What a role needs for what another one does too: that is left out there."""
LEFT_OUT = [
    *((role, SQS_RUNS[role.name], frozenset[str]()) for role in SQS_ROLES),
    *((role, SNS_RUNS[role.name], frozenset[str]()) for role in SNS_ROLES),
    *((role, S3_RUNS[role.name][0], S3_RUNS[role.name][1].all) for role in S3_ROLES),
]
OF_NOTHING = {"sns:ListTopics"}
"""Rights that are for no queue or topic."""


async def _runs_without(account: Account, run: Run, rights: frozenset[str], missing: str, log: Log) -> None:
    """Run a role without one right: what is raised or logged must name the user, the right and its object."""
    account = await account.another()
    user = await account.user(rights - {missing})
    of = "" if missing in OF_NOTHING else rf" on \S* ?'?\S*({account.topic}|{account.bucket})"
    named = re.compile(rf"access key '{user.partition(':')[0]}' needs the right {missing}{of}")

    def is_logged() -> bool:
        return any(named.search(each.getMessage()) for each in log.records if each.levelno >= logging.WARNING)

    task = asyncio.create_task(run(account, user))
    await until(lambda: task.done() or is_logged(), seconds=90)
    task.cancel()
    [result] = await asyncio.gather(task, return_exceptions=True)
    if not is_logged():
        assert named.search(f"{result}"), f"{missing}: {result!r}"
        assert isinstance(result, AccessDenied)


@pytest.mark.parametrize(("role", "run", "beside"), LEFT_OUT, ids=[role.name for role, _, _ in LEFT_OUT])
async def test_each_right_that_is_left_out_is_named_or_not_needed(
    account: Account, role: Role, run: Run, beside: frozenset[str], caplog: Log
) -> None:
    needs, left_out = role.needs | beside, role.needs - ALIKE.get(role.name, frozenset())
    few = asyncio.Semaphore(3)  # moto does one thing at a time

    async def one(running: Awaitable[None]) -> None:
        async with few:
            await running

    without = [_runs_without(account, run, needs, missing, caplog) for missing in left_out]
    await asyncio.gather(*map(one, (_run(await account.another(), run, needs), *without)))
