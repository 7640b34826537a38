"""Passwords and tokens that change while a bus runs, and what a failing source of them says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from tests.brokers.rabbitmq import RabbitBroker
from tests.brokers.redis import RedisBroker
from tests.certificates import Authority, tls_front
from tests.every_broker import until

from brokerkit import AccessDenied, Bus, ConfigError, ConnectionLost, Message, PublishError, Reject
from brokerkit.dedupe import Dedupe, RedisStore
from brokerkit.events.evenbet import OnPlayerSeatedDown

SEATED = OnPlayerSeatedDown(player_id=1)


# ---- passwords ---------------------------------------------------------------------------------------------------


def handling(bus: Bus) -> list[str]:
    seen: list[str] = []

    @bus.on(OnPlayerSeatedDown)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        seen.append(message.id or "")

    return seen


async def publish(bus: Bus) -> None:
    """Publish until it is accepted: the connection has just been killed, and may still be taken for alive."""
    while True:
        try:
            return await bus.publish(SEATED)
        except (PublishError, ConnectionLost):
            await asyncio.sleep(0.05)


async def test_redis_reads_a_rotated_password_for_each_new_connection(
    redis_broker: RedisBroker, tmp_path: Path
) -> None:
    user = f"ann-{tmp_path.parent.name}"
    admin = redis.asyncio.Redis.from_url(redis_broker.url)
    rights = ["on", "~*", "&*", "+@all"]
    await admin.execute_command("ACL", "SETUSER", user, *rights, ">first")
    address = redis_broker.url.rpartition("@")[2]
    passwords = ["first"]
    bus = Bus(
        f"redis://{user}@{address}", topic=f"t-{user}", group="wallet", provision="all", password=lambda: passwords[-1]
    )
    seen = handling(bus)
    try:
        async with asyncio.timeout(60), bus, bus.serving():
            await bus.publish(SEATED)
            await until(lambda: len(seen) == 1)
            await admin.execute_command("ACL", "SETUSER", user, "resetpass", ">second")
            passwords.append("second")
            await admin.execute_command("CLIENT", "KILL", "USER", user)
            await publish(bus)
            await until(lambda: len(set(seen)) == 2, seconds=30)
    finally:
        await admin.execute_command("ACL", "DELUSER", user)
        await admin.aclose()


async def test_rabbitmq_reads_the_password_for_each_new_connection(rabbit_broker: RabbitBroker, tmp_path: Path) -> None:
    found = re.fullmatch(r"amqp://([^:]+):([^@]+)@(.+)", rabbit_broker.url)
    assert found is not None
    user, right, rest = found.groups()
    file = tmp_path / "password"
    file.write_text("wrong")
    bus = Bus(f"amqp://{user}@{rest}", topic="credentials", provision="all", password_file=str(file))
    with pytest.raises(AccessDenied):
        async with bus:
            pass
    file.write_text(f"{right}\n")
    async with bus:
        pass
    file.unlink()
    with pytest.raises(ConnectionLost, match="password_file .* cannot be read: No such file"):
        async with bus:
            pass


async def test_the_error_of_a_password_function_keeps_its_text(redis_broker: RedisBroker) -> None:
    def fail() -> str:
        raise OSError("the vault is sealed")

    address = redis_broker.url.rpartition("@")[2]
    with pytest.raises(ConnectionLost, match="the function for the password failed: OSError: the vault is sealed"):
        async with Bus(f"redis://ann@{address}", topic="t", password=fail):
            pass


class RedisUser:
    """A user of Redis who may do everything, and whose password changes."""

    def __init__(self, broker: RedisBroker, name: str) -> None:
        self.name = name
        self.address = broker.url.rpartition("@")[2].partition("/")[0]
        self.url = f"redis://{name}@{self.address}"
        self.password = ""
        self.admin = redis.asyncio.Redis.from_url(broker.url)

    async def rotate(self, password: str) -> None:
        """Give it another password, which is from now on the only one, and end its connections."""
        self.password = password
        rights = ["on", "~*", "&*", "+@all", "resetpass"]
        await self.admin.execute_command("ACL", "SETUSER", self.name, *rights, f">{password}")
        await self.admin.execute_command("CLIENT", "KILL", "USER", self.name)


@pytest.fixture
async def user(redis_broker: RedisBroker, tmp_path: Path) -> AsyncIterator[RedisUser]:
    made = RedisUser(redis_broker, f"bob-{tmp_path.parent.name}-{tmp_path.name}")
    await made.rotate("first")
    yield made
    await made.admin.execute_command("ACL", "DELUSER", made.name)
    await made.admin.aclose()


@pytest.mark.parametrize("by", ["function", "file"])
async def test_a_dedupe_store_in_redis_reads_a_rotated_password(user: RedisUser, tmp_path: Path, by: str) -> None:
    file = tmp_path / "password"
    file.write_text("first")
    if by == "function":
        dedupe = Dedupe(RedisStore(user.url, prefix=f"{user.name}:", password=lambda: user.password))
    else:
        dedupe = Dedupe(RedisStore(f"{user.url}?password_file={file}", prefix=f"{user.name}:"))
    bus = Bus(f"memory://{user.name}", topic="t", group="wallet", dedupe=dedupe)
    seen = handling(bus)
    async with asyncio.timeout(60), bus, bus.serving():
        await bus.publish(SEATED)
        await until(lambda: len(seen) == 1)
        await user.rotate("second")
        file.write_text("second")
        await bus.publish(SEATED)
        await until(lambda: len(seen) == 2, seconds=50)


async def test_a_place_of_dead_letters_reads_a_rotated_password_from_a_file(user: RedisUser, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first")
    where = f"{user.url}?topic=letters-{user.name}&password_file={file}"
    bus = Bus(f"memory://{user.name}", topic="t", group="wallet", dead_letter=where)

    @bus.on(OnPlayerSeatedDown)
    async def refuse(event: OnPlayerSeatedDown) -> None:
        raise Reject

    async with asyncio.timeout(60), bus, bus.serving():
        await bus.publish(SEATED)
        await until(lambda: bus.stats["bus"].dead_lettered == 1)
        await user.rotate("second")
        file.write_text("second")
        await bus.publish(SEATED)
        await until(lambda: bus.stats["bus"].dead_lettered == 2, seconds=50)


async def test_a_place_of_dead_letters_of_the_same_user_on_the_same_broker_has_the_same_password(
    user: RedisUser,
) -> None:
    settings: dict[str, Any] = {
        "topic": f"t-{user.name}",
        "group": "wallet",
        "provision": "all",
        "password": lambda: user.password,
    }
    letters = f"{user.address}/0?topic=letters-{user.name}&socket_timeout=4"  # an option, so that it has its own client
    bus = Bus(user.url, dead_letter=f"redis://{user.name}@{letters}", **settings)
    assert len(bus.runtime.adapters) == 2
    async with bus:
        pass
    with pytest.raises(AccessDenied):
        async with Bus(user.url, dead_letter=f"redis://another@{letters}", **settings):
            pass


@pytest.mark.parametrize(
    ("url", "settings", "said"),
    [
        ("redis://ann:secret@h", {"password": "other"}, "given twice: as password and part of the URL"),
        ("redis://h", {"password": "x", "password_file": "y"}, "given twice: as password and password_file"),
        ("redis://h", {"password_file": "/nowhere/x"}, "cannot be read: No such file"),
        ("sqs://eu-west-1", {"password": "x"}, "password is for Kafka, RabbitMQ and Redis"),
        ("redis://h", {"password": "x", "options": {"password": "y"}}, "given twice"),
    ],
)
def test_passwords_that_cannot_be_meant_are_refused(url: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        Bus(url, topic="t", group="g", **settings)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "more", "said"),
    [
        ("redis://ann:secret@h", {"password": str}, "given twice: as password and part of the URL"),
        ("redis://ann@h?password_file=/nowhere/x", {}, "'/nowhere/x' cannot be read: No such file"),
        ("redis://ann@h?password_file=/nowhere/x", {"password": str}, "given twice: as password and password_file"),
    ],
)
def test_passwords_of_a_dedupe_store_that_cannot_be_meant_are_refused(
    url: str, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        RedisStore(url, **more)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("given", [{"password": "opensesame"}, {"password": str}, {"password_file": __file__}])
def test_a_source_and_a_target_with_one_password_share_a_client(given: dict[str, Any]) -> None:
    bus = Bus("redis://ann@h", topic="t", group="g", **given)
    assert len(bus.runtime.adapters) == 1


def test_a_password_is_not_shown() -> None:
    bus = Bus("redis://ann@h", topic="t", group="g", password="opensesame")
    assert "opensesame" not in repr(bus) + repr(bus.runtime.settings)


# ---- client keys -------------------------------------------------------------------------------------------------


def options_of(kind: str, files: dict[str, str]) -> dict[str, Any]:
    names = {
        "rediss": {
            "ca": "ssl_ca_certs",
            "certificate": "ssl_certfile",
            "key": "ssl_keyfile",
            "password": "ssl_password",
        },
        "amqps": {"ca": "cafile", "certificate": "certfile", "key": "keyfile", "password": "key_password"},
    }[kind]
    return {names[name]: value for name, value in files.items()}


@pytest.mark.parametrize("kind", ["rediss", "amqps"])
def test_an_encrypted_key_needs_its_pass_phrase_and_never_a_terminal(kind: str, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    certificate, key = authority.issue("client", password="opensesame")
    files = {"ca": str(authority.file), "certificate": str(certificate), "key": str(key)}
    for wrong in ({}, {"password": "closed"}):
        with pytest.raises(ConfigError) as caught:
            Bus(f"{kind}://h", topic="t", group="g", options=options_of(kind, files | wrong))
        assert "closed" not in str(caught.value)
    Bus(f"{kind}://h", topic="t", group="g", options=options_of(kind, files | {"password": "opensesame"}))


@pytest.mark.parametrize("kind", ["rediss", "amqps"])
@pytest.mark.parametrize("missing", ["ca", "certificate"])
def test_a_missing_file_is_refused_when_the_bus_is_made(kind: str, missing: str, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    certificate, key = authority.issue("client")
    files = {"ca": str(authority.file), "certificate": str(certificate), "key": str(key), missing: str(tmp_path / "no")}
    with pytest.raises(ConfigError, match="no"):
        Bus(f"{kind}://h", topic="t", group="g", options=options_of(kind, files))


@pytest.mark.parametrize("kind", ["rediss", "amqps"])
async def test_an_encrypted_key_logs_in_with_its_pass_phrase(
    kind: str, rabbit_broker: RabbitBroker, redis_broker: RedisBroker, tmp_path: Path
) -> None:
    authority = Authority.make(tmp_path)
    certificate, key = authority.issue("client", password="opensesame")
    files = {"ca": str(authority.file), "certificate": str(certificate), "key": str(key), "password": "opensesame"}
    url = redis_broker.url if kind == "rediss" else rabbit_broker.url
    found = re.fullmatch(r"\w+://(.+)@([^/]+)(/.*)?", url)
    assert found is not None
    async with tls_front(found[2], *authority.issue("server"), clients=authority.file) as port:
        made = f"{kind}://{found[1]}@127.0.0.1:{port}{found[3] or ''}"
        async with Bus(made, topic=f"tls-{kind}", provision="all", options=options_of(kind, files)):
            pass
