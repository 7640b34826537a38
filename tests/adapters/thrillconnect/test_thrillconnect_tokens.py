"""Tokens of ThrillConnect's source, against a real server that plays ThrillConnect."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from tests.adapters.thrillconnect.seam import JACKPOT, Noted, consuming, failure_of, make_bus, shown
from tests.adapters.thrillconnect_server import ThrillConnectServer, playing
from tests.every_broker import until

from brokerkit._errors import AccessDenied, ConfigError, ConnectionLost


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_refused_at_the_upgrade_is_access_denied_at_once(
    server: ThrillConnectServer, noted: Noted, status: int
) -> None:
    server.status = status
    error = await failure_of(make_bus(server, noted, options={"token": "sECRET/=1"}))
    assert isinstance(error, AccessDenied)
    assert f"HTTP {status}" in str(error)
    assert "sECRET" not in shown(error)
    assert [upgrade["token"] for upgrade in server.upgrades] == ["sECRET/=1"]


@pytest.mark.parametrize(
    "closes_with",
    [(4401, ""), (4403, "no right, sECRET"), (1008, "policy"), (1000, "401 Unauthorized"), (401, ""), (403, "")],
    ids=str,
)
async def test_a_token_refused_after_the_socket_opened_is_access_denied(
    server: ThrillConnectServer, noted: Noted, closes_with: tuple[int, str]
) -> None:
    server.status, server.closes_with = None, closes_with
    error = await failure_of(make_bus(server, noted, options={"token": "sECRET"}))
    assert isinstance(error, AccessDenied)
    assert "sECRET" not in shown(error)
    assert len(server.upgrades) == 1


@pytest.mark.parametrize("status", [401, None], ids=["upgrade", "close"])
async def test_a_token_function_is_asked_once_more_before_access_is_denied(
    server: ThrillConnectServer, noted: Noted, status: int | None
) -> None:
    server.status = status
    tokens = iter(["old", "older"])

    async def token() -> str:
        return next(tokens)

    error = await failure_of(make_bus(server, noted, options={"token": token}))
    assert isinstance(error, AccessDenied)
    assert [upgrade["token"] for upgrade in server.upgrades] == ["old", "older"]


@pytest.mark.parametrize("status", [401, None], ids=["upgrade", "close"])
async def test_the_second_token_of_a_function_may_be_the_right_one(
    server: ThrillConnectServer, noted: Noted, status: int | None
) -> None:
    server.status = status
    tokens = iter(["old", "good"])

    async def token() -> str:
        return next(tokens)

    async with consuming(make_bus(server, noted, options={"token": token}), server):
        await server.push(JACKPOT)
        await until(lambda: noted.names == ["JackpotUpdate"])


async def test_a_session_that_ran_out_goes_on_with_another_token(server: ThrillConnectServer, noted: Noted) -> None:
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        return "good"

    bus = make_bus(server, noted, options={"token": token})
    async with consuming(bus, server) as client:
        for number in range(1, 4):
            [connection] = server.connections
            # A connection that is older than the connect timeout shows that its token was accepted.
            bus.adapter()._source._since -= 60  # type: ignore[attr-defined]
            await connection.close(4401, "session over")
            await until(lambda number=number: asked == number + 1 and bool(server.connections))  # type: ignore[misc]
        await server.push(JACKPOT)
        await until(lambda: noted.names == ["JackpotUpdate"])
        assert client.gaps == 3


async def test_a_token_function_that_fails_is_asked_again(server: ThrillConnectServer, noted: Noted) -> None:
    results: list[Any] = ["good", OSError("sECRET"), "good"]

    async def token() -> str:
        match results.pop(0):
            case str(text):
                return text
            case error:
                raise error

    bus = make_bus(server, noted, options={"token": token})
    async with consuming(bus, server):
        server.cut()
        await until(lambda: not results and bool(server.connections))
    assert len(server.upgrades) == 2


async def test_a_token_function_must_give_text(server: ThrillConnectServer, noted: Noted) -> None:
    error = await failure_of(make_bus(server, noted, options={"token": lambda: 5}))
    assert isinstance(error, ConfigError)
    assert "did not return text but int" in str(error)


async def test_the_token_is_in_no_log_no_repr_and_no_error(
    server: ThrillConnectServer, noted: Noted, caplog: pytest.LogCaptureFixture
) -> None:
    server.tokens = {"sECRET %"}
    bus = make_bus(server, noted, options={"token": "sECRET %", "headers": {"X-Key": "sECRET"}})
    with caplog.at_level(logging.DEBUG):
        async with consuming(bus, server, on_source_failure="log") as client:
            with pytest.raises(AssertionError):
                assert not client, "connected"
            texts = [repr(bus), repr(client), repr(bus.adapter()), repr(bus.runtime.settings)]
            server.cut()
            await until(lambda: len(server.upgrades) == 2 and bool(server.connections))
            server.tokens = set()
            server.cut()
            await until(lambda: "source bus ends" in caplog.text)
    ours = [record for record in caplog.records if not record.name.startswith("websockets.server")]
    texts += [record.getMessage() for record in ours]
    assert "AccessDenied" in caplog.text
    assert [text for text in texts if "sECRET" in text] == []


async def test_no_redirect_takes_the_token_elsewhere(server: ThrillConnectServer, noted: Noted) -> None:
    async with playing() as other:
        server.status, server.headers = 307, {"Location": f"{other.url}?token=bad"}
        error = await failure_of(make_bus(server, noted, options={"token": "bad"}))
        assert isinstance(error, ConnectionLost)
        assert "HTTP 307" in str(error)
        assert other.upgrades == []
