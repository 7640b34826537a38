"""Which ACL rules each role needs on Redis: the tables of docs/rights.md.

`test_redis_rights.py` runs each role as a user with exactly these rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Role:
    """A row of a table, with TOPIC and GROUP for the names.

    Attributes:
        name: what the role does.
        commands: that it runs, also in scripts.
        keys: patterns of keys.
        channels: patterns of channels.
    """

    name: str
    commands: tuple[str, ...]
    keys: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()

    @property
    def commands_rule(self) -> str:
        """The rules for commands, as ACL SETUSER takes them."""
        return " ".join(f"+{name}" for name in self.commands)

    @property
    def names_rule(self) -> str:
        """The rules for keys and channels."""
        return " ".join([*(f"~{name}" for name in self.keys), *(f"&{name}" for name in self.channels)])


_STREAM = "TOPIC"
_LETTERS = "{TOPIC}.GROUP.dlq"
_CREATE = ("eval", "exists", "xgroup|create", "xgroup|destroy")
_READ_STREAM = (
    *("ping", "type", "eval", "time", "xreadgroup", "xack", "xautoclaim", "xpending", "xclaim", "xrange", "xlen"),
    *("xadd", "xdel", "zadd", "zrange", "zrangebyscore", "zcard", "zrem"),
)
_LOOK_STREAM = ("ping", "type", "xlen", "xrange", "xrevrange")

STREAMS: Final[Sequence[Role]] = (
    Role("publish", ("ping", "type", "xadd"), (_STREAM,)),
    Role('create the stream (`provision = "all"`), and publish', ("ping", "type", *_CREATE, "xadd"), (_STREAM,)),
    Role(
        'consume, where the streams of the group exist (`provision = "check"`)',
        (*_READ_STREAM, "xinfo|groups"),
        (_STREAM, "{TOPIC}.GROUP.*"),
    ),
    Role(
        "consume, and create the streams of the group",
        (*_READ_STREAM, "exists", "xgroup|create", "xgroup|destroy"),
        (_STREAM, "{TOPIC}.GROUP.*"),
    ),
    Role(
        "broadcast",
        (*_READ_STREAM, "exists", "xgroup|create", "xgroup|destroy", "del"),
        (_STREAM, "{TOPIC}.brokerkit-*", "{TOPIC}-dlq"),
    ),
    Role(
        "seek",
        ("ping", "type", "xinfo|groups", "xinfo|consumers", "xinfo|stream", "xgroup|setid"),
        (_STREAM,),
    ),
    Role("look at dead letters", _LOOK_STREAM, (_STREAM, _LETTERS)),
    Role("replay dead letters", (*_LOOK_STREAM, "xadd", "xdel"), (_STREAM, _LETTERS, "{TOPIC}.GROUP.retry")),
    Role("purge dead letters", (*_LOOK_STREAM, "xdel"), (_STREAM, _LETTERS)),
)

_LIST_LETTERS = "{TOPIC}-dlq*"
_LOOK_LIST = ("ping", "type", "llen", "lrange", "smembers")
_TAKE_OUT = ("eval", "lindex", "lrem", "lset", "ltrim")

LISTS: Final[Sequence[Role]] = (
    Role("publish", ("ping", "type", "rpush"), ("TOPIC",)),
    Role(
        "consume",
        (
            *("ping", "type", "eval", "time", "blmove", "lmove", "llen", "lrange", "lrem", "ltrim", "lpush", "lpop"),
            *("rpush", "exists", "set", "del", "sadd", "srem", "scard", "smembers"),
            *("zadd", "zrange", "zrangebyscore", "zcard", "zrem"),
        ),
        ("TOPIC", "{TOPIC}-*"),
    ),
    Role("look at dead letters", _LOOK_LIST, ("TOPIC", _LIST_LETTERS)),
    Role("replay dead letters", (*_LOOK_LIST, *_TAKE_OUT, "rpush"), ("TOPIC", _LIST_LETTERS, "{TOPIC}-due")),
    Role("purge dead letters", (*_LOOK_LIST, *_TAKE_OUT), ("TOPIC", _LIST_LETTERS)),
)

PUBSUB: Final[Sequence[Role]] = (
    Role("publish", ("ping", "publish"), (), ("TOPIC",)),
    Role("listen, with dead letters in a file", ("ping", "subscribe"), (), ("TOPIC", "{TOPIC}.GROUP.replay")),
)
