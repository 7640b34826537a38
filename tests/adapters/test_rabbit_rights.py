"""Users with exactly the permissions of docs/rights.md run every role on a RabbitMQ of their own."""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aio_pika
import pytest
from tests.adapters.rabbit_roles import ROLES, Role
from tests.brokers import rabbitmq, versions
from tests.brokers._urls import PASSWORD, USER
from tests.brokers.fixtures import running
from tests.every_broker import until

from brokerkit import AccessDenied, Bus, Message, NotFound, RetryPolicy

GROUP: Final = "wallet"
QUORUM: Final[dict[str, Any]] = {"x-queue-type": "quorum"}
RUNNING: Final = versions.exact(versions.chosen("rabbitmq"))
GUARDS_LOOKS: Final = not RUNNING.startswith(("3.", "4.0.", "4.1.", "4.2."))
"""Whether a user needs a permission to ask if a name exists. A version that nobody could tell counts as the newest."""

LEVELS: Final = {"1s": 1, "10s": 10, "1m": 60, "10m": 600, "1h": 3600}


@dataclass(frozen=True, slots=True)
class User:
    """A user with a role, and perhaps without one permission that the role needs.

    Attributes:
        name: also that of the topic.
        missing: which permission it lacks, and on what.
    """

    name: str
    role: Role
    missing: tuple[str, str] | None = None

    @property
    def rights(self) -> dict[str, str]:
        """By permission, the expression that the broker gets."""
        return {right: self._allowed(right, names) for right, names in needs(self.role).items()}

    def _allowed(self, right: str, names: tuple[str, ...]) -> str:
        left = [self.fill(name) for name in names if (right, name) != self.missing]
        return f"^({'|'.join(left)})$" if left else "^$"

    def fill(self, name: str) -> str:
        return name.replace("TOPIC", self.name).replace("GROUP", GROUP)

    def definition(self) -> dict[str, str]:
        salt = b"salt"
        hashed = base64.b64encode(salt + hashlib.sha256(salt + PASSWORD.encode()).digest()).decode()
        return {
            "name": self.name,
            "password_hash": hashed,
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": "administrator" if self.name == USER else "",
        }


def needs(role: Role) -> dict[str, tuple[str, ...]]:
    """What a role needs on the version that runs: by permission, the names."""
    looked_at = role.looked_at if GUARDS_LOOKS else ()
    return {"configure": role.configure, "write": role.write, "read": role.read + looked_at}


EXACTLY: Final = [User(f"user{index}", role) for index, role in enumerate(ROLES)]
LEFT_OUT: Final = [
    User(f"less{index}x{number}", role, missing)
    for index, role in enumerate(ROLES)
    for number, missing in enumerate((right, name) for right, names in needs(role).items() for name in names)
]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a RabbitMQ that knows these users, for one that may do everything."""
    users = [User(USER, Role("everything", (".*",), (".*",), (".*",))), *EXACTLY, *LEFT_OUT]
    definitions = tmp_path_factory.mktemp("rabbit") / "definitions.json"
    definitions.write_text(
        json.dumps(
            {
                "users": [user.definition() for user in users],
                "vhosts": [{"name": "/"}],
                "permissions": [{"user": user.name, "vhost": "/", **user.rights} for user in users],
            }
        )
    )
    with running(rabbitmq.broker(own=True, more=f"load_definitions = {definitions}\n")) as broker:
        yield broker.url


class Account:
    """A user, its topic, and somebody who may do everything."""

    def __init__(self, url: str, user: User, letters: Path) -> None:
        self.admin = url
        self.user = user
        self.file = f"file://{letters}"
        self.topic = user.name
        self.queue = f"{user.name}.{GROUP}"
        self.url = url.replace(f"//{USER}:", f"//{user.name}:")

    def bus(self, **settings: Any) -> Bus:
        usual: dict[str, Any] = {
            "topic": self.topic,
            "group": GROUP,
            "format": "json",
            "name_from": "header:event",
            "unknown": "ack",
            "hold": 0.0,
            "retry": RetryPolicy(attempts=2, first=1.0, cap=1.0),
        }
        found = {**usual, **settings}
        return Bus(self.url, **{name: value for name, value in found.items() if value is not None})

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
        connection = await aio_pika.connect(self.admin)
        async with connection, connection.channel() as channel:
            yield channel

    async def create(self, *, queues: bool = False) -> None:
        """Create the exchange, and with ``queues`` all queues of the group."""
        async with self.channel() as channel:
            exchange = await channel.declare_exchange(self.topic, "topic", durable=True)
            if not queues:
                return
            queue = await channel.declare_queue(self.queue, durable=True, arguments=QUORUM)
            await queue.bind(exchange, "#")
            await channel.declare_queue(f"{self.queue}.dlq", durable=True, arguments=QUORUM)
            await create_delays(channel, self.queue, f"{self.queue}.retry")

    async def send(self, *names: str, queue: str = "") -> None:
        """As somebody else's program does."""
        async with self.channel() as channel:
            exchange = channel.default_exchange if queue else await channel.get_exchange(self.topic)
            for name in names:
                await exchange.publish(aio_pika.Message(body(name), headers={"event": "Paid"}), queue or "x")


@pytest.fixture
def make_account(secured: str, tmp_path: Path) -> Callable[[User], Account]:
    return lambda user: Account(secured, user, tmp_path / "letters.jsonl")


async def create_delays(channel: aio_pika.abc.AbstractChannel, queue: str, named: str = "") -> None:
    """Create the queues in which messages wait before they come back to a queue."""
    for label, seconds in LEVELS.items():
        back = {"x-message-ttl": seconds * 1000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
        await channel.declare_queue(f"{named or queue}.{label}", durable=True, arguments=QUORUM | back)


def body(n: str) -> bytes:
    return json.dumps({"n": n}).encode()


def message() -> Message:
    return Message("Paid", body("1"), headers={"event": "Paid"})


# ---- what each role does ---------------------------------------------------------------------------------------------


async def publish(account: Account) -> None:
    await account.create(queues=True)
    async with account.bus() as bus:
        await bus.publish(message())


async def create_and_publish(account: Account) -> None:
    async with account.bus(provision="all") as bus:
        async with account.channel() as channel:
            queue = await channel.declare_queue(account.queue, durable=True, arguments={"x-queue-type": "quorum"})
            await queue.bind(account.topic, "#")
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


async def consume_alone(account: Account) -> None:
    await account.create(queues=True)
    async with working(account.bus(provision="check", hold=3600, dead_letter=account.file)):
        await account.send("good", "bad")


async def consume_what_exists(account: Account) -> None:
    await account.create(queues=True)
    async with working(account.bus(provision="check")):
        await account.send("good", "bad")


async def consume(account: Account) -> None:
    await account.create()
    async with working(account.bus()):
        await account.send("good", "bad")


async def broadcast(account: Account) -> None:
    await account.create()
    async with working(account.bus(group=None, broadcast=True, dead_letter=account.file)):
        await account.send("good", "bad")


async def consume_stream(account: Account, **settings: Any) -> None:
    """Consume a stream that somebody has declared."""
    async with account.channel() as channel:
        await channel.declare_queue(account.topic, durable=True, arguments={"x-queue-type": "stream"})
    async with working(account.bus(topic=None, queue=account.topic, **settings)):
        await account.send("good", "bad", queue=account.topic)


async def consume_stream_that_exists(account: Account) -> None:
    async with account.channel() as channel:
        for name in ("offset", "stream-retry", "dlq"):
            await channel.declare_queue(f"{account.queue}.{name}", durable=True, arguments=QUORUM)
        await create_delays(channel, f"{account.queue}.stream-retry")
    await consume_stream(account, provision="check")


async def letters(bus: Bus) -> int:
    return len([letter async for letter in bus.dead_letters()])


async def look(account: Account) -> None:
    await account.create(queues=True)
    await account.send("1", queue=f"{account.queue}.dlq")
    async with account.bus() as bus:
        assert await letters(bus) == 1


async def replay(account: Account) -> None:
    await account.create(queues=True)
    await account.send("1", queue=f"{account.queue}.dlq")
    async with account.bus() as bus:
        assert await bus.dead_letters().replay() == 1
        assert await letters(bus) == 0


async def purge(account: Account) -> None:
    await account.create(queues=True)
    await account.send("1", queue=f"{account.queue}.dlq")
    async with account.bus() as bus:
        assert await bus.dead_letters().purge() == 1
        assert await letters(bus) == 0


Run = Callable[[Account], Awaitable[None]]
RUNS: Final[dict[str, Run]] = dict(
    zip(
        (role.name for role in ROLES),
        (
            *(publish, create_and_publish, consume_alone, consume_what_exists, consume, broadcast),
            *(consume_stream_that_exists, consume_stream, look, replay, purge),
        ),
        strict=True,
    )
)


@pytest.mark.parametrize("user", EXACTLY, ids=[user.role.name for user in EXACTLY])
async def test_a_role_runs_with_exactly_the_permissions_of_the_page(
    make_account: Callable[[User], Account], user: User
) -> None:
    await RUNS[user.role.name](make_account(user))


def _says(text: str, user: User) -> bool:
    """Whether an error names user and object. It says what was tried, and from RabbitMQ 3.11 on also the right."""
    assert user.missing is not None
    if "may not declare it" in text:  # of what may be a stream
        return f"//{user.name}:***@" in text and "right to configure it" in text and user.missing[0] == "configure"
    found = re.findall(rf"access to (?:exchange|queue) '(\S+)' in vhost '/' refused for user '{user.name}'", text)
    return any(re.fullmatch(user.fill(user.missing[1]), each) for each in found)


@pytest.mark.parametrize(
    "user", LEFT_OUT, ids=[f"{user.role.name}: {' '.join(user.missing or ())}" for user in LEFT_OUT]
)
async def test_a_permission_that_is_left_out_is_named(
    make_account: Callable[[User], Account], user: User, caplog: pytest.LogCaptureFixture
) -> None:
    task = asyncio.create_task(RUNS[user.role.name](make_account(user)))
    await until(lambda: task.done() or _says(caplog.text, user), seconds=60)
    task.cancel()
    [result] = await asyncio.gather(task, return_exceptions=True)
    if not _says(caplog.text, user):
        assert _says(str(result), user), result
        is_missing = "is read as a queue" in str(result) and not GUARDS_LOOKS
        assert isinstance(result, NotFound if is_missing else AccessDenied)
