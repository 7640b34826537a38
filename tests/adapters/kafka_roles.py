"""Which ACLs each role needs on Kafka: the tables of docs/rights.md.

`test_kafka_rights.py` and `test_kafka_share_rights.py` run each role as a user with exactly these rights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Acl:
    """A right, as Kafka calls it.

    Attributes:
        right: the operation, such as "Read".
        object: "topic", "group" or "cluster".
        name: its name. With an asterisk at its end it is a prefix, `--resource-pattern-type prefixed`.
    """

    right: str
    object: str
    name: str

    def __str__(self) -> str:
        return f"{self.right} on {self.object} `{self.name}`" if self.name else f"{self.right} on the {self.object}"


@dataclass(frozen=True, slots=True)
class Role:
    """A row of the table, with TOPIC and GROUP for the names.

    Attributes:
        name: what the role does.
        needs: rights without which it does not work.
        uses: rights that it uses, and works without.
    """

    name: str
    needs: tuple[Acl, ...]
    uses: tuple[Acl, ...] = ()


_READ = (Acl("Read", "topic", "TOPIC"), Acl("Read", "group", "GROUP"))
_LETTERS = "TOPIC.GROUP.dlq"
_SEES = (Acl("DescribeConfigs", "topic", "TOPIC"),)
_SEES_OWN = (*_SEES, Acl("DescribeConfigs", "topic", "TOPIC.GROUP.*"))
_LOOK = Acl("Describe", "topic", "TOPIC")
_OWN = (Acl("Read", "topic", "TOPIC.GROUP.*"), Acl("Write", "topic", "TOPIC.GROUP.*"))

ROLES: Final[Sequence[Role]] = (
    Role("publish", (Acl("Write", "topic", "TOPIC"),), _SEES),
    Role("consume, with dead letters in a file", _READ, _SEES),
    Role('consume, where the topics of the group exist (`provision = "check"`)', (*_READ, *_OWN), _SEES_OWN),
    Role(
        "consume, and create the topics of the group",
        (*_READ, *_OWN, Acl("Create", "topic", "TOPIC.GROUP.*")),
        _SEES_OWN,
    ),
    Role("broadcast, with dead letters in a file", (_READ[0], Acl("Read", "group", "brokerkit-*"))),
    Role("lag", (Acl("Describe", "topic", "TOPIC"), Acl("Describe", "group", "GROUP"))),
    Role("browse", (Acl("Read", "topic", "TOPIC"),)),
    Role("seek", _READ),
    Role("look at dead letters", (_LOOK, Acl("Read", "topic", _LETTERS))),
    Role(
        "replay dead letters",
        (
            _LOOK,
            Acl("Read", "topic", _LETTERS),
            Acl("Write", "topic", _LETTERS),
            Acl("Write", "topic", "TOPIC.GROUP.retry.1s"),
        ),
        (Acl("Delete", "topic", _LETTERS),),
    ),
    Role(
        "purge dead letters",
        (_LOOK, Acl("Read", "topic", _LETTERS), Acl("Write", "topic", _LETTERS)),
        (Acl("Delete", "topic", _LETTERS),),
    ),
    Role(
        'create the topic (`provision = "all"`), and publish',
        tuple(Acl(right, "topic", "TOPIC") for right in ("Create", "Write")),
    ),
)

_SETTINGS = Acl("DescribeConfigs", "group", "GROUP")
_MOVER = Acl("Read", "group", "GROUP.share-retry")
_CLUSTER = Acl("DescribeConfigs", "cluster", "")
_DROPPED = (Acl("Read", "topic", "dlq.GROUP.*"),)
_NOW = "TOPIC.GROUP.share-retry.now"

SHARE_ROLES: Final[Sequence[Role]] = (
    ROLES[0],
    Role("consume, with dead letters in a file, in a group that somebody has set up", _READ, (_SETTINGS,)),
    Role(
        'consume, where the topics of the group exist (`provision = "check"`)',
        (*_READ, _MOVER, *_OWN),
        (_SETTINGS, _CLUSTER, *_SEES_OWN),
    ),
    Role(
        "consume, and set up the group and its topics",
        (
            *(*_READ, _MOVER, Acl("AlterConfigs", "group", "GROUP"), *_OWN),
            Acl("Create", "topic", "TOPIC.GROUP.*"),
        ),
        (_CLUSTER, *_DROPPED, Acl("Create", "topic", "dlq.GROUP.*"), *_SEES_OWN),
    ),
    Role("look at dead letters", (_LOOK, Acl("Read", "topic", _LETTERS))),
    Role(
        "replay dead letters",
        (_LOOK, Acl("Read", "topic", _LETTERS), Acl("Write", "topic", _LETTERS), Acl("Write", "topic", _NOW)),
        (Acl("Delete", "topic", _LETTERS),),
    ),
    ROLES[10],
)
