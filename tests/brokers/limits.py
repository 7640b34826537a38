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

LIMITS: Final[Sequence[Limit]] = (
    Limit(versions=("redis-6.2",), test="redis_failover::test_what_is_under_way_*[[]redis[]]", why=_LAG),
    Limit(versions=("redis-6.2",), test="redis_failover::test_each_command_path_*[[]redis[]]", why=_LAG),
    Limit(versions=("redis-6.2",), test="redis_failover::test_dead_letters_and_lag_*[[]redis[]]", why=_LAG),
)
