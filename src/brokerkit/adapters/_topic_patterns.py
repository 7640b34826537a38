"""Topics by pattern: on a broker that supports it (Kafka), a name that begins with ``^`` is a regular expression."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from brokerkit._errors import ConfigError


def is_pattern(topic: str) -> bool:
    """Whether the name is a pattern, which stands for every topic that it matches."""
    return topic.startswith("^")


@lru_cache
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern.

    Raises:
        ConfigError: it is not a regular expression.
    """
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(
            f"topic {pattern!r:.200} begins with '^', so it is a pattern, but it is not a regular expression: {error}"
        ) from error


def reads(topics: Iterable[str], topic: str) -> bool:
    """Whether a topic is one of these, or matches a pattern among them."""
    return any(one == topic or (is_pattern(one) and compile_pattern(one).search(topic) is not None) for one in topics)
