"""URLs: taken apart, and never shown with what is secret in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit import ConfigError
from brokerkit._url import Url, mask, split_host


def test_a_url_is_taken_apart() -> None:
    url = Url.parse("AMQPS://us%40er:p%2Fw%3A@host:5671/my%2Fvhost?heartbeat=10&empty=")
    assert (url.scheme, url.hosts, url.user, url.password) == ("amqps", ("host:5671",), "us@er", "p/w:")
    assert (url.path, url.query) == ("my/vhost", (("heartbeat", "10"), ("empty", "")))


def test_several_hosts_and_none() -> None:
    assert Url.parse("kafka://h1:9092,h2:9092,").hosts == ("h1:9092", "h2:9092")
    assert Url.parse("memory://").hosts == ()
    assert Url.parse("redis+pubsub://h").scheme == "redis+pubsub"


def test_the_only_host_with_a_default_port() -> None:
    assert Url.parse("redis://h").host(6379) == ("h", 6379)
    assert Url.parse("redis://[::1]:7").host(6379) == ("::1", 7)
    for text in ("kafka://h1,h2", "redis://"):
        with pytest.raises(ConfigError, match="exactly one host"):
            Url.parse(text).host(1)


def test_every_host_with_a_default_port() -> None:
    url = Url.parse("amqp://u:p@h1,[::1]:7,[fe80::1]/v")
    assert url.addresses(5672) == [("h1", 5672), ("::1", 7), ("fe80::1", 5672)]
    with pytest.raises(ConfigError, match="a host is needed"):
        Url.parse("amqp:///v").addresses(1)


def test_hosts_with_and_without_ports() -> None:
    assert [split_host(host) for host in ("h", "h:", "h:1", "[::1]", "[::1]:2")] == [
        ("h", None),
        ("h", None),
        ("h", "1"),
        ("::1", None),
        ("::1", "2"),
    ]


@pytest.mark.parametrize("text", ["", "localhost:9092", "://h", "kafka:/h", "redis://[::1", "redis://h#x"])
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Url.parse(text)


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1", "²"])
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(ConfigError, match="not a port"):
        Url.parse(f"redis://h:{port}")


@given(st.text(max_size=40), st.booleans())
def test_any_text_is_a_url_or_a_config_error(text: str, with_scheme: bool) -> None:
    try:
        Url.parse(f"redis://{text}" if with_scheme else text)
    except ConfigError:
        pass


def test_a_password_is_in_no_text_of_a_url() -> None:
    url = Url.parse("amqp://user:s3cret@host/v?sasl.password=s3cret")
    assert str(url) == "amqp://user:***@host/v"
    assert "s3cret" not in repr(url)
    assert str(Url.parse("redis://:s3cret@h")) == "redis://:***@h"


@pytest.mark.parametrize(
    "text",
    [
        "user:s3cret@host",  # no scheme
        "amqp://user:s3cret@host:port/",  # no port
        "amqp://user:s3cret@[host/",  # broken brackets
        "amqp://user:s3cret@host/#x",
        "amqp://user:x#s3cret@host/",  # characters that must be escaped, in a password
        "amqp://user:s3cret/x@host/",
        "amqp://user:x/s3cret@host/",
        "amqp://user:12/s3cret@host/",
        "amqp://user:s3cret?x@host/",
        "amqp://host:port/?password=s3cret",
    ],
)
def test_a_password_is_in_no_error(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        Url.parse(text)
    assert "s3cret" not in f"{error.value} {error.value!r}"


def test_masking_keeps_what_is_not_secret() -> None:
    assert mask("amqp://u:p@h/v?a=1&b=2") == "amqp://***@h/v?a=***&b=***"
    assert mask("kafka://h1,h2") == "kafka://h1,h2"
    assert mask("u:p@h") == "***@h"


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("kafka://[::1]:9092,127.0.0.1:9092", ("[::1]:9092", "127.0.0.1:9092")),
        ("kafka://127.0.0.1:9092,[::1]:9092,[2001:db8::1]", ("127.0.0.1:9092", "[::1]:9092", "[2001:db8::1]")),
        ("kafka://user:word@h1,[::1]:9093?a=b", ("h1", "[::1]:9093")),
    ],
)
def test_hosts_by_name_and_by_address_of_either_kind_stand_in_one_url(text: str, hosts: tuple[str, ...]) -> None:
    assert Url.parse(text).hosts == hosts


@pytest.mark.parametrize("host", ["[::1", "::1]", "[localhost]", "[::1]x", "a[::1]", "[]", "[::1]:x", "[1::2::3]"])
def test_a_bracket_that_holds_no_address_is_refused(host: str) -> None:
    with pytest.raises(ConfigError):
        Url.parse(f"kafka://{host}")
