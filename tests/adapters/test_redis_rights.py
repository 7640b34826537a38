"""Users with exactly the ACL rules of docs/rights.md run every role on Redis."""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import redis.asyncio
from tests.adapters.redis_roles import LISTS, PUBSUB, STREAMS, Role
from tests.brokers.redis import RedisBroker
from tests.every_broker import until

from brokerkit import AccessDenied, Bus, Message, RetryPolicy
from brokerkit.adapters import make
from brokerkit.adapters.api import Connection, Seekable, SeekTo, Url

GROUP: Final = "wallet"
PASSWORD: Final = "a-secret-of-its-own"


class Account:
    """A user, its topic, and somebody who may do everything."""

    def __init__(self, scheme: str, broker: RedisBroker, letters: Path, admin: redis.asyncio.Redis) -> None:
        self.admin = admin
        self.user = f"user-{uuid.uuid4().hex[:10]}"
        self.topic = f"t{uuid.uuid4().hex[:10]}"
        self.url = f"{scheme}://{self.user}:{PASSWORD}@{urlsplit(broker.url).netloc.rpartition('@')[2]}"
        self.file = f"file://{letters}"
        self.group: str | None = None if "list" in scheme else GROUP

    @property
    def letters(self) -> str:
        return f"{{{self.topic}}}.{GROUP}.dlq" if self.group else f"{{{self.topic}}}-dlq"

    def fill(self, name: str) -> str:
        return name.replace("TOPIC", self.topic).replace("GROUP", GROUP)

    async def log_in(self, commands: Iterable[str], keys: Iterable[str], channels: Iterable[str]) -> None:
        """Make the user, who may do this and nothing else."""
        rules = [
            *(f"+{name}" for name in commands),
            *(f"~{self.fill(name)}" for name in keys),
            *(f"&{self.fill(name)}" for name in channels),
        ]
        await self.admin.execute_command(
            "ACL", "SETUSER", self.user, "reset", "resetchannels", "on", f">{PASSWORD}", *rules
        )

    def bus(self, **settings: Any) -> Bus:
        usual: dict[str, Any] = {
            "topic": self.topic,
            "group": self.group,
            "format": "json",
            "name_from": "header:event" if "+" not in self.url.partition(":")[0] else "field:event",
            "unknown": "ack",
            "lease": 2.0,
            "hold": 0.0,
            "retry": RetryPolicy(attempts=2, first=0.1, cap=0.1),
        }
        return Bus(self.url, **{**usual, **settings})

    async def send(self, *names: str, key: str = "") -> None:
        """As somebody else's program does."""
        for name in names:
            if self.url.startswith("redis+list:"):
                await self.admin.rpush(key or self.topic, body(name))
            elif self.url.startswith("redis+pubsub:"):
                await self.admin.publish(self.topic, body(name))
            else:
                await self.admin.xadd(key or self.topic, {"event": "Paid", "data": body(name)})


Make = Callable[[str], Account]


@pytest.fixture
async def make_account(redis_broker: RedisBroker, tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Account] = []
    async with redis.asyncio.from_url(redis_broker.url) as admin:

        def make(scheme: str) -> Account:
            made.append(Account(scheme, redis_broker, tmp_path / "letters.jsonl", admin))
            return made[-1]

        yield make
        for account in made:
            await admin.execute_command("ACL", "DELUSER", account.user)
            async for key in admin.scan_iter(f"*{account.topic}*", count=1_000):
                await admin.delete(key)


def body(n: str) -> bytes:
    return json.dumps({"event": "Paid", "n": n}).encode()


def message(account: Account) -> Message:
    plain = account.url.partition(":")[0] != "redis"
    return Message("Paid", body("1"), headers={} if plain else {"event": "Paid"})


# ---- what each role does ---------------------------------------------------------------------------------------------


async def publish(account: Account) -> None:
    await account.send("0")
    async with account.bus() as bus:
        await bus.publish(message(account))


async def create_and_publish(account: Account) -> None:
    async with account.bus(provision="all") as bus:
        await bus.publish(message(account))


@asynccontextmanager
async def working(bus: Bus, attempts: int = 2) -> AsyncIterator[None]:
    """Serve until "good" is handled, and "bad" is a dead letter after a retry, which takes longer than a lease."""
    handled: list[str] = []
    stored: list[object] = []

    @bus.on("*")
    async def _(event: Any, message: Message) -> None:
        handled.append(found := json.loads(message.body or b"")["n"])
        if found == "bad":
            if handled.count("bad") == 2:
                await asyncio.sleep(1.2)
            raise RuntimeError("no")

    bus.add_hook(lambda notice: stored.append(notice) if notice.kind == "dead_letter" else None)
    async with bus, bus.serving():
        yield
        await until(lambda: bool(stored), seconds=60)
        assert sorted(handled) == ["bad"] * attempts + ["good"]


async def consume(account: Account) -> None:
    await account.send("good", "bad")
    async with working(account.bus()):
        pass


async def consume_what_exists(account: Account) -> None:
    for key in (account.topic, f"{{{account.topic}}}.{GROUP}.retry", account.letters):
        await account.admin.xgroup_create(key, GROUP, 0, mkstream=True)
    await account.send("good", "bad")
    # A member that is gone has had the first one for an hour.
    [[_, [[entry, _]]]] = await account.admin.xreadgroup(GROUP, "gone", {account.topic: ">"}, count=1)
    await account.admin.xclaim(account.topic, GROUP, "gone", 0, [entry], idle=3_600_000)
    async with working(account.bus(provision="check")):
        pass


async def broadcast(account: Account) -> None:
    await account.send("0")
    async with working(account.bus(group=None, broadcast=True)):
        await account.send("good", "bad")


async def listen(account: Account) -> None:
    async with working(account.bus(dead_letter=account.file)):
        await account.send("good", "bad")


async def seek(account: Account) -> None:
    await account.admin.xgroup_create(account.topic, GROUP, 0, mkstream=True)
    await account.send("1", "2")
    adapter = make(Connection(url=Url.parse(account.url)))
    assert isinstance(adapter, Seekable)
    try:
        await adapter.open()
        plan = await adapter.plan_seek([account.topic], GROUP, SeekTo(edge="end"))
        await adapter.seek(GROUP, plan)
    finally:
        await adapter.close()
    [group] = await account.admin.xinfo_groups(account.topic)
    newest = (await account.admin.xinfo_stream(account.topic))["last-generated-id"]
    assert group["last-delivered-id"] == newest


async def letters(bus: Bus) -> int:
    return len([letter async for letter in bus.dead_letters()])


async def look(account: Account) -> None:
    await account.send("0")
    await account.send("1", key=account.letters)
    async with account.bus() as bus:
        assert await letters(bus) == 1


async def replay(account: Account) -> None:
    await account.send("0")
    await account.send("1", key=account.letters)
    if account.group:
        await account.admin.xgroup_create(f"{{{account.topic}}}.{GROUP}.retry", GROUP, 0, mkstream=True)
    async with account.bus() as bus:
        assert await bus.dead_letters().replay() == 1
        assert await letters(bus) == 0


async def purge(account: Account) -> None:
    await account.send("0")
    await account.send("1", key=account.letters)
    async with account.bus() as bus:
        assert await bus.dead_letters().purge() == 1
        assert await letters(bus) == 0


Run = Callable[[Account], Awaitable[None]]
RUNS: Final[dict[str, dict[str, Run]]] = {
    "redis": dict(
        zip(
            (role.name for role in STREAMS),
            (publish, create_and_publish, consume_what_exists, consume, broadcast, seek, look, replay, purge),
            strict=True,
        )
    ),
    "redis+list": dict(zip((role.name for role in LISTS), (publish, consume, look, replay, purge), strict=True)),
    "redis+pubsub": dict(zip((role.name for role in PUBSUB), (publish, listen), strict=True)),
}
ROLES: Final = [
    *(("redis", role) for role in STREAMS),
    *(("redis+list", role) for role in LISTS),
    *(("redis+pubsub", role) for role in PUBSUB),
]


@pytest.mark.parametrize(("scheme", "role"), ROLES, ids=[f"{scheme}: {role.name}" for scheme, role in ROLES])
async def test_a_role_runs_with_exactly_the_rules_of_the_page(make_account: Make, scheme: str, role: Role) -> None:
    account = make_account(scheme)
    await account.log_in(role.commands, role.keys, role.channels)
    await RUNS[scheme][role.name](account)


SELDOM: Final = {
    "redis": {"xrange", "xautoclaim"},  # an entry that was trimmed while somebody had it; a member that died
    "redis+list": {"lpop", "smembers"},  # a value that is there twice, a member that died
    "redis+pubsub": {"{TOPIC}.GROUP.replay"},  # without it no replays are received
}
"""What a role needs in cases that do not occur here."""


def _says(text: str, account: Account, missing: str) -> bool:
    """Whether an error names the user, and the command or the key that is missing."""
    if account.user not in text:
        return False
    if missing.islower():
        # Before 7.0, no subcommand is named, and of a script only its keys.
        name = re.escape(missing.partition("|")[0])
        return (
            re.search(rf"no permissions to run the '{name}|can't run this command.*[(]a script on ", text) is not None
        )
    name = re.escape(account.fill(missing).removesuffix("*"))
    pattern = rf"no permissions to access .*{name}|{name}: (this user has )?no permissions"
    return re.search(pattern, text, re.IGNORECASE) is not None


async def _errors_without(account: Account, run: Run, role: Role, missing: str, log: pytest.LogCaptureFixture) -> None:
    """Run a role without one rule: what is raised or logged must name it."""
    rules = ([one for one in some if one != missing] for some in (role.commands, role.keys, role.channels))
    await account.log_in(*rules)
    task = asyncio.create_task(run(account))
    await until(lambda: task.done() or any(_says(line, account, missing) for line in log.messages), seconds=90)
    task.cancel()
    [result] = await asyncio.gather(task, return_exceptions=True)
    if not any(_says(line, account, missing) for line in log.messages):
        assert _says(str(result), account, missing), f"{missing}: {result!r}"
        assert isinstance(result, AccessDenied)


@pytest.mark.parametrize(("scheme", "role"), ROLES, ids=[f"{scheme}: {role.name}" for scheme, role in ROLES])
async def test_each_rule_that_is_left_out_is_named(
    make_account: Make, scheme: str, role: Role, caplog: pytest.LogCaptureFixture
) -> None:
    rules = {*role.commands, *role.keys, *role.channels} - SELDOM[scheme]
    run = RUNS[scheme][role.name]
    if run is consume_what_exists:
        rules.add("xautoclaim")
    await asyncio.gather(*(_errors_without(make_account(scheme), run, role, missing, caplog) for missing in rules))
