"""What ThrillConnect's source cannot do, its options and TLS, against a real server that plays ThrillConnect."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.thrillconnect.seam import JACKPOT, Noted, consuming, failure_of, make_bus, shown
from tests.adapters.thrillconnect_server import ThrillConnectServer, playing
from tests.certificates import self_signed
from tests.every_broker import until

from brokerkit import Bus
from brokerkit._errors import AccessDenied, ConfigError, ConnectionLost, InvalidMessage, UnsupportedFeature
from brokerkit._url import Url
from brokerkit._vendors.thrillconnect_source import ThrillConnectAdapter
from brokerkit.adapters.api import Connection

# ---- what it cannot do, and what is wrong ----------------------------------------------------------------------------


async def test_publishing_is_refused_and_says_what_to_do(server: ThrillConnectServer, noted: Noted) -> None:
    bus = make_bus(server, noted)
    async with bus:
        with pytest.raises(InvalidMessage, match="its requests are calls of brokerkit.thrillconnect.Client"):
            await bus.publish("thrillconnect:JackpotUpdate", JACKPOT)
    assert server.upgrades == []


async def test_what_it_cannot_do_is_refused_at_the_start(
    server: ThrillConnectServer, noted: Noted, tmp_path: Path
) -> None:
    error = await failure_of(make_bus(server, noted, topic=None, queue="q"))
    assert isinstance(error, UnsupportedFeature)
    source = Bus("memory://websocket-dead", topic="t", dead_letter=f"{server.url}?topic=dead")
    source.include(noted.handlers)
    assert isinstance(await failure_of(source), UnsupportedFeature)
    with pytest.raises(UnsupportedFeature):
        make_bus(server, noted, name_from="header:event")
    file = tmp_path / "target.toml"
    file.write_text(f'[targets.out]\nurl = "{server.url}"\nformat = "thrillconnect"\ntopic = "thrillpots"')
    with pytest.raises(UnsupportedFeature, match="target 'out'"):
        Bus.from_config(file)


async def test_looking_shows_what_comes_from_then_on_and_hangs_up_at_the_end(server: ThrillConnectServer) -> None:
    adapter = ThrillConnectAdapter(Connection(url=Url.parse(server.url), options={"token": "good"}))
    await adapter.open()
    assert [one async for one in adapter.browse(["thrillpots"])] == []
    async with contextlib.aclosing(adapter.browse(["thrillpots"], follow=True)) as browse:
        first = asyncio.ensure_future(anext(browse))
        await until(lambda: bool(server.connections))
        await server.push(JACKPOT)
        delivery = await first
    assert delivery.topic == "thrillpots/JackpotUpdate"
    assert json.loads(delivery.body or b"") == JACKPOT
    await until(lambda: not server.connections)
    await adapter.close()


async def test_one_url_and_token_serve_one_source_at_a_time_and_again_later(
    server: ThrillConnectServer, noted: Noted, tmp_path: Path
) -> None:
    file = tmp_path / "two.toml"
    tables = [f'[sources.{name}]\ntopic = "{name}"' for name in ("thrillpots", "thrillgate")]
    file.write_text("\n".join([f'[bus]\nurl = "{server.url}?token=good"\nformat = "thrillconnect"', *tables]))
    bus = Bus.from_config(file)
    bus.include(noted.handlers)
    assert isinstance(await failure_of(bus), UnsupportedFeature)
    bus = make_bus(server, noted)
    async with bus:
        for _ in range(2):
            async with consuming(bus, server):
                pass
            await until(lambda: not server.connections)


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("thrillconnect+ws://ann:pw@h/", {}, "a user or password does not belong"),
        ("thrillconnect+ws://h1,h2/", {}, "exactly one host"),
        ("thrillconnect+ws://", {}, "exactly one host"),
        ("thrillconnect+ws://h/", {"tokn": "x"}, "looks like 'token'"),
        ("thrillconnect+ws://h/", {"ping_intervall": "x"}, "looks like 'ping_interval'"),
        ("thrillconnect+ws://h/", {"token": 5}, "token is not a function but int"),
        ("thrillconnect+ws://h/", {"token": "x", "token_from": "env:HOME"}, "give one of them"),
        ("thrillconnect+ws://h/", {"token_from": "env:BROKERKIT_NO_SUCH"}, "BROKERKIT_NO_SUCH, which is not set"),
        ("thrillconnect+ws://h/", {"token_from": "no.such:thing"}, "cannot be imported"),
        ("thrillconnect+ws://h/", {"token_from": "json:no_such"}, "cannot be imported"),
        ("thrillconnect+ws://h/", {"token_from": "json:__name__"}, "is not a function but str"),
        ("thrillconnect+ws://h/", {"token_from": 5}, "token_from must be text"),
        ("thrillconnect+ws://h/", {"currency": ["EUR"]}, "must be text or a number"),
        ("thrillconnect+ws://h/", {"ping_interval": "soon"}, "must be a number above 0"),
        ("thrillconnect+ws://h/", {"ping_timeout": 0}, "must be a number above 0"),
        ("thrillconnect+ws://h/", {"max_size": "nan"}, "must be a number above 0"),
        ("thrillconnect+ws://h/", {"headers": {"X": "a\r\nb"}}, "without line breaks"),
        ("thrillconnect+ws://h/", {"headers": "X"}, "must be a table"),
        ("thrillconnect+ws://h/", {"ssl": "ca.pem"}, "write thrillconnect.wss://"),
        ("thrillconnect+wss://h/", {"ssl": "/no/such/ca.pem"}, "a file of certificate authorities"),
        ("thrillconnect+ws://h/", {"proxy": "sECRET"}, "must be a URL"),
    ],
)
def test_wrong_options_are_told_by_name(url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ThrillConnectAdapter(Connection(url=Url.parse(url), options=options))
    assert "sECRET" not in shown(caught.value)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_url_of_any_websocket_is_refused_with_the_scheme_of_thrillconnect(scheme: str) -> None:
    with pytest.raises(ConfigError, match=rf"no adapter for '{scheme}'; did you mean thrillconnect\+{scheme}://"):
        Bus(f"{scheme}://host/v1/events/northlight/lumen", topic="thrillpots")


def test_text_options_of_a_url_are_taken() -> None:
    options = {"ping_interval": "5", "max_size": "1e6", "flag": True, "token": "a b&c", "proxy": "http://p:1"}
    url = Url.parse("thrillconnect+wss://[::1]:8443/a%20b/c")
    made = ThrillConnectAdapter(Connection(url=url, options=options))._options
    assert (made.ping_interval, made.max_size, made.proxy) == (5.0, 1_000_000, "http://p:1")
    assert made.uri("a b&c") == "wss://[::1]:8443/a%20b/c?token=a%20b%26c&flag=true"
    assert made.uri(None) == "wss://[::1]:8443/a%20b/c?flag=true"


async def test_headers_go_along(server: ThrillConnectServer, noted: Noted) -> None:
    async with consuming(make_bus(server, noted, options={"headers": {"X-Key": "k"}}), server):
        assert server.asked_with["X-Key"] == "k"


async def test_a_proxy_is_used_where_it_is_named_and_only_there(
    server: ThrillConnectServer, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    async def serve_proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        there, out = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pump(reader, out), pump(there, writer))

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async with await asyncio.start_server(serve_proxy, "127.0.0.1", 0) as proxy:
        address = f"http://ann:sECRET@127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        async with consuming(make_bus(server, noted, options={"proxy": address}), server):
            await server.push(JACKPOT)
            await until(lambda: noted.names == ["JackpotUpdate"])
        assert asked[0].startswith(f"CONNECT 127.0.0.1:{server.port} ".encode())
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, address)
        async with consuming(make_bus(server, noted), server):
            assert len(asked) == 1
    error = await failure_of(make_bus(server, noted, options={"proxy": address}))
    assert isinstance(error, ConnectionLost)
    assert "sECRET" not in shown(error)


async def a_token() -> str:
    return "good"


async def test_token_from_names_a_function(server: ThrillConnectServer, noted: Noted) -> None:
    options = {"token": None, "token_from": f"{__name__}:a_token"}
    async with consuming(make_bus(server, noted, options=options), server):
        pass
    assert server.upgrades[0]["token"] == "good"


async def test_without_a_token_the_refusal_says_so(server: ThrillConnectServer, noted: Noted) -> None:
    error = await failure_of(make_bus(server, noted, options={"token": None}))
    assert isinstance(error, AccessDenied)
    assert "set the option token or token_from" in str(error)
    assert server.upgrades == [{"currency": "EUR"}]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A file with a certificate for 127.0.0.1, and a server's context that holds it."""
    file, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return file, context


# ---- TLS -------------------------------------------------------------------------------------------------------------


async def test_wss_works_with_an_authority_of_ones_own_and_with_no_other(
    certificate: tuple[Path, ssl.SSLContext], noted: Noted
) -> None:
    file, context = certificate
    async with playing(context) as server:
        assert server.url.startswith("thrillconnect+wss://")
        async with consuming(make_bus(server, noted, options={"ssl": str(file)}), server):
            await server.push(JACKPOT)
            await until(lambda: noted.names == ["JackpotUpdate"])
        error = await failure_of(make_bus(server, noted))
        assert isinstance(error, ConnectionLost)
        assert "certificate" in str(error).lower()
