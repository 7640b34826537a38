"""What Redis refuses and how connections fail, as brokerkit's errors: classified here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from brokerkit.adapters.api import (
    AccessDenied,
    BrokerkitError,
    ConnectionLost,
    NotFound,
    PublishError,
    UnsupportedFeature,
)

TRANSIENT: Final = frozenset(
    {
        "BUSY",  # a script runs for too long
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",  # a replica without its primary
        "MISCONF",  # it cannot save, and takes no writes meanwhile
        "NOREPLICAS",
        "OOM",
        "READONLY",  # a primary that became a replica
        "TRYAGAIN",
        "UNBLOCKED",  # so did the server of a blocked read
    }
)
"""Refusals that say something of the server and nothing of the command: another server behind the same address, or the
same one later, may take it."""

# redis-py cuts the code off the refusals that it has a class for.
_CODES: Final[Mapping[type[BaseException], str]] = {
    AskError: "ASK",
    BusyLoadingError: "LOADING",
    ClusterCrossSlotError: "CROSSSLOT",
    ClusterDownError: "CLUSTERDOWN",
    MasterDownError: "MASTERDOWN",
    MovedError: "MOVED",
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
    TryAgainError: "TRYAGAIN",
}

# Before 7.0 the code of what a script was refused stands behind the name of the script. redis-py takes the ERR away.
_IN_SCRIPT: Final = re.compile(r"^(?:ERR )?Error running script .*?: -?([A-Z]+) ", re.DOTALL)

_DENIED: Final = re.compile(r"^ACL failure in script|NOPERM|can't run this command|no permissions to ", re.IGNORECASE)

_WORD: Final = re.compile(rb"\$\d+\r\n")
_WORDS: Final = 64
"""The beginning of a command that is looked at: it has the keys."""

# A script in a slot whose keys are moving has emptied one of them, and has come back to it.
_MOVING: Final = "attempted to access a non local key in a cluster node"


def code_of(error: BaseException) -> str:
    """The code that a refusal of Redis begins with, such as ``READONLY``; also of what a script was refused."""
    reason = str(error)
    if found := _IN_SCRIPT.match(reason):
        return found[1]
    if _MOVING in reason:
        return "TRYAGAIN"
    return _CODES.get(type(error)) or reason.partition(" ")[0]


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help, on a new connection: the old one may lead to a server that is no longer a primary.

    What a fail-over leaves behind is a replica that keeps its clients. It answers them READONLY for ever, while the
    address leads elsewhere.
    """
    if isinstance(error, (AuthenticationError, AuthorizationError)):  # which are connection errors to redis-py
        return False
    return isinstance(error, (RedisConnectionError, RedisTimeoutError, OSError)) or code_of(error) in TRANSIENT


def is_outdated(error: BaseException) -> bool:
    """Whether the connection that an error came from may lead to the wrong server: `is_transient`, but for what a cluster
    says while it moves the keys of a slot.
    """
    return is_transient(error) and code_of(error) != "TRYAGAIN"


def is_denied(error: BaseException) -> bool:
    """Whether the user has no right to a command, a key or a channel."""
    # What a script may not do has the code ERR, or none (8.2).
    return isinstance(error, NoPermissionError) or _DENIED.search(str(error)) is not None


def with_command(error: ResponseError, packed: bytes) -> ResponseError:
    """Add command and keys to an error about a right: Redis does not name the key, and before 7.0 not the command.

    Args:
        error: what the server answered.
        packed: the command, as it went over the wire.
    """
    if not is_denied(error):
        return error
    words = [part.rpartition(b"\r\n")[0] for part in _WORD.split(packed, maxsplit=_WORDS)[1:]]
    name, *rest = (word.decode(errors="backslashreplace") for word in words)
    if name == "EVAL":
        name, rest = "a script", rest[2 : 2 + int(rest[1])]
    elif "STREAMS" in rest:
        rest = rest[rest.index("STREAMS") + 1 :]
        rest = rest[: len(rest) // 2]
    elif name in ("XGROUP", "XINFO", "CLIENT", "CONFIG"):
        name, rest = f"{name} {rest[0]}", rest[1:2]
    else:
        rest = rest[: 2 if name == "BLMOVE" else 1]
    return type(error)(f"{error} ({name} on {', '.join(map(repr, rest)) or 'no key'})")


def translate(error: BaseException, where: str, action: str) -> BrokerkitError:
    """The brokerkit error for one of redis-py or the socket; ``action`` says what was tried."""
    code = code_of(error)
    text = f"{where}: {action}: {str(error) or type(error).__name__}"
    if isinstance(error, (AuthenticationError, AuthorizationError)) or is_denied(error) or "AUTH" in code:
        return AccessDenied(f"{text}; check user, password and the user's ACL rules")
    if code == "OOM":
        return ConnectionLost(f"{text}; the server is full: raise maxmemory or trim")
    if is_transient(error):
        return ConnectionLost(text)
    if code == "NOGROUP":
        return NotFound(text)
    if code in ("MOVED", "ASK", "CROSSSLOT"):
        return UnsupportedFeature(
            broker="Redis",
            feature=f"connecting to one server of a cluster ({text})",
            alternative="write redis+cluster:// (or rediss+cluster://), with any nodes of the cluster",
        )
    if code == "WRONGTYPE":
        return UnsupportedFeature(
            broker="Redis", feature=f"this ({text})", alternative="use another name: the key holds something else"
        )
    return BrokerkitError(text)


@contextmanager
def translated(where: str, action: str) -> Generator[None, None, None]:
    """Turn errors of redis-py and the socket into brokerkit's, with their cause kept."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise translate(error, where, action) from error


def publish_error(error: BaseException, where: str, topic: str) -> BrokerkitError:
    """The result of a send that failed."""
    if isinstance(error, BrokerkitError):
        return error
    found = translate(error, where, f"publishing to {topic!r}")
    if not isinstance(found, (ConnectionLost, AccessDenied, PublishError)):
        found = PublishError(str(found))
    found.__cause__ = error
    return found
