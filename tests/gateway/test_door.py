"""Who has a place: clients under check have none, and an address has a bounded number of connections."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests import every_broker
from tests.certificates import Authority
from tests.every_broker import until
from tests.gateway.scene import Tokens, body, client, closed, event, gateway, receive, subscribe, url
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from brokerkit import Bus, ConfigError
from brokerkit._vendors.gateway import _gateway
from brokerkit._vendors.gateway._door import _is_global, _network
from brokerkit.gateway import Credentials, Gateway, Player

BUS: dict[str, Any] = {"group": "gateway", "broadcast": True, "format": "thrillconnect"}


@pytest.fixture
def bus() -> Bus:
    return every_broker.memory().bus(**BUS)


class SlowTokens(Tokens):
    """The tokens of ``pl-slow…`` are checked when ``ready`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = asyncio.Event()
        self.waiting = 0

    async def __call__(self, credentials: Credentials) -> Player | None:
        if credentials.token.startswith("pl-slow"):
            self.waiting += 1
            await self.ready.wait()
        if credentials.token.startswith("other-"):
            return Player(operator_id="northlight", brand_id="other", player_id=credentials.token)
        return await super().__call__(credentials)


async def slow_ones(served: Gateway, tokens: SlowTokens, count: int) -> list[ClientConnection]:
    found = [await connect(url(served, f"pl-slow-{number}"), close_timeout=1) for number in range(count)]
    await until(lambda: tokens.waiting == count)
    return found


async def test_a_client_under_a_slow_check_takes_no_place(bus: Bus) -> None:
    tokens = SlowTokens()
    async with bus, gateway(bus, tokens, max_connections=1, check_timeout=60) as served:
        slow = await slow_ones(served, tokens, 3)
        async with client(served, "pl-1") as one:
            await bus.publish(sent := event("pl-1"))
            assert await receive(one) == body(sent)
            tokens.ready.set()
            for each in slow:
                assert await closed(each) == (1013, "too many connections; try again later")
            assert served.stats.connected == 1
        await until(lambda: not served._door._inside)


async def test_a_full_gateway_checks_no_token(bus: Bus) -> None:
    tokens = Tokens()
    async with bus, gateway(bus, tokens, max_connections=1) as served, client(served, "pl-1"):
        asked = len(tokens.asked)
        assert await closed(await connect(url(served, "pl-2"))) == (1013, "too many connections; try again later")
        assert len(tokens.asked) == asked


@pytest.mark.parametrize("refuse", ["close", "http"])
async def test_checks_under_way_are_bounded(refuse: str, bus: Bus) -> None:
    tokens = SlowTokens()
    async with bus, gateway(bus, tokens, max_checks=2, check_timeout=60, refuse=refuse) as served:
        coming = [asyncio.create_task(connect_to(served, f"pl-slow-{number}")) for number in range(2)]
        await until(lambda: tokens.waiting == 2)
        if refuse == "close":
            code, reason = await closed(await connect_to(served, "pl-1"))
            assert (code, reason) == (1013, "too many tokens are being checked; try again later")
        else:
            with pytest.raises(InvalidStatus) as error:
                await connect_to(served, "pl-1")
            assert error.value.response.status_code == 503
        tokens.ready.set()
        for each in await asyncio.gather(*coming):
            await subscribe(each)
        async with client(served, "pl-1"):
            assert served.stats.connected == 3


async def connect_to(served: Gateway, token: str) -> ClientConnection:
    return await connect(url(served, token), close_timeout=1)


async def test_an_address_has_a_default_limit_which_counts_checks_too(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokerkit._vendors.gateway._door._PER_ADDRESS", 2)
    tokens = SlowTokens()

    async def come(address: str, token: str) -> ClientConnection:
        headers = {"X-Forwarded-For": address}
        return await connect(url(served, token), additional_headers=headers, close_timeout=1)

    async with bus, gateway(bus, tokens, address_header="X-Forwarded-For", check_timeout=60) as served:
        await come("2001:db8:1:2::1", "pl-slow-1")
        await until(lambda: tokens.waiting == 1)
        second = await come("2001:db8:1:2:ffff::2", "pl-1")
        await subscribe(second)
        third = await come("2001:db8:1:2:3::3", "pl-1")
        assert await closed(third) == (1013, "too many connections from this address")
        await subscribe(await come("2001:db8:1:3::1", "pl-1"))
        tokens.ready.set()


@pytest.mark.parametrize(
    ("address", "same", "limited"),
    [
        ("127.0.0.1", "127.0.0.1", False),
        ("10.1.2.3", "10.1.2.3", False),
        ("8.8.8.8", "8.8.8.8", True),
        ("::ffff:8.8.8.8", "8.8.8.8", True),
        ("2a00:1450:4001:82a::200e", "2a00:1450:4001:82a::/64", True),
        ("::1", "::/64", False),
        ("unknown", "unknown", False),
        ("", "", False),
    ],
)
def test_addresses_are_told_apart_by_what_one_household_has(address: str, same: str, limited: bool) -> None:
    assert _network(address) == same
    assert _is_global(address.removeprefix("::ffff:")) == limited


async def test_slow_readers_and_brands_are_apart_while_checks_are_slow(bus: Bus) -> None:
    tokens = SlowTokens()
    async with (
        bus,
        gateway(bus, tokens, check_timeout=60) as served,
        client(served, "pl-1") as one,
        connect(url(served, "other-1", place="northlight/other"), close_timeout=1) as other,
    ):
        await subscribe(other)
        slow = await slow_ones(served, tokens, 2)
        one.transport.pause_reading()
        for brand, name in (("lumen", "first"), ("other", "second"), ("lumen", "third"), ("other", "fourth")):
            await bus.publish(event(None, "JackpotUpdate", brand_id=brand, data={"name": name}))
        assert [(await receive(other))["data"]["name"] for _ in range(2)] == ["second", "fourth"]
        one.transport.resume_reading()
        assert [(await receive(one))["data"]["name"] for _ in range(2)] == ["first", "third"]
        tokens.ready.set()
        for each in slow:
            await subscribe(each)


# ---- TLS ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("address", "loopback"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False)])
def test_it_is_known_who_can_connect(address: str, loopback: bool) -> None:
    server = SimpleNamespace(sockets=[SimpleNamespace(getsockname=lambda: (address, 1))])
    assert _gateway._is_loopback(cast("Any", server)) == loopback


@pytest.mark.parametrize("loopback", [True, False])
async def test_listening_beyond_this_machine_without_tls_is_said(
    loopback: bool, bus: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_gateway, "_is_loopback", lambda _: loopback)
    async with bus, gateway(bus):
        pass
    said = [record for record in caplog.records if "without TLS" in record.getMessage()]
    assert [record.levelno for record in said] == ([] if loopback else [logging.WARNING])


async def test_a_new_certificate_counts_for_the_next_connection(
    bus: Bus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders = [tmp_path / "old", tmp_path / "new"]
    for folder in folders:
        folder.mkdir()
    old, new = map(Authority.make, folders)
    certificate, key = old.issue("server")
    async with bus, gateway(bus, certificate=certificate, key=key) as served:
        secure = url(served, "pl-1").replace("ws://", "wss://")
        assert served._certificate is not None
        async with connect(secure, ssl=ssl.create_default_context(cafile=old.file)) as one:
            await subscribe(one)
            for source, target in zip(new.issue("server"), (certificate, key), strict=True):
                source.replace(target)
            served._certificate.renew()
            async with connect(secure, ssl=ssl.create_default_context(cafile=new.file)) as two:
                await subscribe(two)
            await subscribe(one)
            key.write_text("nothing")
            served._certificate.renew()
            assert "the gateway goes on with the old one" in caplog.text
            async with connect(secure, ssl=ssl.create_default_context(cafile=new.file)) as three:
                await subscribe(three)


def test_an_encrypted_key_needs_its_pass_phrase(bus: Bus, tmp_path: Path) -> None:
    certificate, key = Authority.make(tmp_path).issue("server", password="opensesame")
    for wrong in ({}, {"key_password": "closed"}):
        with pytest.raises(ConfigError, match="cannot be used") as caught:
            Gateway(bus, check=Tokens(), certificate=certificate, key=key, **cast("Any", wrong))
        assert "closed" not in str(caught.value)
    made = Gateway(bus, check=Tokens(), certificate=certificate, key=key, key_password="opensesame")
    assert "opensesame" not in repr(made) + repr(made._settings)
