"""Passwords and certificates that are rotated while a source reads: the next connection has the new ones."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.adapters.test_credentials import SEATED, handling, options_of, publish
from tests.brokers.rabbitmq import RabbitBroker
from tests.brokers.redis import RedisBroker
from tests.certificates import Authority, tls_front
from tests.every_broker import until

from brokerkit import Bus
from brokerkit.testing import Proxy


async def test_rabbitmq_asks_for_the_password_again_when_a_source_reconnects(
    rabbit_broker: RabbitBroker, tmp_path: Path
) -> None:
    found = re.fullmatch(r"amqp://([^:]+):([^@]+)@([^:]+):(\d+)(/.*)?", rabbit_broker.url)
    assert found is not None
    user, right, host, port, rest = found.groups()
    asked = 0

    def password() -> str:
        nonlocal asked
        asked += 1
        return str(right)

    async with asyncio.timeout(110), Proxy(host, int(port)) as proxy:
        url = f"amqp://{user}@{proxy.address}{rest or ''}"
        bus = Bus(url, topic=f"rotated-{tmp_path.parent.name}", group="wallet", provision="all", password=password)
        seen = handling(bus)
        async with bus, bus.serving():
            await bus.publish(SEATED)
            await until(lambda: len(seen) == 1)
            before = asked
            proxy.cut()
            await publish(bus)
            await until(lambda: len(set(seen)) == 2, seconds=90)
            assert asked >= before + 2  # the source has one connection, what publishes has another


@pytest.mark.parametrize("kind", ["rediss", "amqps"])
async def test_authority_and_client_certificate_are_read_for_each_new_connection(
    kind: str, rabbit_broker: RabbitBroker, redis_broker: RedisBroker, tmp_path: Path
) -> None:
    old, new, used = (tmp_path / name for name in ("old", "new", "used"))
    for folder in (old, new, used):
        folder.mkdir()
    files = {"ca": str(used / "ca.pem"), "certificate": str(used / "client.pem"), "key": str(used / "client-key.pem")}

    def rotate(authority: Authority) -> None:
        authority.issue("client")
        for name in files.values():
            Path(name).write_bytes((authority.folder / Path(name).name).read_bytes())

    url = redis_broker.url if kind == "rediss" else rabbit_broker.url
    found = re.fullmatch(r"\w+://(?:(.+)@)?([^/]+)(/.*)?", url)
    assert found is not None
    login, rest = f"{found[1]}@" if found[1] else "", found[3] or ""
    first, second = Authority.make(old, name="old"), Authority.make(new, name="new")
    async with AsyncExitStack() as stack, asyncio.timeout(110):
        front = AsyncExitStack()
        port = await front.enter_async_context(tls_front(found[2], *first.issue("server"), clients=first.file))
        rotate(first)
        bus = Bus(
            f"{kind}://{login}127.0.0.1:{port}{rest}",
            topic=f"rotated-{kind}-{tmp_path.parent.name}",
            group="wallet",
            provision="all",
            options=options_of(kind, files),
        )
        seen = handling(bus)
        await stack.enter_async_context(bus)
        await stack.enter_async_context(bus.serving())
        await bus.publish(SEATED)
        await until(lambda: len(seen) == 1)
        await front.aclose()
        rotate(second)
        after = tls_front(found[2], *second.issue("server"), clients=second.file, port=port)
        await stack.enter_async_context(after)
        await publish(bus)
        await until(lambda: len(set(seen)) == 2, seconds=90)
