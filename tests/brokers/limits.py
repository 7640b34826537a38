"""Why a test fails on a version of a broker, where that is a limit of the broker: docs/brokers.md says so."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit that some tests show.

    Attributes:
        versions: patterns for names of versions, as `rabbitmq-4.*`.
        test: a pattern for `module::test[case]`, as docs/brokers.json has them.
        why: one sentence or two for the page: what the broker does, and what that means for users.
    """

    versions: tuple[str, ...]
    test: str
    why: str


_LAG: Final = (
    "Redis tells the lag of a group from 7.0 on. At the end of these tests the lag must be 0; on 6.2 nobody knows it, and "
    "`lag` is None. All that they do before holds."
)

_MOTO_POLLS: Final = (
    "moto gives messages of one FIFO group to two polls at once, if both waited when the messages were sent. brokerkit has "
    "several polls under way on a busy queue, and relies on SQS, which keeps a group with one receiver; so on moto a key "
    "gets out of order."
)
_MOTO_LEASES: Final = (
    "When the visibility timeouts of several messages of a FIFO group end while a poll waits, moto delivers the last of "
    "them again and again, and the others only when that one is deleted. The case waits for all of them, and deletes none."
)
_MOTO_NUMBERS: Final = (
    "The sequence numbers of moto's FIFO messages are random. brokerkit goes by these numbers to find what follows a "
    "message that is given back, and gives that back too; so on moto what follows stays."
)
_MOTO_RECEIPTS: Final = (
    "moto extends and deletes a message by an old receipt, also while another reader has the message. So brokerkit does not "
    "learn there that the lease was lost."
)

_FAUXQS_GROUPS: Final = (
    "fauxqs delivers one message of a FIFO group, and the next when that one is deleted. These tests hold several messages "
    "of a group at once, as SQS delivers them."
)
_FAUXQS_TENANTS: Final = (
    "fauxqs takes the message group of a message in a standard queue, and does not return it with the message. So the "
    "header `MessageGroupId` is missing there."
)

LIMITS: Final[Sequence[Limit]] = (
    Limit(versions=("redis-6.2",), test="redis_failover::test_what_is_under_way_*[[]redis[]]", why=_LAG),
    Limit(versions=("redis-6.2",), test="redis_failover::test_each_command_path_*[[]redis[]]", why=_LAG),
    Limit(versions=("redis-6.2",), test="redis_failover::test_dead_letters_and_lag_*[[]redis[]]", why=_LAG),
    Limit(versions=("sqs-moto",), test="*::test_case_32[[]sqs-fifo[]]", why=_MOTO_LEASES),
    Limit(versions=("sqs-moto",), test="*::test_case_40[[]sqs-fifo[]]", why=_MOTO_POLLS),
    Limit(versions=("sqs-moto",), test="*::test_case_74[[]sqs-fifo[]]", why=_MOTO_POLLS),
    Limit(versions=("sqs-moto",), test="sqs_settling::test_what_waits_behind_a_fifo_message_*", why=_MOTO_NUMBERS),
    Limit(
        versions=("sqs-moto",), test="sqs_settling::test_a_message_whose_lease_ran_out_is_lost_*", why=_MOTO_RECEIPTS
    ),
    Limit(versions=("sqs-fauxqs",), test="*::test_case_32[[]sqs-fifo[]]", why=_FAUXQS_GROUPS),
    Limit(versions=("sqs-fauxqs",), test="sqs_settling::test_what_waits_behind_a_fifo_message_*", why=_FAUXQS_GROUPS),
    Limit(versions=("sqs-fauxqs",), test="sqs_settling::test_a_successor_that_runs_already_*", why=_FAUXQS_GROUPS),
    Limit(versions=("sqs-fauxqs",), test="sqs_settling::test_without_order_successors_stay", why=_FAUXQS_GROUPS),
    Limit(versions=("sqs-fauxqs",), test="sqs_messages::test_a_fifo_id_sent_twice_arrives_once", why=_FAUXQS_GROUPS),
    Limit(versions=("sqs-fauxqs",), test="sqs_settling::test_the_message_group_of_a_standard_*", why=_FAUXQS_TENANTS),
)
