"""Rules of several steps: a place in a message, then what is done with the value that is there.

``field:Message|json|field:data``: take the field ``Message``, parse the JSON in its text, take ``data`` in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from brokerkit._errors import ConfigError
from brokerkit._messages._codecs import get_codec
from brokerkit._paths import MISSING, parse_path, walk

Step = Callable[[Any], Any]
"""From a value to the next one, or to `MISSING`. Raises `DecodeError` where the value is not of the kind it needs."""

_BETWEEN: Final = re.compile(r"""\|(?=(?:[^"']|"[^"]*"|'[^']*')*$)""")
"""A ``|`` that is not inside quotes: a key may hold one."""


def split_steps(rule: str) -> list[str]:
    """Return the place that a rule begins with, and its steps."""
    return _BETWEEN.split(rule) if "|" in rule else [rule]


def compile_steps(steps: Sequence[str], *, rule: str, what: str) -> list[Step]:
    """Return the functions of the steps after the place: ``field:PATH``, or the name of a codec.

    Raises:
        ConfigError: a step is neither.
    """
    made: list[Step] = []
    for step in steps:
        kind, colon, argument = step.partition(":")
        try:
            made.append(_walk(argument) if kind == "field" and colon else get_codec(step).decode)
        except ConfigError as error:
            raise ConfigError(f"{what}: {rule!r}: {error}; a step is field:PATH or the name of a codec") from None
    return made


def run(value: Any, steps: Sequence[Step]) -> Any:
    """Return what the steps make of a value, or `MISSING`."""
    for step in steps:
        if value is MISSING or value is None:
            return MISSING
        value = step(value)
    return value


def _walk(argument: str) -> Step:
    path = parse_path(argument)
    return lambda value: walk(value, path)
