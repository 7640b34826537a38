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


LIMITS: Final[Sequence[Limit]] = (
    Limit(
        versions=("rabbitmq-4.3",),
        test="rabbit_rights::*",
        why="From 4.3 on, a user needs some permission on an exchange or queue to ask whether it exists. These tests give a "
        "role only the permissions that older versions need. With `read` on the topic and on the names of its group, all of "
        "them run; [rights](rights.md#rabbitmq) says which names.",
    ),
)
