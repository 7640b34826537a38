"""URL and options of the Redis adapters as what redis-py takes: for one server, a cluster, a primary that Sentinel names."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from brokerkit.adapters.api import ConfigError, Connection, TlsFiles, Url, no_prompt

Deployment = Literal["server", "cluster", "sentinel"]
"""What a URL leads to: one server (or whatever stands behind its address), a cluster, or the primary that Sentinel names."""

ANSWER_TIMEOUT: Final = 5.0
"""Seconds without an answer after which a connection counts as lost, where no option says otherwise: redis-py's own default
from 8 on. Without one, a server whose machine is gone would be waited for until TCP gives up."""

LOOK_UP: Final = 2.0
"""Seconds for which one Sentinel, or one node that is asked for the slots, is waited for before the next is asked."""

_CLIENT: Final = "brokerkit keeps its own connections"
_RETRY: Final = "a hidden retry duplicates messages; brokerkit retries where it is safe"
_FOLLOW: Final = "brokerkit follows the cluster by itself"
_BEHIND: Final = "a replica is behind its primary"

_TAKEN: Final = {
    "host": "it is in the URL",
    "port": "it is in the URL",
    "db": "it is the path of the URL",
    "ssl": "it follows from the scheme (rediss)",
    "connection_pool": _CLIENT,
    "auto_close_connection_pool": _CLIENT,
    "single_connection_client": _CLIENT,
    "max_connections": _CLIENT,
    "decode_responses": "bodies are bytes",
    "encoding": "brokerkit encodes by itself",
    "encoding_errors": "brokerkit encodes by itself",
    "protocol": "brokerkit reads RESP2 answers",
    "legacy_responses": "brokerkit reads RESP2 answers",
    "maint_notifications_config": "it needs RESP3, and brokerkit reads RESP2 answers",
    "retry": _RETRY,
    "retry_on_timeout": _RETRY,
    "retry_on_error": _RETRY,
    "cluster_error_retry_attempts": _RETRY,
    "startup_nodes": "they are in the URL",
    "path": "a cluster has no socket in the file system",
    "require_full_coverage": _FOLLOW,
    "dynamic_startup_nodes": _FOLLOW,
    "reinitialize_steps": _FOLLOW,
    "read_from_replicas": _BEHIND,
    "load_balancing_strategy": _BEHIND,
    "sentinel_kwargs": "write each option with the prefix sentinel_",
    "sentinel_host": "the Sentinels are in the URL",
    "sentinel_port": "the Sentinels are in the URL",
}

_SENTINEL: Final = "sentinel_"
_OF_SENTINEL: Final = {"min_other_sentinels": int, "force_master_ip": str}
"""Options of redis-py's Sentinel client itself, and their kinds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A URL and its options, taken apart.

    Attributes:
        addresses: the server, or nodes of the cluster, or the Sentinels.
        client: arguments of redis-py's client (`Redis` or `RedisCluster`), without an address.
        service: the name under which Sentinel knows the primary.
        sentinels: arguments for the connections to Sentinels.
        sentinel: other arguments of redis-py's `Sentinel`.
        wait_replicas: how many replicas must have what is published before it is confirmed.
    """

    deployment: Deployment
    addresses: tuple[tuple[str, int], ...]
    client: dict[str, Any] = field(repr=False)
    service: str = ""
    sentinels: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    sentinel: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    wait_replicas: int = 0


def deployment_of(url: Url) -> Deployment:
    """What a URL leads to, by its scheme: ``redis+list``, ``redis+cluster``, ``rediss+sentinel+pubsub``."""
    parts = url.scheme.split("+")
    return "cluster" if "cluster" in parts else "sentinel" if "sentinel" in parts else "server"


def options_of(connection: Connection) -> Options:
    """A URL and its options, checked; nothing connects.

    Raises:
        ConfigError: an option that redis-py does not know or brokerkit sets itself, a value of the wrong kind, or a URL
            without what it needs: one host, a database number, a name for Sentinel.
    """
    url = connection.url
    kind = deployment_of(url)
    given = dict(connection.options)
    wait_replicas = _whole(url, "wait_replicas", given.pop("wait_replicas", 0))
    sentinels: dict[str, object] = {}
    sentinel: dict[str, Any] = {}
    if kind == "sentinel":
        sentinels = {name: given.pop(name) for name in list(given) if name.startswith(_SENTINEL)}
        for name in [name for name in given if name in _OF_SENTINEL]:
            sentinel[name] = _converted(url, name, _OF_SENTINEL[name], given.pop(name))
    known = inspect.signature(RedisCluster if kind == "cluster" else Redis).parameters
    client = _settings(url, given, known) | _credentials(connection, given)
    service, database = _path(url, kind)
    secure = url.scheme.startswith("rediss")
    # Where there is another server to turn to, one that does not answer is given up sooner.
    connecting = connection.connect_timeout if kind == "server" else min(connection.connect_timeout, LOOK_UP)
    client = {"socket_connect_timeout": connecting, "socket_timeout": ANSWER_TIMEOUT} | client
    client |= {"db": database, "ssl": secure, **_fixed()}
    if secure:
        _check_files(str(url), client)
    addresses: tuple[tuple[str, int], ...] = ()
    if kind != "server":
        addresses = tuple(url.addresses(6379 if kind == "cluster" else 26379))
    elif url.hosts or "unix_socket_path" not in client:
        addresses = (url.host(6379),)
    return Options(
        deployment=kind,
        addresses=addresses,
        client=client,
        service=service,
        sentinels=_for_sentinels(connection, sentinels, client) if kind == "sentinel" else {},
        sentinel=sentinel,
        wait_replicas=wait_replicas,
    )


def _check_files(where: str, client: dict[str, Any]) -> None:
    """Refuse certificates that cannot be used, before redis-py reads them for each connection."""
    TlsFiles(
        cafile=client.get("ssl_ca_certs"),
        capath=client.get("ssl_ca_path"),
        cadata=client.get("ssl_ca_data"),
        certificate=client.get("ssl_certfile"),
        key=client.get("ssl_keyfile"),
        password=client.get("ssl_password"),
    ).check(where)
    client.setdefault("ssl_password", no_prompt)


def _fixed() -> dict[str, Any]:
    return {"protocol": 2, "decode_responses": False, "retry": Retry(NoBackoff(), 0)}


def _settings(url: Url, given: Mapping[str, object], known: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options by the names that redis-py has for them, as values of the kinds that it takes."""
    settings: dict[str, Any] = {}
    for option, value in given.items():
        name = option.removeprefix(prefix)
        if (reason := _TAKEN.get(option) or _TAKEN.get(name)) is not None:
            raise ConfigError(f"{url}: the option {option!r} cannot be set: {reason}")
        if name not in known:
            client = "redis.asyncio.RedisCluster" if "startup_nodes" in known else "redis.asyncio.Redis"
            raise ConfigError(f"{url}: redis-py has no option {option!r}; see the arguments of {client}")
        if name.startswith("ssl_") and not url.scheme.startswith("rediss"):
            raise ConfigError(
                f"{url}: the option {option!r} needs TLS; write {url.scheme.replace('redis', 'rediss', 1)}://"
            )
        settings[name] = _converted(url, option, known[name].annotation, value)
    return settings


def _credentials(connection: Connection, given: Mapping[str, object]) -> dict[str, object]:
    url = connection.url
    found: dict[str, object] = {
        name: value for name, value in (("username", url.user), ("password", url.password)) if value is not None
    }
    taken = {*found, "password"} if connection.password is not None else found.keys()
    for name in taken:
        if name in given:
            raise ConfigError(f"{url}: {name} is given twice, in the URL or as a setting, and as an option")
    if connection.password is not None:
        return {"credential_provider": _Credentials(url.user, connection.password)}
    return found


class _Credentials(CredentialProvider):
    """What redis-py asks for each new connection."""

    def __init__(self, user: str | None, password: Callable[[], str]) -> None:
        self._user = user
        self._password = password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._password()
        return (password,) if self._user is None else (self._user, password)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return await asyncio.to_thread(self.get_credentials)


def _path(url: Url, kind: Deployment) -> tuple[str, int]:
    """The name for Sentinel, and the number of the database."""
    service, path = "", url.path
    if kind == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise ConfigError(
                f"{url}: the name under which Sentinel knows the primary is missing; write it as the path"
            )
    if path and not path.isdecimal():
        raise ConfigError(f"{url}: the path is the database number, such as /0; got {path!r}")
    if kind == "cluster" and path not in ("", "0"):
        raise ConfigError(f"{url}: a cluster has only database 0")
    return service, int(path or 0)


def _for_sentinels(connection: Connection, given: Mapping[str, object], client: Mapping[str, Any]) -> dict[str, Any]:
    """What the connections to Sentinels need: TLS as those to servers, and nothing of their credentials."""
    settings = {name: value for name, value in client.items() if name.startswith("ssl")}
    known = inspect.signature(Redis).parameters
    timeout = min(connection.connect_timeout, LOOK_UP)
    settings |= {"socket_connect_timeout": timeout, "socket_timeout": timeout}
    if f"{_SENTINEL}ssl" in given:  # they may be without TLS where the servers are with it
        given = dict(given)
        settings["ssl"] = _converted(connection.url, f"{_SENTINEL}ssl", bool, given.pop(f"{_SENTINEL}ssl"))
    return settings | _settings(connection.url, given, known, _SENTINEL) | _fixed()


def _whole(url: Url, name: str, value: object) -> int:
    number = _converted(url, name, int, value)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ConfigError(f"{url}: the option {name!r} must be a whole number, 0 or more")
    return number


def _converted(url: Url, name: str, annotation: Any, value: object) -> object:
    """Text from a URL or the environment as the number or boolean that the argument asks for."""
    kinds = get_args(annotation) or (annotation,)
    if not isinstance(value, str) or str in kinds:
        return value
    try:
        if bool in kinds:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[value.lower()]
        for kind in (int, float):
            if kind in kinds:
                return kind(value)
    except (KeyError, ValueError):
        wanted = "a boolean" if bool in kinds else "a number"
        raise ConfigError(f"{url}: the option {name!r} must be {wanted}") from None
    return value
