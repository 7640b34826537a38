"""Which permissions each role needs on RabbitMQ: the table of docs/rights.md.

`test_rabbit_rights.py` runs each role as a user with exactly these permissions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Role:
    """A row of the table, with TOPIC and GROUP for the names.

    Attributes:
        name: what the role does.
        configure, write, read: names of exchanges and queues, as regular expressions for whole names.
        looked_at: names that a user must read too from RabbitMQ 4.3 on. Older ones let everybody ask if a name exists.
    """

    name: str
    configure: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    looked_at: tuple[str, ...] = ()

    @property
    def permissions(self) -> tuple[tuple[str, ...], ...]:
        """The names of each column of the table."""
        return self.configure, self.write, self.read, self.looked_at


_QUEUE = r"TOPIC\.GROUP"
_OWN = r"TOPIC\.GROUP\..*"
_LETTERS = r"TOPIC\.GROUP\.dlq"
_DELAYS = r"TOPIC\.GROUP\.retry\..*"
_DEFAULT = r"amq\.default"

ROLES: Final[Sequence[Role]] = (
    Role("publish", write=("TOPIC",)),
    Role('create the exchange (`provision = "all"`), and publish', configure=("TOPIC",), write=("TOPIC",)),
    Role(
        'consume, with dead letters in a file (`provision = "check"`, `hold = 3600`)',
        read=(_QUEUE,),
        looked_at=("TOPIC", _DELAYS),
    ),
    Role(
        'consume, where the queues of the group exist (`provision = "check"`)',
        write=(_DEFAULT,),
        read=(_QUEUE,),
        looked_at=("TOPIC", _DELAYS, _LETTERS),
    ),
    Role(
        "consume, and create the queues of the group",
        configure=(_QUEUE, _OWN),
        write=(_QUEUE, _DEFAULT),
        read=("TOPIC", _QUEUE, _OWN),
    ),
    Role(
        "broadcast, with dead letters in a file",
        configure=(r"TOPIC\..*\.broadcast.*",),
        write=(r"TOPIC\..*\.broadcast.*", _DEFAULT),
        read=("TOPIC", r"TOPIC\..*\.broadcast.*"),
    ),
    Role(
        'consume a stream, where the queues of the group exist (`provision = "check"`)',
        configure=("TOPIC", r"TOPIC\.GROUP\.reader"),
        write=(_DEFAULT,),
        read=("TOPIC", r"TOPIC\.GROUP\.offset", r"TOPIC\.GROUP\.stream-retry"),
        looked_at=(r"TOPIC\.GROUP\.stream-retry\..*", _LETTERS),
    ),
    Role(
        "consume a stream, and create the queues of the group",
        configure=("TOPIC", _OWN),
        write=(_DEFAULT,),
        read=("TOPIC", _OWN),
    ),
    Role("look at dead letters", read=(_LETTERS,), looked_at=("TOPIC",)),
    Role("replay dead letters", write=(_DEFAULT,), read=(_LETTERS,), looked_at=("TOPIC", _QUEUE)),
    Role("purge dead letters", read=(_LETTERS,), looked_at=("TOPIC",)),
)
